"""Controller: runs a scheduler's commands over a transport, and counts them."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from slurm.errors import SchedulerError, SchedulerNotFound, SubmissionRefused
from slurm.protocol import SUBMITTED, Block, Submitted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from slurm.schedulers.base import Report, Request, Scheduler
    from slurm.transports.base import Completed, Transport

_NOT_FOUND = 127
_TIMEOUT = 120.0

# Within a job, its SLURM_ variables would be taken for the new job's; the user's own configuration stays.
_SCRUB = """\
if [ -n "${SLURM_JOB_ID:-}" ]; then
    for name in $(env | sed -n 's/^\\(SLURM_[A-Za-z0-9_]*\\)=.*/\\1/p'); do
        case $name in SLURM_CONF*|SLURM_CLUSTERS|SLURM_JWT|SLURM_TIME_FORMAT) ;; *) unset "$name" ;; esac
    done
fi
"""


class Controller:
    """One scheduler at one place. Raises TransportError if the place can't be reached."""

    def __init__(self, scheduler: Scheduler, transport: Transport) -> None:
        self.scheduler = scheduler
        self._transport = transport
        self.calls: dict[str, int] = {}
        """How many commands of each kind were run."""

    def submit(self, directory: str, requests: Sequence[Request]) -> Submitted:
        """Queue the blocks of a submission and record their ids in its directory, by one command.

        The record is written there, next to the scheduler's answer: a client that dies meanwhile loses nothing.
        Raises SubmissionRefused with the scheduler's words, or SchedulerNotFound.
        """
        done = self._run("submit", ["sh", "-c", _SCRUB + self._script(directory, requests)])
        ids = done.stdout.split()
        if done.status == 0:
            return self._submitted(requests, ids)
        if ids:  # earlier blocks were taken: a submission is whole or not at all
            self.cancel(dict.fromkeys(ids))
        message = f"{self.scheduler.name} refused {requests[0].script}:\n{done.words}"
        raise SubmissionRefused(message, script=requests[0].script, output=done.words)

    def _script(self, directory: str, requests: Sequence[Request]) -> str:
        """Shell lines: queue each block, print its id (the last line of what its command says), record all ids."""
        names = [f"id{number}" for number in range(len(requests))]
        lines = ["newline='\n'"]
        for name, request in zip(names, requests, strict=True):
            lines.append(f"{name}=$({shlex.join(self.scheduler.submit(request))}) || exit")
            lines.append(f'{name}=${{{name}##*"$newline"}}; echo "${name}"')
        record = self._submitted(requests, ["%s"] * len(requests)).dumps().decode().strip()
        target = shlex.quote(f"{directory}/{SUBMITTED}")
        values = " ".join(f'"${name}"' for name in names)
        lines.append(f"umask 077; printf {shlex.quote(record)} {values} > {target}.new && mv {target}.new {target}")
        return "\n".join(lines)

    def _submitted(self, requests: Sequence[Request], ids: Sequence[str]) -> Submitted:
        blocks = [Block(id=id_, first=r.first, count=r.count) for id_, r in zip(ids, requests, strict=True)]
        return Submitted(scheduler=self.scheduler.name, blocks=tuple(blocks))

    def query(self, ids: Sequence[str]) -> Iterable[Report]:
        """The states of all elements of ids, by one command; ids that the scheduler has forgotten are left out.

        Raises SchedulerError if the scheduler can't tell.
        """
        done = self._run("query", self.scheduler.query(ids))
        if done.status == 0 or self.scheduler.knows_none(done.words):
            return tuple(self.scheduler.reports(done.stdout))
        message = f"{self.scheduler.name} doesn't tell the state of jobs {', '.join(ids)}: {done.words}"
        raise SchedulerError(message)

    def cancel(self, tasks: Mapping[str, Sequence[int] | None]) -> None:
        """Cancel array tasks of ids, all of an id where there is None; those that have ended already stay ended."""
        done = self._run("cancel", self.scheduler.cancel(tasks))
        if done.status != 0:
            message = f"{self.scheduler.name} didn't cancel {', '.join(tasks)}: {done.words}"
            raise SchedulerError(message)

    def max_array_size(self) -> int:
        """How many elements one array may have."""
        done = self._run("limits", self.scheduler.limits())
        if done.status != 0:
            message = f"{self.scheduler.name} doesn't tell its limits: {done.words}"
            raise SchedulerError(message)
        return self.scheduler.max_array_size(done.stdout)

    def _run(self, kind: str, argv: Sequence[str]) -> Completed:
        self.calls[kind] = self.calls.get(kind, 0) + 1
        done = self._transport.run(argv, timeout=_TIMEOUT)
        if done.status == _NOT_FOUND:
            message = (
                f"{done.words.splitlines()[-1]}. The scheduler {self.scheduler.name!r} needs its commands on PATH: run "
                "this where they are (a login node), or load what brings them. To run on this machine: Cluster('local')"
            )
            raise SchedulerNotFound(message)
        return done
