"""The environment cache of a process: prepare the environment of a submission once."""

from __future__ import annotations

import contextlib
import threading
from functools import partial
from typing import TYPE_CHECKING

from slurm.environments.base import (
    BuildListener,
    BuildTarget,
    Interpreter,
    before_all,
    planned_all,
    prepare_all,
    to_be_made,
)
from slurm.environments.current import Current
from slurm.errors import ConfigurationError, EnvironmentNotReady, TransportError
from slurm.jobs.job import Job
from slurm.jobs.submit import Wanted, submit
from slurm.options import PLACEMENT, Options
from slurm.tasks.settings import Settings
from slurm.tasks.task import Task
from slurm.transports.base import Completed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.environments.base import Environment
    from slurm.places.place import Place
    from slurm.protocol import ResolvedEnvironment
    from slurm.serialization.pickling import Arguments


_ON_A_NODE = (
    "(a workflow prepares the environments of its tasks on the node, where your project or Containerfile may not "
    "exist. Give the environment to the workflow itself, by @workflow(environment=…); its tasks then have it, too)"
)


def prepare(
    place: Place,
    environments: Sequence[Environment],
    options: Options,
    *,
    listener: BuildListener | None = None,
    for_program: bool = False,
) -> ResolvedEnvironment:
    """Build environments if necessary, and combine them; without any, use `Current()`. Raises EnvironmentNotReady.

    An environment that this process has prepared is reused unless its sources have changed. A workflow reuses its own
    environment, because the node may not have the sources. `listener` receives build events; `options` are those of
    the task, for environments that are built in a job. `for_program` is set for a command.
    """
    environments = tuple(environments) or (Current(),)
    asked_for = ", ".join(map(repr, environments))
    inherited = place.on_node.environment if place.on_node else None
    if inherited is not None and inherited.asked == asked_for:
        return inherited
    try:
        return _prepared(place, environments, options, asked_for, listener or BuildListener(), for_program=for_program)
    except (ConfigurationError, EnvironmentNotReady) as error:
        if inherited is not None:
            error.args = (f"{error} {_ON_A_NODE}",)
        raise


def planned(place: Place, environments: Sequence[Environment], *, for_program: bool = False) -> ResolvedEnvironment:
    """Return what `prepare` would return, as far as it is known. Makes nothing, here or there.

    Raises TransportError if the machine cannot be reached.
    """
    environments = tuple(environments) or (Current(),)
    asked_for = ", ".join(map(repr, environments))
    inherited = place.on_node.environment if place.on_node else None
    if inherited is not None and inherited.asked == asked_for:
        return inherited
    made = place.prepared.get(_key(environments, for_program=for_program))
    if made is not None:
        return made
    asked = Interpreter(place.spec.python, place.spec.setup)
    known = {asked: lambda: place.current}
    target = BuildTarget(place.transport, place.probe, asked, known, for_program=for_program)
    found = planned_all(environments, target)
    return found if found.asked else found.replace(asked=asked_for)


def planned_or_offline(
    place: Place, environments: Sequence[Environment], *, for_program: bool, offline: bool
) -> tuple[ResolvedEnvironment, str | None]:
    """Return what `planned` returns, and None. If the machine is not asked or reached, return placeholders and why."""
    why = ""
    try:
        if not offline:
            found = planned(place, environments, for_program=for_program)
            # After `planned`, which may send its question together with the probe.
            if place.probe.limits and place.probe.root:
                return found, None
    except TransportError as error:
        why = str(error)
    return _planned_offline(place, environments), why


def _planned_offline(place: Place, environments: Sequence[Environment]) -> ResolvedEnvironment:
    """Return an environment of which only the request is known, with the steps before its Python."""
    *bases, top = tuple(environments) or (Current(),)
    interpreter = Interpreter(place.spec.python, place.spec.setup)
    target = before_all(bases, BuildTarget(place.transport, place.probe, interpreter))
    with contextlib.suppress(ConfigurationError):  # no other environment can use it as its base
        target = top.before(target)
    asked_for = ", ".join(map(repr, (*bases, top)))
    return to_be_made("or is there", target.interpreter.setup).replace(asked=asked_for)


def _prepared(
    place: Place,
    environments: tuple[Environment, ...],
    options: Options,
    asked_for: str,
    listener: BuildListener,
    *,
    for_program: bool,
) -> ResolvedEnvironment:
    key = _key(environments, for_program=for_program)
    with place.preparing.setdefault(key, threading.Lock()):
        if key not in place.prepared:
            asked = Interpreter(place.spec.python, place.spec.setup)
            target = BuildTarget(
                place.transport,
                place.probe,
                asked,
                {asked: lambda: place.current},
                listener,
                for_program=for_program,
                run_in_job=partial(_run_in_job, place, options),
            )
            prepared = prepare_all(environments, target)
            prepared = prepared if prepared.asked else prepared.replace(asked=asked_for)
            if _key(environments, for_program=for_program) != key:
                return prepared  # the sources changed during the build, so it may be a mixture
            place.prepared[key] = prepared
        return place.prepared[key]


def _key(environments: Sequence[Environment], *, for_program: bool = False) -> tuple[object, ...]:
    differs = for_program and any(environment.without_python for environment in environments)
    return (*environments, *(environment.fingerprint() for environment in environments), differs)


def _run_in_job(
    place: Place, options: Options, environment: ResolvedEnvironment, argv: Sequence[str], stdin: bytes
) -> Completed:
    """Run a command in a separate job."""
    settings = Settings(options=Options.parse({name: options.get(name) for name in PLACEMENT}))
    calls: list[Arguments] = [((list(argv), stdin), {})]
    watched = submit(place, Wanted(Task(run_here, settings), calls, False, settings, environment))
    return Job[Completed](place, watched, 0).result()


def run_here(argv: list[str], stdin: bytes) -> Completed:
    """Run the command, as the task of the job that `_run_in_job` submits."""
    from slurm.transports.local import LocalTransport  # noqa: PLC0415 - on the node

    return LocalTransport().run(argv, stdin=stdin)
