"""The routes of jobs: list, show, logs, graph, efficiency, cancel and retry."""

from __future__ import annotations

from codecs import getincrementaldecoder
from typing import TYPE_CHECKING, Any

from slurm.jobs.cancel import cancel
from slurm.jobs.facts import all_facts_of
from slurm.jobs.find import find_job
from slurm.jobs.rank_logs import check_separate, rank_logs
from slurm.jobs.selection import Wanted, found_jobs
from slurm.jobs.submit import resubmit
from slurm.options import Options
from slurm.protocol.states import JobState
from slurm.sanitize import moments
from slurm.sanitize.redaction import redacted
from slurm.server.endpoints import Endpoint, Field
from slurm.server.problems import Problem
from slurm.storage.log_growth import ends, growth
from slurm.views.advice import explained
from slurm.views.efficiency import fitting, uses_of
from slurm.views.graph import graph_of
from slurm.views.overview import LARGE, overviews
from slurm.views.status import error_of, failed, of_ended, peak_memory, statuses, took

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.jobs.job import Job, JobArray
    from slurm.server.endpoints import Asked
    from slurm.server.overview import JobsOverview
    from slurm.submission.status import JobStatus

_TAIL = 1 << 16
"""If no offset is given, this many bytes from the end of a log are sent."""
_LIMIT = Field("integer", "The most that are listed.", 100, 1, 1000)
_CALL = Field("integer", "The index of a call of a map.", 0)


class JobRoutes:
    """The routes of the jobs of a place."""

    def __init__(self, overview: JobsOverview) -> None:
        self._overview, self._place = overview, overview.place

    def endpoints(self) -> list[Endpoint]:
        """The table of the routes. Paths that end in a word come before the path of a key, which may contain `/`."""
        of_logs = {
            "call": _CALL,
            "rank": Field("integer", "The rank, of a task with several.", 0),
            "stderr": Field("boolean", "Standard error, of a task with separate_stderr.", default=False),
            "offset": Field("integer", "Send what comes after this byte; by default, the last 64 KiB."),
        }
        of_list = {
            "task": Field("string", "Jobs of this task; `*` stands for any text."),
            "label": Field("string", "Jobs with this label: NAME=VALUE, or NAME."),
            "state": Field("string", "Jobs with a call in this state."),
            "since": Field("string", "Jobs since then: 30m or 2d ago, or a date."),
            "limit": _LIMIT,
        }
        of_overview = {"limit": _LIMIT, "before": Field("string", "List jobs that are older than this key.")}
        of_calls = {
            "offset": Field("integer", "The index of the first call.", 0),
            "limit": _LIMIT,
            "failed": Field("boolean", "Only calls that have failed.", default=False),
        }
        of_retry = {
            "failed": Field("boolean", "Only the calls that have failed or were cancelled.", default=False),
            "options": Field("object", "Options of the new job, by sbatch's long names: {'mem': '8G'}."),
        }
        children = Field("boolean", "Of a workflow, cancel the jobs that it has submitted, too.", default=True)
        return [
            Endpoint("GET", "/overview", self.overview, of_overview),
            Endpoint("GET", "/jobs", self.list, of_list),
            Endpoint("GET", "/jobs/{key:path}/logs", self.logs, of_logs),
            Endpoint("GET", "/jobs/{key:path}/calls", self.calls, of_calls),
            Endpoint("GET", "/jobs/{key:path}/explanation", self.explanation),
            Endpoint("GET", "/jobs/{key:path}/efficiency", self.efficiency),
            Endpoint("GET", "/jobs/{key:path}/graph", self.graph),
            Endpoint("POST", "/jobs/{key:path}/cancel", self.cancel, {"children": children}),
            Endpoint("POST", "/jobs/{key:path}/retry", self.retry, of_retry),
            Endpoint("GET", "/jobs/{key:path}", self.show),
        ]

    def overview(self, asked: Asked) -> Any:
        """List submissions, newest first, with the states that the server knows: it asks only while a page is open."""
        return self._overview.page(asked.given["limit"], asked.given["before"])

    def list(self, asked: Asked) -> Any:
        """List jobs, newest first, with the states that the scheduler reports now."""
        given = asked.given
        try:
            states = (JobState.named(given["state"]),) if given["state"] else ()
            since = moments.past(given["since"]) if given["since"] else None
        except ValueError as error:
            raise Problem(422, str(error)) from None
        wanted = Wanted(given["task"], (given["label"],) if given["label"] else (), states, since)
        keys = self._place.store.keys()
        return found_jobs(self._place, wanted, keys, given["limit"], everywhere=self._overview.everywhere)

    def show(self, asked: Asked) -> Any:
        """Show the state of a job or map. For a map of 1 000 calls or more, show what is counted so far."""
        job = self._job(asked)
        if len(job.part.indices) >= LARGE and len(job.part.indices) == job.part.state.count:
            return self._overview.counting(job.part.state.key).facts() | {"directory": job.directory}
        return all_facts_of(job)

    def calls(self, asked: Asked) -> Any:
        """List calls of a map, with the state, error, node and time of each."""
        job, given = self._job(asked), asked.given
        indices: Sequence[int] = job.part.indices
        if given["failed"]:
            wanted = set(indices)
            indices = sorted(wanted.intersection(self._overview.counting(job.part.state.key).failed))
        some = indices[given["offset"] : given["offset"] + given["limit"]]
        (found,) = of_ended([job.part._replace(indices=some)]) if some else ((),)
        rows = [_call_facts(job, index, status) for index, status in zip(some, found, strict=True)]
        return {"key": job.key, "count": len(indices), "offset": given["offset"], "calls": rows}

    def logs(self, asked: Asked) -> Any:
        """Read the end of the log of a job or of a call, or what was added to it after an offset."""
        job, given = self._job(asked), asked.given
        place, state, indices = job.part
        if job.is_array and given["call"] not in indices:
            raise Problem(404, f"{job.key} has no call {given['call']}")
        index = given["call"] if job.is_array else indices[0]
        if given["stderr"]:
            check_separate([job.part])
        (paths,) = rank_logs(job.part, given["rank"], [index], stderr=given["stderr"])
        path = f"{place.store.directory(state.key)}/{paths[given['rank']]}"
        ended = state.finished(index)
        if given["offset"] is None:
            offset, data = ends(place.transport, [path], _TAIL).get(path, (0, b""))
            whole = data.lstrip(bytes(range(0x80, 0xC0))) if offset else data  # drop the rest of a cut character
            offset, data = offset + len(data) - len(whole), whole
        else:
            offset, data = given["offset"], growth(place.transport, {path: given["offset"]}).get(path, b"")
        decoder = getincrementaldecoder("utf-8")("replace")
        text = decoder.decode(data)
        following = offset + len(data) - len(decoder.getstate()[0])
        return {
            "of": state.name(index),
            "path": path,
            "offset": offset,
            "next": following,
            "text": text,
            "ended": ended,
        }

    def explanation(self, asked: Asked) -> Any:
        """Explain why a job waits or has failed, and say what to do about it."""
        job = self._job(asked)
        return {"key": job.key, "lines": explained(overviews([job.part])[0])}

    def efficiency(self, asked: Asked) -> Any:
        """Compare what a job has asked for with what it has used, and tell which options would fit."""
        job = self._job(asked)
        used = uses_of(job.part)
        rows = [
            {**use._asdict(), "share": use.share}
            | {"texts": {name: use.text(getattr(use, name)) for name in ("asked", "least", "median", "most")}}
            for use in used
        ]
        return {"key": job.key, "uses": rows, "options": fitting(used)}

    def graph(self, asked: Asked) -> Any:
        """List the jobs that a job waits for, and the jobs that a workflow has submitted, with the state of each."""
        job = self._job(asked)
        return graph_of(job.part.place, [job.part]).data()

    def cancel(self, asked: Asked) -> Any:
        """Cancel the calls that have not ended. Returns the number of calls to cancel in each submission."""
        job = self._job(asked)
        return {"key": job.key, "cancelled": cancel([job.part], children=asked.given["children"])}

    def retry(self, asked: Asked) -> Any:
        """Submit a job again, or the calls of a map that have failed or were cancelled. Returns the new key."""
        job = self._job(asked)
        options = Options.parse(asked.given["options"] or {})
        indices: Sequence[int] = job.part.indices
        if asked.given["failed"]:
            (found,) = statuses([job.part])
            pairs = zip(indices, found, strict=True)
            indices = [i for i, status in pairs if failed(status) or status.state is JobState.CANCELLED]
            if not indices:
                raise Problem(409, f"no call of {job.key} has failed")
        place, state, _ = job.part
        return {"key": resubmit(place, state.key, indices, options).key, "calls": len(indices)}

    def _job(self, asked: Asked) -> Job[Any] | JobArray[Any]:
        return find_job(self._place, asked.path["key"], everywhere=self._overview.everywhere)


def _call_facts(job: Job[Any] | JobArray[Any], index: int, status: JobStatus) -> dict[str, Any]:
    return {
        "call": index,
        "name": job.part.state.name(index),
        "state": status.state.value,
        "error": redacted(error_of(status)) or None,
        "reason": status.reason,
        "explanation": status.explanation,
        "node": status.node,
        "seconds": took([status]),
        "memory": peak_memory([status]),
    }
