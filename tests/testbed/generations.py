"""Releases of Slurm other than the installed one: Debian's packages, unpacked below a cache directory.

A release is unpacked once, which takes about 15 s and up to 110 MB. Its directory has `bin`, which goes first on PATH,
and `plugins`, which slurm.conf must name. No root, chroot or LD_LIBRARY_PATH (which jobs would inherit) is needed: the
programs and plugins themselves say where their libraries are (RPATH).
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testbed.debian import Suite, explained, missing_debian, run
from testbed.errors import SlurmTestbedError
from testbed.programs import PLUGINS, slurm_release

VARIABLE = "SLURMTASKS_TEST_SLURM"
"""Names the release that the tests of a pytest session run on."""

_RECIPE = 2  # increase it when _make changes, so that directories of an earlier version are not used
_INSTALL = "sudo apt-get install --no-install-recommends apt dpkg patchelf debian-archive-keyring"
_PACKAGES = ("slurmctld", "slurmd", "slurm-client", "slurmdbd", "slurmrestd", "slurm-wlm-basic-plugins")
_UNPACKED = ("slurm", "lib", "gcc-", "zlib1g")


@dataclass(frozen=True)
class Generation:
    """Where Debian has a release of Slurm: the suite, and its packages besides those of every suite."""

    suite: str
    packages: tuple[str, ...] = ("slurm-wlm-mysql-plugin", "slurm-wlm-jwt-plugin")


GENERATIONS = {
    "20.11": Generation("bullseye", packages=()),
    "22.05": Generation("bookworm"),
    "24.11": Generation("trixie"),
    "26.05": Generation("sid"),
}


def activate(release: str) -> None:
    """Put a release of Slurm, such as `24.11`, first on the PATH of this process.

    Does nothing if the first one is of that release already. Downloads and unpacks it if it is not there; of several
    processes that ask at the same time one does so, and the others wait. Raises SlurmTestbedError, which says what is
    missing.
    """
    if release not in GENERATIONS:
        raise SlurmTestbedError(f"the testbed has no Slurm {release}: choose {', '.join(GENERATIONS)}")
    if _first() == release:
        return
    home = _unpacked(release)
    os.environ["PATH"] = f"{home / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    if (found := _first()) != release:
        suite = GENERATIONS[release].suite
        raise SlurmTestbedError(f"{home} holds Slurm {found}, not {release}: Debian's {suite} has moved on")


def _first() -> str:
    return "{:02}.{:02}".format(*slurm_release())


def unpacked(name: str, make: Callable[[Path, Path], None]) -> Path:
    """Return a directory of unpacked packages below the cache directory, after making it if necessary.

    `make(work, home)` makes it as `work / "home"`, which is then renamed to `home`: one that exists is complete.
    """
    own = Path.home() / ".cache" if os.geteuid() else "/var/cache"  # tests of root run programs as other users, too
    cache = Path(os.environ.get("XDG_CACHE_HOME") or own, "slurm-tasks-testbed")
    home = cache / name
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / f"{name}.lock"):
        if not home.exists():
            work = home.with_name(f"{name}.part")
            shutil.rmtree(work, ignore_errors=True)  # left by a process that was killed
            try:
                make(work, home)
                (work / "home").rename(home)
            finally:
                shutil.rmtree(work, ignore_errors=True)
    return home


def _unpacked(release: str) -> Path:
    """Return the directory of a release, after making it if necessary."""

    def make(work: Path, home: Path) -> None:
        if absent := missing_debian():
            lacking = f"cannot unpack Slurm {release} (no {', '.join(absent)}); install with: {_INSTALL}"
            raise SlurmTestbedError(lacking)
        try:
            _make(GENERATIONS[release], work, home)
        except (OSError, subprocess.SubprocessError) as error:
            raise SlurmTestbedError(f"cannot unpack Slurm {release} from Debian: {explained(error)}") from error

    return unpacked(f"slurm-{release}-{_RECIPE}", make)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(generation: Generation, work: Path, home: Path) -> None:
    """Make the directory of a release in `work`, for programs that will be in `home`."""
    suite = Suite(work / "apt", generation.suite)
    packages = suite.download_with_dependencies([*_PACKAGES, *generation.packages])
    own_libc = _newer_libc(packages)
    (work / "home").mkdir()
    for package in packages:
        if package.name.startswith(_UNPACKED) and (own_libc or not package.name.startswith("libc6_")):
            run("dpkg-deb", "-x", package, work / "home/tree")
    _link(work / "home")
    _patch(work / "home", home, own_libc=own_libc)


def _newer_libc(packages: list[Path]) -> bool:
    """Say whether these packages bring a newer libc than this machine's, which can replace only an older one."""
    theirs = next(match for path in packages if (match := re.match(r"libc6_(\d+)\.(\d+)", path.name)))
    ours = re.search(r"(\d+)\.(\d+)", os.confstr("CS_GNU_LIBC_VERSION") or "")
    return ours is None or tuple(map(int, theirs.groups())) > tuple(map(int, ours.groups()))


def _link(home: Path) -> None:
    """Make `bin`, `libexec` and `plugins`: links to the programs and the plugins of the unpacked packages."""
    for name in ("bin", "libexec"):
        (home / name).mkdir()
    plugins = next((home / "tree/usr/lib").glob("*/slurm-wlm"))
    (home / PLUGINS).symlink_to(plugins.relative_to(home))
    for client in (home / "tree/usr/bin").iterdir():
        (home / "bin" / client.name).symlink_to(f"../tree/usr/bin/{client.name}")
    for daemon in (home / "tree/usr/sbin").glob("slurm*"):
        name = daemon.name.removesuffix("-wlm")
        where = "libexec" if name in {"slurmd", "slurmstepd"} else "bin"
        (home / where / name).symlink_to(f"../tree/usr/sbin/{daemon.name}")
    # Without -d slurmd starts the machine's slurmstepd. It must be called slurmd, not slurmd-wlm: 24.11 checks that.
    slurmd = home / "bin/slurmd"
    slurmd.write_text('#!/bin/sh\nhere=${0%/*}/../libexec\nexec "$here/slurmd" -d "$here/slurmstepd" "$@"\n')
    slurmd.chmod(0o755)


def _patch(home: Path, final: Path, *, own_libc: bool) -> None:
    """Write into all programs and plugins where their libraries are once `home` has its `final` name."""
    tree = home / "tree"
    libraries = [path for path in (tree / "usr/lib", tree / "lib") if path.is_dir()]
    places = [found for path in libraries for found in path.glob("*-linux-*")]
    plugins = (home / PLUGINS).resolve()
    paths = ":".join(str(final / place.relative_to(home)) for place in (plugins, *places))
    programs = [*(tree / "usr/bin").iterdir(), *(tree / "usr/sbin").glob("slurm*")]
    loader = next(found for place in places for found in place.glob("ld-linux*.so*")) if own_libc else None
    for path in [*programs, *plugins.glob("*.so*")]:
        if path.is_symlink() or path.read_bytes()[:4] != b"\x7fELF":
            continue
        if loader and path in programs:
            run("patchelf", "--set-interpreter", final / loader.relative_to(home), path)
        # RUNPATH, the default, is not used for the libraries of libraries.
        run("patchelf", "--force-rpath", "--set-rpath", paths, path)
