"""Templates: directories of configuration files that come with a tool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from slurm.tools.errors import TemplateError
from slurm.usage import near

if TYPE_CHECKING:
    from collections.abc import Iterator


def list_templates(templates: Path) -> list[str]:
    """Return the names of the templates in a directory, sorted; an empty list if there is no such directory."""
    if not templates.is_dir():
        return []
    return sorted(path.name for path in templates.iterdir() if path.is_dir() and not path.name.startswith((".", "_")))


def get_template_path(templates: Path, name: str) -> Path:
    """Return the directory of a template: a template of the tool by its name, or any directory by its path.

    Raises TemplateError for a name that the tool does not have, and for a path that is not a directory.
    """
    if "/" in name:
        path = Path(name).expanduser().absolute()
        if path.is_dir():
            return path
        raise TemplateError(f"there is no template directory {path}")
    known = list_templates(templates)
    if name not in known:
        raise TemplateError(
            f"there is no template {name!r} (a directory of yours needs a / in its path){near(name, known)}"
        )
    return templates / name


def template_files(template: Path) -> Iterator[tuple[str, Path]]:
    """Yield each file of a template, with its path in the template, sorted.

    Raises TemplateError for a link to a file outside of the template.
    """
    for path in sorted(template.rglob("*")):
        if path.is_symlink() and not path.resolve().is_relative_to(template.resolve()):
            raise TemplateError(f"{path} is a link that leaves its template: put a copy of the file there")
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(template).as_posix(), path
