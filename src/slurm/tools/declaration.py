"""Declaration: the class attributes that describe a tool, and their check when the class is made."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from contextvars import ContextVar
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from slurm.tools.errors import ToolError
from slurm.tools.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

GROUP = "slurm.tools"
"""The group of entry points with which packages register their tools."""

_importing: ContextVar[str] = ContextVar("importing", default="")


class Declaration:
    """The names, folders, templates and stages of a tool. An invalid subclass raises ToolError when it is made."""

    name: ClassVar[str]
    taxonomy: ClassVar[tuple[str, ...]] = ()
    config: ClassVar[str | None] = None
    templates: ClassVar[str | os.PathLike[str] | None] = None
    max_path: ClassVar[int] = 4000
    records: ClassVar[tuple[str, ...]] = ()
    """Patterns of the files that `recorded` reads, relative to the directory of a stage."""
    stages: ClassVar[Mapping[str, Stage]] = {}
    order: ClassVar[tuple[str, ...]] = ()
    """The names of the stages, each after the stages that it depends on."""

    def __init_subclass__(cls, *, abstract: bool = False) -> None:
        own = {name: value for name, value in vars(cls).items() if isinstance(value, Stage)}
        cls.stages = {**cls.stages, **own}
        if abstract:  # a base class of tools, not a tool
            return
        if not isinstance(getattr(cls, "name", None), str):
            raise ToolError(f'{cls.__name__} has no name: write name = "…", the folder of its runs')
        if not isinstance(cls.taxonomy, tuple):
            raise ToolError(f"{cls.__name__}.taxonomy is a tuple of names: write ({cls.taxonomy!r},)")
        graph = TopologicalSorter({name: stage.upstreams(cls.stages) for name, stage in cls.stages.items()})
        try:
            cls.order = tuple(graph.static_order())
        except CycleError as error:
            raise ToolError(f"{cls.__name__}: these stages run after each other: {', '.join(error.args[1])}") from None

    @classmethod
    def recorded(cls, attempt: Path) -> Mapping[str, Any] | None:
        """Return the values that the program has recorded as used, by their keys in the configuration.

        None if the program records none. `attempt` is a directory with the files of one stage that match `records`.
        """
        del attempt
        return None

    @classmethod
    def templates_directory(cls) -> Path:
        """Return the directory of the tool's templates."""
        if cls.templates is not None:
            return Path(cls.templates)
        file = getattr(sys.modules.get(cls.__module__), "__file__", None)
        return Path(file or ".").absolute().parent / "templates"

    @classmethod
    def declared_in(cls) -> str | None:
        """Return the class as FILE.py:CLASS or MODULE:CLASS, for other processes.

        None for a tool of an installed package, which other processes find by its name, and for a class that no other
        process can import.
        """
        from importlib.metadata import entry_points  # noqa: PLC0415 - only `prepare` needs it

        where = f"{cls.__module__}:{cls.__qualname__}"
        if "<locals>" in where or any(point.value == where for point in entry_points(group=GROUP)):
            return None
        module = sys.modules.get(cls.__module__)
        spec, file = getattr(module, "__spec__", None), getattr(module, "__file__", None)
        if cls.__module__ == "__main__" and spec is not None:  # started with python -m
            return f"{spec.name}:{cls.__qualname__}"
        if file and file.endswith(".py") and "." not in cls.__module__:
            return f"{os.path.abspath(file)}:{cls.__qualname__}"
        return where if cls.__module__ != "__main__" and file else None


@contextmanager
def importing(name: str) -> Iterator[None]:
    """Mark that the class of a run is being imported: within the block, no run may be prepared or submitted."""
    token = _importing.set(name)
    try:
        yield
    finally:
        _importing.reset(token)


def refuse_while_importing() -> None:
    """Raise ToolError if this code runs because the class of another run is being imported."""
    if name := _importing.get():
        raise ToolError(
            f"{name.rpartition(':')[0]} is imported for its class, and prepares or submits runs meanwhile: put that "
            'below `if __name__ == "__main__":`'
        )
