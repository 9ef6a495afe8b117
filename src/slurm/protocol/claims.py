"""Claims: which element makes the calls of a block. A claim is a link(2) to `taken/<block // 4096>/<block>`."""

from __future__ import annotations

import os

from slurm.protocol import freshness

TAKEN = "taken"
_LINKS = 10_000
"""The most claims that are links to one file: ext4 allows 65 000 links."""
_IN_A_DIRECTORY = 4096


def claim_path(directory: str, block: int) -> str:
    """Return the path of the claim of a block in a client's directory."""
    return f"{directory}/{TAKEN}/{block // _IN_A_DIRECTORY}/{block}"


def prepare(directory: str, block: int) -> None:
    """Make the directory of a block's claim. The client does this before it writes the block."""
    if block % _IN_A_DIRECTORY == 0:
        os.makedirs(os.path.dirname(claim_path(directory, block)), mode=0o700, exist_ok=True)


def claimant(directory: str, block: int) -> str | None:
    """Return the name in a block's claim, such as "3.1" for the first attempt of element 3; None without a claim."""
    try:
        with freshness.retry_absent(open, claim_path(directory, block)) as file:
            return file.read()
    except FileNotFoundError:
        return None


def element_of(name: str) -> tuple[int, int]:
    """Return the number and the attempt of the element whose claims have this name."""
    element, _, attempt = name.partition(".")
    return int(element), int(attempt)


class Claims:
    """The claims of one process in a client's directory. `name` identifies the process."""

    def __init__(self, directory: str, name: str) -> None:
        self._directory, self._name = directory, name
        self._file = ""
        self._links = 0

    def claim(self, block: int) -> bool:
        """Claim a block. Returns False if another process has claimed it. Raises OSError."""
        if not self._file or self._links >= _LINKS:
            self._start_file()
        path = claim_path(self._directory, block)
        try:
            os.link(self._file, path)
        except FileExistsError:  # NFS also reports this if the reply to the first request was lost
            if not os.path.samestat(os.stat(path), os.stat(self._file)):
                return False
        self._links += 1
        return True

    def _start_file(self) -> None:
        file = f"{self._directory}/{TAKEN}/.{self._name}.{os.urandom(6).hex()}"
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as new:
            new.write(self._name)
        self._file, self._links = file, 0
