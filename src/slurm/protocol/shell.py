"""Shell programs: load the `.sh` files beside the modules of this package, from a directory or the runner's zip."""

from __future__ import annotations

import os
import re
import sys
from functools import cache

_INCLUDE = re.compile(r"^\. (\S+\.sh)\n", re.MULTILINE)
"""A line that includes another of our files, by its path relative to the including file's directory."""
_COMMENT = re.compile(r"^ *#(?!!).*\n", re.MULTILINE)


@cache
def program(module: str, name: str) -> str:
    """Return the text of the file `name` in the directory of a module, with included files inserted.

    Comment lines are removed: the text is sent to other machines, often as an argument.
    """
    loaded = sys.modules[module]
    return _read(loaded.__loader__, os.path.join(os.path.dirname(loaded.__file__ or ""), name))


def _read(loader: object, path: str) -> str:
    # importlib.resources takes as long to import as everything else together.
    data: bytes = loader.get_data(path)  # type: ignore[attr-defined]  # file and zip loaders have it
    directory = os.path.dirname(path)
    text = _COMMENT.sub("", data.decode())
    return _INCLUDE.sub(lambda line: _read(loader, os.path.normpath(os.path.join(directory, line[1]))), text)
