"""Shell programs: reads the `.sh` files that lie beside our modules, from a directory or from the runner's zip."""

from __future__ import annotations

import os
import re
import sys
from functools import cache

_INCLUDE = re.compile(r"^\. (\S+\.sh)\n", re.MULTILINE)
"""A line that reads another of our files, by its path from the directory of the first one."""
_COMMENT = re.compile(r"^ *#(?!!).*\n", re.MULTILINE)


@cache
def program(module: str, name: str) -> str:
    """Return the text of the file `name` in the directory of a module, with included files in place of their lines.

    Lines that are comments are left out: the text goes to other machines, often as an argument.
    """
    found = sys.modules[module]
    return _read(found.__loader__, os.path.join(os.path.dirname(found.__file__ or ""), name))


def _read(loader: object, path: str) -> str:
    # importlib.resources takes as long to import as everything else together.
    data: bytes = loader.get_data(path)  # type: ignore[attr-defined]  # those of files and of zips have it
    here = os.path.dirname(path)
    text = _COMMENT.sub("", data.decode())
    return _INCLUDE.sub(lambda line: _read(loader, os.path.normpath(os.path.join(here, line[1]))), text)
