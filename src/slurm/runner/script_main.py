"""`__main__` of the processes that `multiprocessing` spawns in a task. It has the parts of the script that were sent.

`multiprocessing.spawn` runs this module in the child, because `slurm.runner.script_modules` has named it in the
`__spec__` of the task's `__main__`. The script does not run again.
"""

from __future__ import annotations

from slurm.runner.script_modules import load_again
from slurm.runner.script_modules import of_arguments as __getattr__  # noqa: F401 - a module's own __getattr__, PEP 562

load_again(globals())
