"""Declaration: what a tool says of itself, and how it is checked when its class is made."""

from __future__ import annotations

import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from slurm.tools.errors import ToolError
from slurm.tools.stage import Stage

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping


class Declaration:
    """The names, folders, templates and stages of a tool. Subclasses are checked when they are made: ToolError."""

    name: ClassVar[str]
    taxonomy: ClassVar[tuple[str, ...]] = ()
    config: ClassVar[str | None] = None
    templates: ClassVar[str | os.PathLike[str] | None] = None
    max_path: ClassVar[int] = 4000
    records: ClassVar[tuple[str, ...]] = ()
    """Patterns of the files that `recorded` reads, below the directory of a stage."""
    stages: ClassVar[Mapping[str, Stage]] = {}
    order: ClassVar[tuple[str, ...]] = ()
    """The names of the stages, each after those that it runs after."""

    def __init_subclass__(cls, *, abstract: bool = False) -> None:
        own = {name: value for name, value in vars(cls).items() if isinstance(value, Stage)}
        cls.stages = {**cls.stages, **own}
        if abstract:  # a base of tools, and none itself
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
        """The values that the program says it used, by their keys in the configuration; None if it does not say.

        `attempt` is a directory with the files of one stage that match `records`.
        """
        del attempt
        return None

    @classmethod
    def templates_directory(cls) -> Path:
        """The directory of its templates."""
        if cls.templates is not None:
            return Path(cls.templates)
        file = getattr(sys.modules.get(cls.__module__), "__file__", None)
        return Path(file or ".").absolute().parent / "templates"
