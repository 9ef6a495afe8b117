"""Named: find the cluster for a name in the Slurmfile, or for a URL."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from slurm import slurmfile
from slurm.clusters.cluster import Cluster
from slurm.errors import ConfigurationError
from slurm.plugins import names as plugin_names
from slurm.slurmfile.sources import search
from slurm.usage import near

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.slurmfile.sources import Source

_NAME = re.compile(r"[\w.-]+")
"""Matches a text that can be the name of a cluster, and is no URL."""
DEFAULT = "auto"
"""The URL of the cluster if none is named and there is no Slurmfile with a default."""


def cluster_named(text: str | None, *, callbacks: bool = True) -> Cluster:
    """Return the cluster for a name or URL; None is the default. With `callbacks`, imports the Slurmfile's callbacks.

    Raises ConfigurationError if it is neither, with the nearest name; SlurmfileError for a bad file.
    """
    file = slurmfile_of(text)
    return Cluster.from_entry(slurmfile.read(file, text), callbacks=callbacks) if file else Cluster(text or DEFAULT)


def slurmfile_of(text: str | None) -> Source | None:
    """Return the Slurmfile that defines this cluster, or None for a URL. Raises as `cluster_named` does."""
    file = search() if text is None or "://" not in text else None
    names: Sequence[str] = slurmfile.names(file) if file else ()
    if file and (text in names or (text is None and slurmfile.has_default(file))):
        return file
    try:
        Cluster(text or DEFAULT)
    except ConfigurationError:
        if text is None or _NAME.fullmatch(text) is None:
            raise
        known = near(text, [*names, *plugin_names("schedulers")])
        where = f"{file.path} has no cluster {text!r}" if file else "there is no Slurmfile here"
        raise ConfigurationError(f"{where}, and there is no scheduler {text!r}{known}") from None
    return None
