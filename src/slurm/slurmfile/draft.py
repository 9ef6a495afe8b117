"""Draft: the text of a new Slurmfile with one cluster, and with comments that show what the user may add."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from slurm.url import ClusterURL

if TYPE_CHECKING:
    from collections.abc import Mapping

_TEXT = """\
# Clusters by name. A program uses the default with Cluster.from_slurmfile(), the command `slurm` without --on.
# After a change: `slurm config validate`, then `slurm doctor`. `slurm config show` tells where each value comes from.
default: {name}

clusters:
  {name}:
    # The scheduler, and how to reach it: slurm, local, slurm+ssh://ann@login.
    url: {url}
    # The directory of jobs. All nodes must see it. Default: slurm-jobs in $SCRATCH, $WORK or the home there.
    {root}
    # The Python of tasks. Default: the one that runs your program, if it exists there, else one of the same version.
    # python: ~/venvs/work/bin/python
    # Environment modules, and lines of bash, before Python starts.
    # modules: [gcc/12]
    # setup: [export OMP_PROC_BIND=true]
    # Defaults for all tasks, by sbatch's long names. A task overrides them: @task(mem="8G").
    {options}
  # Another cluster that differs in some values:
  # large:
  #   extends: {name}
  #   options: {{mem: 64G}}
"""
_OPTIONS = "# options: {time: 1:00:00, mem: 4G}"


def draft(url: str, *, root: str | None, options: Mapping[str, str]) -> str:
    """Return the text of a Slurmfile whose default cluster has these settings. Does not check them."""
    lines = ["options:", *(f"{name}: {_quoted(value)}" for name, value in options.items())]
    return _TEXT.format(
        name=_quoted(name_of(url)),
        url=_quoted(url),
        root=f"root: {_quoted(root)}" if root else "# root: /scratch/ann/slurm-jobs",
        options="\n      ".join(lines) if options else _OPTIONS,
    )


def name_of(url: str) -> str:
    """Return a name for the cluster of a URL: the first part of its host's name, else its scheduler."""
    parsed = ClusterURL.parse(url)
    return (parsed.host or "").partition(".")[0] or parsed.scheduler


def _quoted(text: str) -> str:
    """Return YAML for a text: unchanged if it is plain, else in double quotes, as in JSON."""
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_./-]*|/[A-Za-z0-9_./-]*", text)
    return text if plain else json.dumps(text, ensure_ascii=False)
