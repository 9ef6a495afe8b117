"""`python -m slurm` is the command `slurm`."""

import os
import sys

if sys.path[:1] == [os.getcwd()]:  # `-m` searches it before the standard library; the command `slurm` doesn't
    sys.path.append(sys.path.pop(0))

from slurm.cli.main import main

main()
