"""A small container image with this very Python, made of this machine's own files: no registry is asked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

PREFIX = "usr/local"
"""Where Python is in it; a runtime that mounts the user's home can't hide that."""
_LEFT_OUT = ("test", "tests", "idlelib", "lib2to3", "ensurepip", "pydoc_data", "tkinter", "turtledemo", "unittest")
_PREFIXES_LEFT_OUT = ("site-packages", "dist-packages", "__pycache__", "config-", "_tkinter", "_test", "_ctypes_test")
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/group": "root:x:0:\n",
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/resolv.conf": "",
}
_DIRECTORIES = ("tmp", "var/tmp", "proc", "sys", "dev", "root", "home", "run", "mnt")


def make_tree(tree: Path) -> Path:
    """Make a root directory that holds this Python as `python3`, its standard library, a shell, and nothing else."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    here, lib = tree / PREFIX, tree / PREFIX / "lib" / stdlib.name
    shutil.copytree(stdlib, lib, ignore=_ignored)
    (lib / "lib-dynload").mkdir(exist_ok=True)
    _copy(Path(os.path.realpath(sys.executable)), here / "bin" / stdlib.name)
    (here / "bin" / "python3").symlink_to(stdlib.name)
    _copy(Path("/bin/sh"), tree / "bin" / "sh")
    for library, place in _libraries([here / "bin" / "python3", tree / "bin" / "sh", *lib.glob("lib-dynload/*.so")]):
        _copy(library, tree / place.relative_to("/"))
    if strip := shutil.which("strip"):  # most of what is in a library is for debuggers
        subprocess.run([strip, "--strip-unneeded", *tree.rglob("*.so*")], capture_output=True, check=False)
    for name in _DIRECTORIES:
        (tree / name).mkdir(parents=True, exist_ok=True)
    for name, text in _FILES.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    for name in ("tmp", "var/tmp"):
        (tree / name).chmod(0o1777)
    return tree


def make_program_tree(tree: Path, program: Path) -> Path:
    """Make a root directory that holds a program as `/program`, the libraries that it loads, and nothing else."""
    _copy(program, tree / "program")
    for library, place in _libraries([program]):
        _copy(library, tree / place.relative_to("/"))
    for name in _DIRECTORIES:
        (tree / name).mkdir(parents=True, exist_ok=True)
    return tree


def pack(tree: Path, archive: Path) -> Path:
    """Pack a tree as what `podman import` takes: all of it root's, whoever made it."""
    with tarfile.open(archive, "w") as packed:
        packed.add(tree, arcname=".", filter=_of_root)
    return archive


def _of_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def _ignored(directory: str, names: Iterable[str]) -> set[str]:
    del directory
    return {name for name in names if name in _LEFT_OUT or name.startswith(_PREFIXES_LEFT_OUT)}


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def _libraries(programs: Iterable[Path]) -> Iterator[tuple[Path, Path]]:
    """The shared libraries that programs load, and where each goes: the loader to its place, the others beside libc."""
    done = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=False)
    found = {Path(path) for path in re.findall(r"(?:=>\s*|^\s+)(/\S+)", done.stdout, re.MULTILINE)}
    beside = next(path.parent for path in found if path.name.startswith("libc.so"))
    for path in found:
        yield path, path if path.name.startswith("ld-") else beside / path.name
