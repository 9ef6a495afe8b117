"""Settings: how a task is run. A task's own settings override its cluster's; those of a changed copy override both.

A node imports this module with the user's modules, so this module imports little itself.
"""

from __future__ import annotations

from slurm.callbacks.base import NODE_HOOKS, checked, merge, overrides
from slurm.options import MAPPINGS, NONE, OURS, SBATCH, TAKEN, Options
from slurm.protocol.records import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from slurm.callbacks.base import Callback
    from slurm.environments.base import Environment


def is_keyword(name: str) -> bool:
    """Whether `@task` and `with_options` accept a keyword argument of this name, or refuse it with advice."""
    return any(name in names for names in (SBATCH, OURS, MAPPINGS, TAKEN, ("environment", "callbacks")))


class Settings(Record):
    """Options, environments and callbacks."""

    options: Options = NONE
    environment: tuple[Environment, ...] | None = None
    """None if none was given; empty for the environment of the cluster, or else the Python that is there."""
    callbacks: tuple[Callback, ...] = ()

    @classmethod
    def parse(cls, keywords: Mapping[str, Any]) -> Settings:
        """Check keyword arguments of `@task` and `with_options`. Raises OptionError, ConfigurationError, TypeError."""
        given = dict(keywords)
        environment, callbacks = None, checked(given.pop("callbacks", ()))
        if "environment" in given:
            from slurm.environments.base import as_list  # noqa: PLC0415 - most tasks have the cluster's

            environment = as_list(given.pop("environment"))
        return cls(options=Options.parse(given), environment=environment, callbacks=callbacks)

    def merged(self, other: Settings) -> Settings:
        """Return these settings, overridden by others. Callbacks are added."""
        return Settings(
            options=self.options.merged(other.options),
            environment=other.environment or (self.environment if other.environment is None else ()),
            callbacks=merge(self.callbacks, other.callbacks),
        )

    def on_a_node(self) -> Settings:
        """Return the settings that are sent with a task: without callbacks that only a client calls."""
        return self.replace(callbacks=tuple(callback for callback in self.callbacks if overrides(callback, NODE_HOOKS)))
