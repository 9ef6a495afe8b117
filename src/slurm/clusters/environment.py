"""Preparation: the environment of a submission, made ready where it is to run, once for each process."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

from slurm.environments.base import BuildListener, BuildTarget, Interpreter, prepare_all
from slurm.environments.current import Current
from slurm.errors import ConfigurationError, EnvironmentNotReady
from slurm.options import PLACEMENT, Options
from slurm.tasks.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.environments.base import Environment
    from slurm.places.place import Backend
    from slurm.protocol import ResolvedEnvironment
    from slurm.serialization import Arguments
    from slurm.transports.base import Completed


def prepare(
    backend: Backend,
    environments: Sequence[Environment],
    options: Options,
    *,
    listener: BuildListener | None = None,
) -> ResolvedEnvironment:
    """The environment that some make, ready; none at all are `Current()`. Raises EnvironmentNotReady.

    One that this process has prepared is not looked at again, unless its sources have changed; nor is that of the
    workflow whose job this is, which was made on a machine that has the sources. `packaging` is told of
    what is made; `options` are those of the task, for what must be made in a job.
    """
    environments = tuple(environments) or (Current(),)
    asked_for = ", ".join(map(repr, environments))
    if backend.inherited is not None and backend.inherited.asked == asked_for:
        return backend.inherited
    try:
        return _prepared(backend, environments, options, asked_for, listener or BuildListener())
    except (ConfigurationError, EnvironmentNotReady) as error:
        if backend.inherited is not None:
            error.args = (f"{error} {_ON_A_NODE}",)
        raise


_ON_A_NODE = (
    "(what a workflow gives its tasks is made ready from the node, and what there is on the node counts. A project or "
    "a Containerfile of yours isn't there: have the workflow itself in it, by @workflow(environment=…); its tasks then "
    "have it, too)"
)


def _prepared(
    backend: Backend, environments: tuple[Environment, ...], options: Options, asked_for: str, listener: BuildListener
) -> ResolvedEnvironment:
    key = _key(environments)
    with backend.lock:
        its_own = backend.preparing.setdefault(key, threading.Lock())
    with its_own:
        if key not in backend.prepared:
            asked = Interpreter(backend.spec.python, backend.spec.setup)
            place = BuildTarget(
                backend.transport,
                backend.probe,
                asked,
                {asked: lambda: backend.current},
                listener,
                partial(_run_in_job, backend, options),
            )
            prepared = prepare_all(environments, place)
            prepared = prepared if prepared.asked else prepared.replace(asked=asked_for)
            if _key(environments) != key:  # its sources were changed meanwhile, so it isn't known of which it was made
                return prepared
            backend.prepared[key] = prepared
        return backend.prepared[key]


def _key(environments: Sequence[Environment]) -> tuple[object, ...]:
    return (*environments, *(environment.fingerprint() for environment in environments))


def _run_in_job(
    backend: Backend, options: Options, environment: ResolvedEnvironment, argv: Sequence[str], stdin: bytes
) -> Completed:
    """Run a command in a job of its own."""
    from slurm.jobs.submit import submit  # noqa: PLC0415 - it prepares nothing, but stands above what does
    from slurm.tasks.task import Task  # noqa: PLC0415

    terms = Settings(options=Options.parse({name: options.get(name) for name in PLACEMENT}))
    calls: list[Arguments] = [((list(argv), stdin), {})]
    jobs = submit(backend, Task(run_here, terms), calls, mapped=False, terms=terms, environment=environment)
    return jobs[0].result()


def run_here(argv: list[str], stdin: bytes) -> Completed:
    """What the job does: run the command, there."""
    from slurm.transports.local import LocalTransport  # noqa: PLC0415 - on the node

    return LocalTransport().run(argv, stdin=stdin)
