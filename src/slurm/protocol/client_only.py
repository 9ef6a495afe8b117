"""Packages that clients have and nodes do not. Modules of tasks import names from them, so nodes get stand-ins."""

from __future__ import annotations

from importlib.machinery import ModuleSpec

from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

PACKAGES = ("slurm.compat.submitit", "slurm.procedures", "slurm.sweeps", "slurm.testing", "slurm.tools")
"""A node has few modules of these packages, or none."""


def find_spec(name: str) -> ModuleSpec | None:
    """Find a stand-in for a module of such a package that the node does not have; None for any other package."""
    if not f"{name}.".startswith(tuple(f"{package}." for package in PACKAGES)):
        return None
    return ModuleSpec(name, _Loader(), is_package=True)  # type: ignore[arg-type]


class _Loader:
    def create_module(self, spec: ModuleSpec) -> None:
        """Let Python create the module."""

    def exec_module(self, module: ModuleType) -> None:
        """Let the module make names at their first use."""

        def made(name: str) -> type:
            if name.startswith("__"):
                raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
            return _StandIn(name, (Exception,), {"__module__": module.__name__, "__init__": _refuse})

        module.__getattr__ = made  # type: ignore[method-assign]


class _StandIn(type):
    """The class of the stand-ins. They can be imported, caught and inherited from, but not used."""

    def __getattr__(cls, name: str) -> object:
        raise AttributeError(f"{_not_here(cls)}, so it has no attribute {name!r} here")


def _refuse(self: object, *_: object, **__: object) -> None:
    raise RuntimeError(f"{_not_here(type(self))}. To submit jobs from a job, make it a slurm.workflow")


def _not_here(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__} works in the program that submits jobs, and not in a job"
