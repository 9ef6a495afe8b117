"""Doctor: what a cluster is like, and what to do about what is wrong there. `slurm doctor` shows its findings.

All is asked by two commands over the cluster's transport, whatever that is; nothing is left behind there.
"""

from __future__ import annotations

import os
import platform
import time
from typing import TYPE_CHECKING

from slurm.doctor import diagnosis
from slurm.doctor.diagnosis import Finding, Level
from slurm.environments.base import BuildTarget, Interpreter
from slurm.environments.current import find
from slurm.environments.setup import render_steps
from slurm.errors import PythonNotFound, SlurmError, TransportError
from slurm.plugins import plugin
from slurm.protocol.shell import program
from slurm.sanitize.numbers import positive_seconds
from slurm.schedulers.base import Site
from slurm.tasks.settings import Settings
from slurm.tasks.task import Task

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from slurm.clusters.cluster import Cluster
    from slurm.options import Options
    from slurm.places.place import Place
    from slurm.schedulers.base import Scheduler

_TIMEOUT = 120.0
"""Seconds for either command: one to a controller that is down takes 9 s to say so, and there are several."""

_TOOLS = ("bash", "env", "sed", "tail", "date", "uname", "mv", "ln", "rm")


def examine(cluster: Cluster, *, run_job: bool = False, timeout: float = 120.0) -> list[Finding]:
    """What there is to know of a cluster before jobs go there, each with what to do about it.

    With `run_job` a job is run there too, and given `timeout` seconds: only that tells whether the nodes see the root.
    Raises ValueError for a time that can't be waited.
    """
    timeout = positive_seconds(timeout, "timeout")
    findings = list(_examine(cluster.place, cluster.options))
    reached = not any(finding.check == "reach" and finding.level is Level.ERROR for finding in findings)
    return [*findings, *(_run(cluster, timeout) if run_job and reached else ())]


def _examine(place: Place, options: Options) -> Iterator[Finding]:
    scheduler: Scheduler = plugin("schedulers", place.url.scheduler)(Site("python3", ""))
    fence = f"--{os.urandom(6).hex()}--"
    before = time.time()
    try:
        done = place.transport.run(_command(place, scheduler, fence), timeout=_TIMEOUT)
    except TransportError as error:
        yield Finding(Level.ERROR, "reach", str(error), diagnosis.how_to_reach(place.url))
        return
    told = _sections(done.stdout, fence)
    if "end" not in told:
        yield Finding(Level.ERROR, "reach", done.words, diagnosis.how_to_reach(place.url))
        return
    yield from diagnosis.place(told["place"], before=before, after=time.time())
    yield from diagnosis.tools(told["tools"])
    survey = scheduler.parse_survey(told["scheduler"])
    yield from diagnosis.root(told, shared=survey.shared)
    if place.spec.setup:
        yield diagnosis.setup(told["setup"])
    yield _python(place, told["root"].partition("\n")[0])
    yield diagnosis.containers(told["containers"])
    yield from diagnosis.scheduler(scheduler.name, survey)
    yield from diagnosis.partitions(survey, str(options.get("partition") or ""))


def _command(place: Place, scheduler: Scheduler, fence: str) -> list[str]:
    setup = "\n".join([*render_steps(place.spec.setup), '[ -z "$step" ]'])
    arguments = [fence, setup, scheduler.survey_script(), place.url.root or "~", *_TOOLS]
    return ["sh", "-c", program(__name__, "examine.sh"), "sh", *arguments]


def _sections(output: str, fence: str) -> Mapping[str, str]:
    """The output of each part of the script, by its name."""
    parts = (part.partition("\n") for part in output.split(f"\n{fence} ")[1:])
    return {name.strip(): text.strip() for name, _, text in parts}


def _python(place: Place, root: str) -> Finding:
    try:
        found = find(BuildTarget.at(place.transport, root, Interpreter(place.spec.python, place.spec.setup)))
    except PythonNotFound as error:
        return Finding(Level.ERROR, "python", *str(error).split(". ", 1))
    except TransportError as error:
        return Finding(Level.ERROR, "python", str(error))
    return Finding(Level.OK, "python", f"{found.python} is Python {found.tag}, as here")


def _run(cluster: Cluster, timeout: float) -> Iterator[Finding]:
    """Check that a job on a node reads its call from the root and writes its outcome there.

    The job calls a function of the standard library, for the runner's zip does not hold this package.
    """
    began = time.monotonic()
    try:
        job = Task(platform.node, Settings.parse({"time": 5, "job_name": "slurm-doctor"})).on(cluster)()
    except SlurmError as error:
        yield Finding(Level.ERROR, "job", str(error), "see the findings above, or give what it asks for as an option")
        return
    try:
        node = job.result(timeout)
    except SlurmError as error:
        advice = "a node that doesn't see the root leaves no outcome there: choose a root on a shared file system"
        yield Finding(Level.ERROR, "job", str(error), advice)
    except TimeoutError:
        status = job.status()
        job.cancel()
        yield Finding(
            Level.WARNING,
            "job",
            f"{status.state}{f' ({status.reason})' if status.reason else ''} after {timeout:g} s, so it was cancelled",
            "wait longer (--timeout), or choose a partition that is free",
        )
    else:
        yield Finding(Level.OK, "job", f"ran on {node}, which sees the root, in {time.monotonic() - began:.1f} s")
