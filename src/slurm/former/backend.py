"""Former home of what a handle says about its cluster."""

from slurm.places.place import Spec  # noqa: F401
