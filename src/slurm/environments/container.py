"""Container: an image that has a Python, run by whatever runs containers there."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from slurm.environments import container_there
from slurm.environments.base import Environment
from slurm.environments.containerfile import Containerfile
from slurm.environments.images import Reference
from slurm.environments.runtimes.base import Mount, Run
from slurm.errors import ConfigurationError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from typing import ClassVar

    from slurm.environments.base import Place
    from slurm.protocol import Prepared
