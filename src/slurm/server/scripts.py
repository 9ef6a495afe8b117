"""Scripts: which scripts a request may name, by the options of `slurm serve`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.procedures.script import Script
from slurm.server.endpoints import Field, values_of
from slurm.server.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

_FIELDS = {
    "file": Field("string", "The path of a file of the server, or its path below an allowed folder."),
    "git": Field("string", "The URL of a repository."),
    "path": Field("string", "The path of the script in the repository."),
    "branch": Field("string", "The branch of the repository."),
    "tag": Field("string", "The tag of the repository."),
    "commit": Field("string", "The commit of the repository."),
    "environment": Field("boolean", "Whether the project of the repository is installed for it.", default=True),
    "text": Field("string", "The script itself."),
    "name": Field("string", "The name of a text in tracebacks."),
}
_KINDS = {"file": (), "git": ("path", "branch", "tag", "commit", "environment"), "text": ("name",)}
"""The further members that a script of each kind may have in a request."""
MEANING = (
    "A script: {'file': PATH}, {'git': URL, 'path': PATH, 'branch': NAME} (or 'tag', 'commit'), or {'text': TEXT}."
)


class ScriptRules(NamedTuple):
    """Which scripts may come in a request. By default, none."""

    folders: tuple[str, ...] = ()
    """Files below these folders on the server's machine are allowed, after symbolic links are followed."""
    repositories: tuple[str, ...] = ()
    """Repositories are allowed if their URL is one of these, or is below one of these."""
    text: bool = False

    def script(self, field: str, given: Mapping[str, Any]) -> Script:
        """The script that the object `given` in the field `field` of a body names. Raises Problem, ScriptError."""
        kinds = [kind for kind in _KINDS if kind in given]
        if len(kinds) != 1:
            raise Problem(422, f"{field} must have one of: {', '.join(_KINDS)}")
        (kind,) = kinds
        if wrong := [name for name in given if name not in (kind, *_KINDS[kind])]:
            others = f"there are: {', '.join((kind, *_KINDS[kind]))}"
            raise Problem(422, f"{field} has no field {wrong[0]!r} beside {kind!r}; {others}")
        values = values_of(given, _FIELDS)
        if kind == "file":
            return Script.file(self._allowed_file(values["file"]))
        if kind == "git":
            return self._allowed_git(field, **values)
        if not self.text:
            raise Problem(403, "this server takes no scripts as text: `slurm serve --allow-text` allows them")
        return Script.text(values["text"], values.get("name", "script.py"))

    def _allowed_file(self, path: str) -> str:
        try:
            pairs = [
                (os.path.realpath(os.path.join(folder, path)), os.path.realpath(folder)) for folder in self.folders
            ]
        except ValueError as error:
            raise Problem(422, f"{path!r} is not a path: {error}") from None
        found = [real for real, folder in pairs if os.path.commonpath((real, folder)) == folder]
        if not found:
            allowed = ", ".join(self.folders) or "none"
            raise Problem(
                403, f"{path} is not below an allowed folder ({allowed}): `slurm serve --allow-folder DIR` allows one"
            )
        files = [real for real in found if os.path.isfile(real)]
        if not files:
            raise Problem(422, f"the script {path} cannot be read: there is no such file")
        return files[0]

    def _allowed_git(self, field: str, *, git: str, path: str | None = None, **names: Any) -> Script:
        if path is None:
            raise Problem(422, f"{field} needs the field 'path': {_FIELDS['path'].meaning}")
        script = Script.git(git, path, **names)
        if not any(_is_below(git, prefix) for prefix in self.repositories):
            allowed = ", ".join(self.repositories) or "none"
            raise Problem(
                403, f"the repository {git} is not allowed ({allowed}): `slurm serve --allow-git PREFIX` allows some"
            )
        return script


def _is_below(url: str, prefix: str) -> bool:
    """Whether a URL equals a prefix, or continues the prefix with whole parts of a path, none of which is `..`."""
    whole = prefix if prefix.endswith(("/", ":")) else f"{prefix}/"
    rest = url[len(whole) :]
    return url == prefix or (url.startswith(whole) and ".." not in rest.split("/") and "%" not in rest)
