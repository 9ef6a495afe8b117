"""Sent modules: import modules whose sources a client has sent, if no directory of this machine has them."""

from __future__ import annotations

import sys

from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

    Sources = Mapping[str, tuple[str, str | None]]

_Spec: Any = type(sys.__spec__)  # ModuleSpec, without an import of `importlib`


class _Finder:
    """Finds modules by name among the sources that were sent, after all other finders."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        del path, target
        if name not in self.sources:
            return None
        file, source = self.sources[name]
        directory = file if source is None else file.rpartition("/")[0]
        package = source is None or file.endswith("/__init__.py")
        spec: ModuleSpec = _Spec(name, _Loader(source or ""), origin=file, is_package=package)
        spec.has_location = source is not None
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(directory)
        return spec


class _Loader:
    def __init__(self, source: str) -> None:
        self._source = source

    def create_module(self, spec: ModuleSpec) -> None:
        """Let Python create the module."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module."""
        exec(compile(self._source, module.__spec__.origin, "exec", dont_inherit=True), module.__dict__)  # type: ignore[union-attr,arg-type] # noqa: S102 - as every loader does

    def get_source(self, _: str) -> str:
        """Return the source, for tracebacks."""
        return self._source


def find_sent(sources: Sources) -> None:
    """Let this process import modules from these sources, instead of the sources of an earlier call."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]
    sys.meta_path.append(_Finder(sources))
