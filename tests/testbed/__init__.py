"""A real Slurm cluster for the tests: started in a moment, by anyone, on one machine, and gone afterwards."""

from testbed.errors import CommandError, SlurmTestbedError
from testbed.programs import missing, missing_accounting, missing_faketime, missing_memory_limits
from testbed.slurm import SlurmTestbed
from testbed.sshd import SSHTestbed

__all__ = [
    "CommandError",
    "SSHTestbed",
    "SlurmTestbed",
    "SlurmTestbedError",
    "missing",
    "missing_accounting",
    "missing_faketime",
    "missing_memory_limits",
]
