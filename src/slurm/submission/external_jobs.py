"""External jobs: wait for jobs that this library did not submit, by their ids, as in `.after("123")`.

The scheduler is asked before anything is submitted: sbatch accepts a dependency on an id that it has forgotten, and
the job would run at once.
"""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING, NamedTuple

from slurm.errors import SchedulerError, SubmissionError
from slurm.protocol import ExternalJob
from slurm.protocol.states import JobState
from slurm.schedulers.base import Dependency

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from slurm.protocol import Submission
    from slurm.schedulers.base import Report, Scheduler
    from slurm.schedulers.client import SchedulerClient
    from slurm.submission.job_queue import JobQueue

_KINDS = {"success": "afterok", "failure": "afternotok", "any": "afterany"}


class Verdict(enum.Enum):
    """What an external job means for a job that waits for it."""

    WAIT = "wait"
    MET = "met"
    NEVER = "never"
    FORGOTTEN = "forgotten"


class Answer(NamedTuple):
    """The verdict about an external job, the state in which it ended, and why the accounting gave no answer."""

    job: ExternalJob
    verdict: Verdict
    state: str = ""
    silent: str = ""


def declared(upstreams: Iterable[tuple[object, str]]) -> tuple[ExternalJob, ...] | None:
    """The external jobs among the arguments of `.after(…)`, each once; None if there are none."""
    return tuple(dict.fromkeys(ExternalJob(id=job, on=on) for job, on in upstreams if isinstance(job, str))) or None


def dependencies(queue: JobQueue, submission: Submission) -> tuple[Dependency, ...]:
    """The dependencies of a new submission on external jobs. Jobs that have ended as requested need none.

    Raises SubmissionError for a job that has ended in another way, and for a job that the scheduler does not know.
    """
    if not submission.after:
        return ()
    found = []
    for job, verdict, state, silent in ask(queue.client, submission.after):
        if verdict is Verdict.NEVER:
            raise SubmissionError(f"{submission.task} would never run: {_never(job, state)}")
        if verdict is Verdict.FORGOTTEN:
            refused, name = f"{submission.task} cannot wait for job {job.id}", queue.scheduler.name
            if silent:
                raise SubmissionError(
                    f"{refused}: {name} may have forgotten it, and its accounting does not answer, so it is not known "
                    f"how it ended. Try again in some minutes, or leave out .after({job.id!r}) if it has ended as "
                    f"wanted. The error of the accounting: {silent}"
                )
            raise SubmissionError(
                f"{refused}: {name} does not know it, and would run this one at once. It may have ended some time ago, "
                f"or you may not see it. Leave out .after({job.id!r}) if it has ended"
            )
        found += [_dependency(queue, job)] if verdict is Verdict.WAIT else []
    return tuple(found)


def planned(queue: JobQueue, submission: Submission) -> tuple[Dependency, ...]:
    """The dependencies of a submission if all its external jobs are alive. Does not query the scheduler."""
    return tuple(_dependency(queue, job) for job in submission.after or () if _parsed(queue.scheduler, job))


def later_dependencies(
    queue: JobQueue, submission: Submission, *, begun: bool | None
) -> tuple[tuple[Dependency, ...], str | None] | None:
    """The dependencies of a block that is queued some time after its submission, and a reason if it can never run.

    `begun` is whether elements of the submission have begun: then all external jobs have ended as requested. It is None
    if queued elements may still begin. Then the function returns None (not known yet) if the scheduler has forgotten an
    external job meanwhile.
    """
    if begun or not submission.after:
        return (), None
    waited = []
    for job, verdict, state, _ in ask(queue.client, submission.after):
        if verdict is Verdict.NEVER:
            return (), _never(job, state)
        if verdict is Verdict.FORGOTTEN and job.on != "any":  # the scheduler knew it at the submission, so it has ended
            return None if begun is None else ((), failure(submission.after))
        waited += [_dependency(queue, job)] if verdict is Verdict.WAIT else []
    return tuple(waited), None


def failure(jobs: Iterable[ExternalJob]) -> str:
    """The reason why a job did not run, if all its other upstreams succeeded: the external jobs."""
    wanted = ", ".join(f"{job.id} ({job.on})" for job in jobs)
    return f"it waited for jobs {wanted}, which did not end so, or are forgotten"


def ask(client: SchedulerClient, jobs: Sequence[ExternalJob]) -> list[Answer]:
    """Ask the scheduler about external jobs, and the accounting about jobs that the scheduler has forgotten.

    Raises SubmissionError for a malformed id, SchedulerError if there is no answer.
    """
    parsed = [_parsed(client.scheduler, job) for job in jobs]
    answers = client.query(list(dict.fromkeys(id_ for id_, _ in parsed)))
    if answers.trouble:
        raise SchedulerError(answers.trouble)
    states = [_states(answers.reports, id_, task) for id_, task in parsed]
    unsure = {id_ for (id_, _), known in zip(parsed, states, strict=True) if _incomplete(known)}
    remembered = [report for report in client.history(sorted(unsure)) if report.state.final] if unsure else ()
    found = []
    for job, (id_, task), known in zip(jobs, parsed, states, strict=True):
        if id_ in unsure and _incomplete(known):
            answer = _answer(job, {**_states(remembered, id_, task), **known})
            found.append(_unless_silent(answer, client.history_trouble, whole=task is None))
        else:
            found.append(_answer(job, known))
    return found


def _unless_silent(answer: Answer, trouble: str, *, whole: bool) -> Answer:
    """The answer, or FORGOTTEN if a forgotten task of an array may have failed and the accounting does not answer."""
    certain = answer.job.on == "any" or answer.state not in ("", JobState.COMPLETED.value) or not whole
    if not trouble or (certain and answer.verdict is not Verdict.FORGOTTEN):
        return answer
    return Answer(answer.job, Verdict.FORGOTTEN, silent=trouble)


def _parsed(scheduler: Scheduler, job: ExternalJob) -> tuple[str, int | None]:
    """The id of a whole job, and the number of the array task if the user named one. Raises SubmissionError."""
    if re.fullmatch(scheduler.id_form, job.id):
        return job.id, None
    for task in re.finditer(r"_(\d{1,9})", job.id):
        id_ = job.id[: task.start()] + job.id[task.end() :]
        if re.fullmatch(scheduler.id_form, id_) and scheduler.element_id(id_, int(task[1])) == job.id:
            return id_, int(task[1])
    raise SubmissionError(
        f".after({job.id!r}): expected the id of a job of {scheduler.name}, such as {_example(scheduler)}"
    )


def _example(scheduler: Scheduler) -> str:
    return f'"123" or, for one task of an array, "{scheduler.element_id("123", 4)}"'


def _states(reports: Iterable[Report], id_: str, task: int | None) -> dict[int | None, JobState]:
    """The last reported state of each array task of a job, or only of `task`. A job without tasks has the key None."""
    found: dict[int | None, JobState] = {}
    for report in reports:
        if report.id == id_:
            tasks: Iterable[int | None] = (None,) if report.tasks is None else report.tasks
            found.update((which, report.state) for which in tasks if task is None or which == task)
    return found


def _incomplete(states: Mapping[int | None, JobState]) -> bool:
    """Whether the scheduler may have forgotten the job, or those tasks of its array that ended first."""
    return all(state.final for state in states.values()) and None not in states


def _answer(job: ExternalJob, states: Mapping[int | None, JobState]) -> Answer:
    """What the states of a job mean, as sbatch(1) describes it for `--dependency`."""
    if not states:
        return Answer(job, Verdict.FORGOTTEN)
    alive = any(not state.final for state in states.values())
    failed = next((state.value for state in states.values() if state.final and state is not JobState.COMPLETED), "")
    if job.on == "success" and failed:
        return Answer(job, Verdict.NEVER, failed)
    if alive:
        return Answer(job, Verdict.WAIT)
    met = job.on != "failure" or bool(failed)
    return Answer(job, Verdict.MET if met else Verdict.NEVER, failed or JobState.COMPLETED.value)


def _never(job: ExternalJob, state: str) -> str:
    return f"it waits for the {job.on} of job {job.id}, which ended as {state}"


def _dependency(queue: JobQueue, job: ExternalJob) -> Dependency:
    cluster = queue.scheduler.split_id(job.id)[1] or (queue.origin.cluster if queue.origin else "")
    return Dependency(_KINDS[job.on], (job.id,), frozenset({cluster} - {""}))
