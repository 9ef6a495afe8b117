"""A real apptainer for tests, which Debian has in its unstable distribution only: unpacked into a directory.

Its package wants a newer libc than a stable Debian has; that comes along, beside it, and only it uses it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from testbed.debian import Suite, explained, missing_debian, run

_NEEDED = ("mksquashfs", "newuidmap")
_INSTALL = "sudo apt-get install --no-install-recommends apt patchelf squashfs-tools squashfuse uidmap"
_PACKAGES = {"sid": ("apptainer",), "trixie": ("libc6", "libseccomp2", "libsqlite3-0", "libgcc-s1", "zlib1g")}
_PROGRAMS = ("usr/bin/apptainer", "usr/lib/*/apptainer/bin/starter")

_unavailable: list[str] = []


def missing_apptainer() -> str | None:
    """Return what keeps apptainer from being here, or None; installs it, once for all sessions of this user."""
    if shutil.which("apptainer") or (_home() / "usr/bin/apptainer").exists():
        return None
    if absent := missing_debian(_NEEDED):
        return f"apptainer can't be unpacked (no {', '.join(absent)}); get it with: {_INSTALL}"
    if not _unavailable:
        try:
            _install()
        except (OSError, subprocess.SubprocessError) as error:
            _unavailable.append(f"cannot install apptainer from Debian: {explained(error)}")
        else:
            return None
    return _unavailable[0]


def apptainer_path() -> str:
    """Return a PATH on which there is apptainer."""
    path = os.environ.get("PATH", os.defpath)
    return path if shutil.which("apptainer") else f"{_home() / 'usr/bin'}{os.pathsep}{path}"


def apptainer_options() -> list[str]:
    """Return what apptainer needs as root who hasn't all of root's rights, or as a user who may not mount a SIF."""
    if os.geteuid() == 0:
        return ["--no-privs"]
    return [] if os.access("/dev/fuse", os.W_OK) else ["--unsquash"]


def _home() -> Path:
    """Where it is, or will be; what root has unpacked others use, too."""
    roots, own = (Path(tempfile.gettempdir(), f"slurm-testbed-{uid}-apptainer") for uid in (0, os.getuid()))
    return roots if roots.exists() and roots.stat().st_uid == 0 else own


def _install() -> None:
    """Unpack it beside its place, then move it there: two sessions may do so at once."""
    work = Path(tempfile.mkdtemp(prefix="slurm-testbed-apptainer-"))
    try:
        for suite, packages in _PACKAGES.items():
            prefix = work / "tree" / ("glibc" if suite != "sid" else "")
            for package in Suite(work / suite, suite).download(packages):
                run("dpkg-deb", "-x", str(package), str(prefix))
        tree, libraries = work / "tree", next((work / "tree/glibc/usr/lib").glob("*-linux-*"))
        there = _home() / libraries.relative_to(tree)
        loader = next(libraries.glob("ld-linux*.so*")).name
        for program in (found for pattern in _PROGRAMS for found in tree.glob(pattern)):
            run("patchelf", "--set-interpreter", there / loader, "--force-rpath", "--set-rpath", there, program)
        for name in ("etc", "var"):  # which it looks for beside its own prefix
            (tree / "usr" / name).symlink_to(f"../{name}")
            (tree / "usr/lib" / name).symlink_to(f"../../{name}")
        (tree / "var/lib/apptainer/mnt/session").mkdir(parents=True, exist_ok=True)
        if not _home().exists():
            tree.rename(_home())
    finally:
        shutil.rmtree(work, ignore_errors=True)
