"""The cluster of a run: by its name in the Slurmfile or its URL, and the URL with the root that the manifest keeps."""

from __future__ import annotations

from slurm.clusters.cluster import Cluster
from slurm.clusters.named import cluster_named
from slurm.tasks import active


def cluster_of(on: str | Cluster | None) -> Cluster:
    """The cluster of a name or a URL; None for the active one, else the default. Raises ConfigurationError."""
    if on is None:
        found = active.current()
        return found if isinstance(found, Cluster) else cluster_named(None)
    return on if isinstance(on, Cluster) else cluster_named(on)


def cluster_at(url: str, name: str | None) -> Cluster:
    """The active cluster if it is this place, else that of the name, else one without settings of its own."""
    found = active.current()
    return found if isinstance(found, Cluster) and place_url(found) == url else cluster_named(name or url)


def name_of(on: str | Cluster | None) -> str | None:
    """The name of a cluster in the Slurmfile, if it is given by name."""
    return on if isinstance(on, str) and "://" not in on else None


def place_url(cluster: Cluster) -> str:
    """The URL with the root, as it was asked for: two clusters with the same are one place."""
    return str(cluster.place.url)
