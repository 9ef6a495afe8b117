"""Packages of a Debian release other than this machine's: downloaded by apt, without touching what its apt knows."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from testbed.programs import find_program

KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_PROGRAMS = ("apt-get", "dpkg-deb", "patchelf")
_SECONDS = 300


def missing_debian(also: Iterable[str] = ()) -> list[str]:
    """Return which of the programs and files needed to download and unpack packages, and of `also`, are missing."""
    absent = [name for name in (*_PROGRAMS, *also) if find_program(name) is None]
    return absent if KEYS.exists() else [*absent, str(KEYS)]


class Suite:
    """One suite of Debian, for an apt whose directories are all below `directory`.

    Making one downloads the list of packages. It and the methods raise OSError or subprocess.SubprocessError.
    """

    def __init__(self, directory: Path, suite: str) -> None:
        self._directory = directory
        for name in ("state/lists/partial", "cache/archives/partial", "parts"):
            (directory / name).mkdir(parents=True)
        (directory / "sources.list").write_text(f"deb [signed-by={KEYS}] {_mirror()} {suite} main\n")
        (directory / "status").touch()
        settings = {
            "APT::Sandbox::User": "",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            "Dir::Etc::sourcelist": f"{directory}/sources.list",
            "Dir::Etc::sourceparts": f"{directory}/parts",
            "Dir::Etc::preferencesparts": f"{directory}/parts",
            "Dir::State": f"{directory}/state",
            # Nothing is installed as far as this apt knows, so that what packages depend on comes with them.
            "Dir::State::status": f"{directory}/status",
            "Dir::Cache": f"{directory}/cache",
            "APT::Keep-Downloaded-Packages": "true",
        }
        self._apt = ["apt-get", "-qq", *(word for key, value in settings.items() for word in ("-o", f"{key}={value}"))]
        run(*self._apt, "update", "--error-on=any")

    def download(self, packages: Iterable[str]) -> list[Path]:
        """Download these packages alone, and return their files."""
        run(*self._apt, "download", *packages, cwd=self._directory)
        return list(self._directory.glob("*.deb"))

    def download_with_dependencies(self, packages: Iterable[str]) -> list[Path]:
        """Download these packages and all that they depend on, and return their files."""
        run(*self._apt, "install", "-y", "--no-install-recommends", "--download-only", *packages)
        return list((self._directory / "cache/archives").glob("*.deb"))


def run(*argv: str | Path, cwd: Path | None = None) -> None:
    """Run a command silently. Raises OSError or subprocess.SubprocessError."""
    subprocess.run(argv, cwd=cwd, check=True, capture_output=True, text=True, timeout=_SECONDS)


def explained(error: OSError | subprocess.SubprocessError) -> str:
    """Return the end of what a failed command said; without that, the error's own text."""
    if isinstance(error, subprocess.CalledProcessError) and error.stderr:
        return f"{error.cmd[0]} failed: {error.stderr[-500:].strip()}"
    return str(error)


def _mirror() -> str:
    """Return the mirror of Debian that this machine uses."""
    files = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    texts = [path.read_text() for path in files if path.is_file()]
    found = re.search(r"^(?:URIs:|deb(?: \[.*?\])?) *(https?://\S*debian/?)(?= |$)", "\n".join(texts), re.MULTILINE)
    return found[1] if found else "http://deb.debian.org/debian"
