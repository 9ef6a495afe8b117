"""Script: what a procedure runs. A file or a text, as it is when the procedure is prepared."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, NamedTuple

from slurm.procedures.errors import ScriptError
from slurm.protocol.procedures import ScriptRecord

if TYPE_CHECKING:
    from typing_extensions import Self

_MOST_BYTES = 1 << 20


class Script(NamedTuple):
    """What a procedure runs. Made by `Script.file` or `Script.text`; nothing is read before it is prepared."""

    kind: str
    path: str
    source: str | None = None

    @classmethod
    def file(cls, path: str | os.PathLike[str]) -> Self:
        """A file of this machine. It is read when a procedure is prepared; later changes do not matter."""
        return cls("file", os.path.abspath(os.path.expanduser(path)))

    @classmethod
    def text(cls, text: str, name: str = "script.py") -> Self:
        """A text. Its name is the one that tracebacks show."""
        return cls("text", name, text)

    def read(self) -> ScriptRecord:
        """Read the script, and check that it can be parsed. Raises ScriptError."""
        data = self._bytes()
        if len(data) > _MOST_BYTES:
            raise ScriptError(f"{self.path} has {len(data)} bytes: a script has at most {_MOST_BYTES}")
        try:
            text = data.decode()
            compile(text, self.path, "exec", dont_inherit=True)
        except UnicodeDecodeError as error:
            raise ScriptError(f"{self.path} is not text in UTF-8: {error}") from error
        except (SyntaxError, ValueError) as error:
            raise ScriptError(f"{self.path} is not valid Python: {_where(error)}") from error
        return ScriptRecord(kind=self.kind, path=self.path, digest=hashlib.sha256(data).hexdigest(), text=text)

    def _bytes(self) -> bytes:
        if self.source is not None:
            return self.source.encode()
        try:
            with open(self.path, "rb") as file:
                return file.read()
        except OSError as error:
            raise ScriptError(f"the script {self.path} cannot be read: {error.strerror or error}") from error


def _where(error: Exception) -> str:
    line = getattr(error, "lineno", None)
    return f"line {line}: {error.msg}" if line and isinstance(error, SyntaxError) else str(error)
