"""InlineScheduler: the commands of the queue in this process, for the client."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from slurm.protocol.shell import program
from slurm.protocol.states import JobState
from slurm.schedulers import directives
from slurm.schedulers.base import Failure, Report, Scheduler, ranges
from slurm.testing.inline import server

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slurm.options import Options
    from slurm.protocol import Block
    from slurm.schedulers.base import Request, Target
    from slurm.schedulers.survey import Survey

CLIENT = ("sh", "-c", program(__name__, "client.sh"), "slurm-inline")
"""The words with which each command begins. `InlineTransport` answers such a command without a shell."""


class InlineScheduler(Scheduler):
    """Runs elements in threads of this process. The queue ends with the process.

    It takes the same script as Slurm. It uses only these options: the number of elements, the number of CPUs, and the
    job's name.
    """

    name = "inline"
    patience = (0.05, 0.5)

    def directives(self, options: Options, *, tag: str, log: str, block: Block) -> Sequence[str]:
        """Return #SBATCH lines as for Slurm, for human readers. The queue takes the options of the request."""
        return directives.lines(options, tag=tag, log=log, block=block)

    def submit_command(self, request: Request) -> Sequence[str]:
        """Return a command of one JSON document, and a word for each dependency."""
        block, options = request.block, request.options
        asked = {
            "script": request.script,
            "arguments": request.arguments,
            "comment": directives.comment(options, request.comment),
            "log": request.log,
            "environ": {
                "SLURM_JOB_NAME": str(options.get("job_name") or request.comment.partition("/")[0]),
                "SLURM_CPUS_PER_TASK": str(options.get("cpus_per_task") or 1),
            },
            "tasks": list(range(block.count) if block.tasks is None else block.tasks),
            "array": block.array is not False,
            "first": block.first,
            "attempts": block.attempts,
            "waits": request.waits,
            "most": int(options.get("max_concurrent") or 0),
            "options": options.to_json(),
        }
        after = [f"{item.kind}={','.join(item.ids)}" for item in request.dependencies]
        return [*CLIENT, "submit", json.dumps(asked), *after]

    def parse_failure(self, message: str) -> Failure:
        """Recognize a failure by its first word; without a known word, the job may be queued."""
        kinds = {server.REFUSED: Failure.REFUSED, server.LATER: Failure.LATER, server.FULL: Failure.FULL}
        return next((kind for words, kind in kinds.items() if message.lstrip().startswith(words)), Failure.UNKNOWN)

    def status_command(self, ids: Sequence[str], *, cluster: str = "") -> Sequence[str]:
        """Return a command that asks the queue."""
        del cluster
        return [*CLIENT, "status", *ids]

    def parse_status(self, output: str) -> Iterable[Report] | None:
        """Parse a line of JSON for each element, then a last line."""
        *lines, last = output.splitlines() or [""]
        return [_report(json.loads(line)) for line in lines] if last == server.END else None

    def is_transient(self, message: str) -> bool:
        """Whether the message is a transient error, which the queue plays on request."""
        return message.lstrip().startswith((server.DOWN, server.LATER))

    def accounting_command(self, ids: Sequence[str], *, cluster: str = "") -> Sequence[str]:
        """Return a command that asks the queue about ended jobs, including forgotten ones."""
        del cluster
        return [*CLIENT, "accounting", *ids]

    def parse_accounting(self, output: str) -> Iterable[Report]:
        """Parse a line of JSON for each element."""
        return [_report(json.loads(line)) for line in output.splitlines()]

    def accounting_missing(self, message: str) -> bool:
        """Whether the message says that there is no accounting, which the queue plays on request."""
        return server.NO_ACCOUNTING in message

    def cancel_command(self, ids: Sequence[str], *, cluster: str = "") -> Sequence[str]:
        """Return a command that tells the queue to cancel jobs."""
        del cluster
        return [*CLIENT, "cancel", *ids]

    def cancel_script(self, targets: Sequence[Target], *, cluster: str = "") -> str:
        """Return a script that tells the queue to cancel elements. The queue compares the keys."""
        return shlex.join(self.cancel_command(_words(targets), cluster=cluster))

    def hold_command(self, ids: Sequence[str], *, release: bool = False, cluster: str = "") -> Sequence[str]:
        """Return a command that tells the queue to hold or release jobs."""
        del cluster
        return [*CLIENT, "release" if release else "hold", *ids]

    def hold_script(self, targets: Sequence[Target], *, release: bool = False, cluster: str = "") -> str:
        """Return a script that tells the queue to hold or release elements. The queue compares the keys."""
        return shlex.join(self.hold_command(_words(targets), release=release, cluster=cluster))

    def requeue_command(self, id_: str) -> Sequence[str]:
        """Return a command that tells the queue to requeue an element."""
        return [*CLIENT, "requeue", id_]

    def limits_command(self) -> Sequence[str]:
        """Return a command that prints the queue's limits as JSON."""
        return [*CLIENT, "limits"]

    def parse_max_array_size(self, output: str) -> int:
        """Return the largest array size; 0 for any other output."""
        return int(_limits(output).get("max_array_size") or 0)

    def submit_limits_command(self) -> Sequence[str]:
        """Return the same command as `limits_command`."""
        return self.limits_command()

    def parse_submit_limits(self, output: str, options: Options) -> int | None:
        """Return the queue's limit for the number of all elements; None without a limit."""
        del options
        most: int | None = _limits(output).get("most_queued")
        return most

    def queued_command(self) -> Sequence[str]:
        """Return a command that prints a line for each element that has not ended."""
        return [*CLIENT, "queued"]

    def survey_script(self) -> str:
        """Return a script that prints only the scheduler's name: there is nothing to look for."""
        return "echo slurm-inline"

    def parse_survey(self, output: str) -> Survey:
        """Return a survey that names this scheduler; unexpected output is trouble."""
        from slurm.schedulers.survey import Survey  # noqa: PLC0415 - only for the doctor

        if output.strip() != "slurm-inline":
            return Survey(version="", trouble=output.strip())
        return Survey(version="inline, in this process", shared=False)


def _words(targets: Sequence[Target]) -> list[str]:
    return [f"{id_}_{'' if tasks is None else ranges(tasks)}={key}" for id_, tasks, key in targets]


def _report(line: dict[str, Any]) -> Report:
    return Report(state=JobState.parse(line["word"]), **line)


def _limits(output: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(output)
    except ValueError:
        return {}
    return found
