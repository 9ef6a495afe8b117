"""The modules that programs import from `submitit.core`."""

from slurm.compat.submitit.core import utils as utils
