"""Find the cluster of a run by its name in the Slurmfile or by its URL; and make the URL for the manifest."""

from __future__ import annotations

from slurm.clusters.cluster import Cluster
from slurm.clusters.named import cluster_named
from slurm.tasks import active


def cluster_of(on: str | Cluster | None) -> Cluster:
    """Return the cluster with a name or a URL; for None, the active one or else the default.

    Raises ConfigurationError.
    """
    if on is None:
        found = active.current()
        return found if isinstance(found, Cluster) else cluster_named(None)
    return on if isinstance(on, Cluster) else cluster_named(on)


def cluster_at(url: str, name: str | None) -> Cluster:
    """Return the active cluster if it is this place; or else the one with this name; or else one without settings."""
    found = active.current()
    return found if isinstance(found, Cluster) and place_url(found) == url else cluster_named(name or url)


def name_of(on: str | Cluster | None) -> str | None:
    """Return the name of a cluster in the Slurmfile, if the cluster is given by name."""
    return on if isinstance(on, str) and "://" not in on else None


def place_url(cluster: Cluster) -> str:
    """Return the URL of a cluster with the root as the user gave it: two clusters with equal URLs are one place."""
    return str(cluster.place.url)
