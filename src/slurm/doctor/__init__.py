"""Doctor: check a cluster, and advise on each problem. `slurm doctor` shows the findings.

Two commands over the cluster's transport collect all facts. They leave no files behind.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from typing import TYPE_CHECKING

from slurm.clusters.job_cleanup import remove
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
"""Seconds for each command. It makes several queries to the scheduler, and a dead controller takes 9 s for each."""

_TOOLS = ("bash", "env", "sed", "tail", "date", "uname", "mv", "ln", "rm")


def examine(cluster: Cluster, *, run_job: bool = False, timeout: float = 120.0) -> list[Finding]:
    """Check a cluster; return the findings, with advice on each problem.

    With `run_job`, also run a job and wait up to `timeout` seconds for it: only a job shows whether the nodes see the
    root. Raises ValueError for an invalid time.
    """
    return list(look(cluster, run_job=run_job, timeout=positive_seconds(timeout, "timeout")))


def look(cluster: Cluster, *, run_job: bool, timeout: float) -> Iterator[Finding]:
    """Yield each finding of `examine` as soon as it is known."""
    reached = True
    for finding in _examine(cluster.place, cluster.options):
        yield finding
        reached = reached and (finding.check != "reach" or finding.level is not Level.ERROR)
    if run_job and reached:
        yield from _run(cluster, timeout)


def _examine(place: Place, options: Options) -> Iterator[Finding]:
    scheduler: Scheduler = plugin("schedulers", place.url.scheduler)(Site("python3", ""))
    fence = f"--{os.urandom(6).hex()}--"
    before = time.time()
    try:
        done = place.transport.run(_command(place, scheduler, fence), timeout=_TIMEOUT)
    except TransportError as error:
        yield Finding(Level.ERROR, "reach", str(error), diagnosis.how_to_reach(place.url))
        return
    sections = _sections(done.stdout, fence)
    if "end" not in sections:
        yield Finding(Level.ERROR, "reach", done.words, diagnosis.how_to_reach(place.url))
        return
    yield from diagnosis.place(sections["place"], before=before, after=time.time())
    yield from diagnosis.tools(sections["tools"])
    survey = scheduler.parse_survey(sections["scheduler"])
    yield from diagnosis.root(sections, shared=survey.shared)
    if place.spec.setup:
        yield diagnosis.setup(sections["setup"])
    yield _python(place, sections["root"].partition("\n")[0])
    yield diagnosis.containers(sections["containers"])
    yield from diagnosis.scheduler(scheduler.name, survey)
    yield from diagnosis.partitions(survey, str(options.get("partition") or ""))


def _command(place: Place, scheduler: Scheduler, fence: str) -> list[str]:
    setup = "\n".join([*render_steps(place.spec.setup), '[ -z "$step" ]'])
    arguments = [fence, setup, scheduler.survey_script(), place.url.root or "~", *_TOOLS]
    return ["sh", "-c", program(__name__, "examine.sh"), "sh", *arguments]


def _sections(output: str, fence: str) -> Mapping[str, str]:
    """The output of each section of the script, by its name."""
    parts = (part.partition("\n") for part in output.split(f"\n{fence} ")[1:])
    return {name.strip(): text.strip() for name, _, text in parts}


def _python(place: Place, root: str) -> Finding:
    try:
        found = find(BuildTarget.at(place.transport, root, Interpreter(place.spec.python, place.spec.setup)))
    except PythonNotFound as error:
        return Finding(Level.ERROR, "python", *str(error).split(". ", 1))
    except TransportError as error:
        return Finding(Level.ERROR, "python", str(error))
    return Finding(Level.OK, "python", f"{found.python} is Python {found.tag}, as on this machine")


def _run(cluster: Cluster, timeout: float) -> Iterator[Finding]:
    """Check that a job on a node reads its call from the root, writes its outcome there, and can submit jobs itself.

    The job calls a function of the standard library, because the runner's zip does not contain this package.
    """
    begin, scheduler = time.monotonic(), cluster.place.scheduler
    try:
        settings = Settings.parse({"time": 5, "job_name": "slurm-doctor"})
        job = Task(subprocess.getoutput, settings).on(cluster)(f"uname -n\n{scheduler.survey_script()}")
    except SlurmError as error:
        yield Finding(Level.ERROR, "job", str(error), "see the findings above, or set the required option")
        return
    try:
        node, _, survey = job.result(timeout).partition("\n")
    except SlurmError as error:
        advice = "a node that cannot see the root writes no outcome: choose a root on a shared file system"
        yield Finding(Level.ERROR, "job", str(error), advice)
    except TimeoutError:
        status = job.status()
        job.cancel()
        yield Finding(
            Level.WARNING,
            "job",
            f"{status.state}{f' ({status.reason})' if status.reason else ''} after {timeout:g} s; job cancelled",
            "wait longer (--timeout), or choose a partition with free nodes",
        )
    else:
        yield Finding(Level.OK, "job", f"ran on {node}, which can see the root, in {time.monotonic() - begin:.1f} s")
        yield from diagnosis.submitting(node, scheduler.parse_survey(survey))
        submitted = job.part.state.submitted
        with contextlib.suppress(SlurmError):  # the cluster has answered before, and this is only for information
            ids = [block.id for block in submitted.blocks] if submitted else []
            reports = cluster.place.queue.client.query(ids).reports
            yield from diagnosis.comments(job.key, [report.comment for report in reports])
        with contextlib.suppress(SlurmError):  # its script may still run; `slurm gc` removes what is left
            remove(cluster.place, [job.key])
