"""Arguments: calls that other libraries spell differently raise an error that says what to write.

The decorated methods keep their signatures, so type checkers and editors report the same mistakes.
"""

from __future__ import annotations

import functools
import logging
import os
import shutil
from typing import TYPE_CHECKING, Any, TypeVar

from slurm.tracebacks import ends_at_the_caller

if TYPE_CHECKING:
    from collections.abc import Callable

    F = TypeVar("F", bound=Callable[..., Any])


_log = logging.getLogger(__name__)


@functools.cache
def warn_on_a_login_node() -> None:
    """Warn once that jobs do not go to this machine's Slurm. Inside a Slurm job, this is intended, so do not warn."""
    if shutil.which("sbatch") and "SLURM_JOB_ID" not in os.environ:
        _log.warning(
            "Cluster() runs jobs as processes on this machine, but sbatch is on PATH: on a login node, "
            'write Cluster("slurm") or Cluster("auto"). Cluster("local") runs them here without this warning.'
        )


def only_known_arguments(init: F) -> F:
    """Decorate `Cluster.__init__`. For an option that is given as an argument, raises TypeError with advice."""
    code = init.__code__
    parameters = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]  # `inspect` is slow to import

    @functools.wraps(init)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        if len(args) > 1 or not kwargs.keys() <= set(parameters):
            from slurm import usage  # noqa: PLC0415 - only for an error

            if error := usage.wrong_arguments(parameters, len(args), kwargs):
                raise error
        init(self, *args, **kwargs)

    return ends_at_the_caller(checked)  # type: ignore[return-value]


def only_bound_calls(submit: F) -> F:
    """Decorate `Cluster.submit`, which tasks call. For `cluster.submit(f, 1)`, raises TypeError with advice."""

    @functools.wraps(submit)
    def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        if len(args) + len(kwargs) != len(("of", "calls", "mapped")) or "mapped" not in kwargs:
            from slurm import usage  # noqa: PLC0415 - only for an error

            raise usage.submit_of_others()
        return submit(self, *args, **kwargs)

    return ends_at_the_caller(checked)  # type: ignore[return-value]


def only_iterable_calls(plan: F) -> F:
    """Decorate `Cluster.plan`. For `cluster.plan(f, 1)`, raises TypeError with advice."""

    @functools.wraps(plan)
    def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls = args[1] if len(args) == 2 else kwargs.get("calls")
        if len(args) > 2 or not (hasattr(calls, "__iter__") or hasattr(calls, "__getitem__")):
            from slurm import usage  # noqa: PLC0415 - only for an error

            raise usage.plan_of_others(getattr(args[0], "__name__", "f") if args else "f")
        return plan(self, *args, **kwargs)

    return ends_at_the_caller(checked)  # type: ignore[return-value]
