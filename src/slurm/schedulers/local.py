"""LocalScheduler: runs jobs on one machine without Slurm, through the supervisor in `local_queue`."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from slurm.protocol import Origin
from slurm.protocol.boot import BOOT
from slurm.protocol.shell import program
from slurm.protocol.states import JobState
from slurm.schedulers import directives
from slurm.schedulers.base import Failure, Report, Scheduler, numbers, ranges
from slurm.schedulers.local_queue import GRACE_SECONDS, identity, wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from slurm.options import Options
    from slurm.protocol import Block
    from slurm.schedulers.base import Request, Site, Target
    from slurm.schedulers.survey import Survey

_COMMANDS = "slurm.schedulers.local_queue.commands"
_IDENTITY = re.compile(r"name=(?P<name>.+?) boot=(?P<boot>.*?) host=(?P<host>.*)")
"""The output of identity.sh, and the first line of the output of `query`."""
_REASONS = {
    wire.RESOURCES: "it waits for free processors",
    wire.PRIORITY: "earlier jobs wait for free processors",
    wire.DEPENDENCY: "it waits for other jobs",
    wire.TASK_LIMIT: "as many calls of its map run as max_concurrent allows",
}
"""Why a job waits, in words."""


class LocalScheduler(Scheduler):
    """Runs detached processes on one machine. The limit of CPUs holds over all submissions of the user.

    It takes the same script as Slurm and reads the #SBATCH lines that matter on one machine: array, output,
    cpus-per-task, time, signal, chdir, and the number of tasks. It ignores others, such as partitions and memory.
    """

    name = "local"
    patience = (0.5, 5.0)
    kill_wait = GRACE_SECONDS

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._queue = (site.python, "-c", BOOT, site.runner, _COMMANDS)
        self.needs = (wire.path(),)

    def directives(self, options: Options, *, tag: str, log: str, block: Block) -> Sequence[str]:
        """Return #SBATCH lines, as for Slurm."""
        return directives.lines(options, tag=tag, log=log, block=block)

    def submit_command(self, request: Request) -> Sequence[str]:
        """Send a block to the supervisor. A workflow gets no CPU, because its own jobs may need it."""
        return [
            *self._queue,
            "submit",
            *directives.array(request.block, request.options),
            f"--output={request.log}",
            f"--comment={directives.comment(request.options, request.comment)}",
            *directives.overrides(request),
            *(f"--{item.kind}={','.join(item.ids)}" for item in request.dependencies),
            *(["--waits"] if request.waits else []),
            request.script,
            *request.arguments,
        ]

    def status_command(self, ids: Sequence[str], *, cluster: str = "") -> Sequence[str]:
        """Query the supervisor."""
        return [*self._queue, "query", *ids]

    def parse_status(self, output: str) -> Iterable[Report] | None:
        """Parse the identity of the supervisor, then lines of id, tasks, state, node, reason and comment."""
        first, *lines = output.split("\n")
        if lines[-1:] != [""] or self.parse_origin(first) is None:
            return None
        found = []
        for line in lines[:-1]:
            id_, tasks, word, node, reason, comment = line.split("\x1f", 5)
            report = Report(id_, numbers(tasks), JobState.parse(word), word, node, reason, comment=comment)
            words = _REASONS.get(reason, "")
            found.append(report._replace(dependency_failed=reason == wire.NEVER_SATISFIED, explanation=words))
        return found

    def is_transient(self, message: str) -> bool:
        """Recognize a supervisor that did not answer; it may have accepted the request.

        The command exits with 75. A supervisor that resumes rejects a submission whose client has disconnected.
        """
        return message.lstrip().startswith(wire.NO_ANSWER)

    def refused_options(self, message: str, options: Options) -> Sequence[str]:
        """Read the names in the message."""
        from slurm.schedulers import causes  # noqa: PLC0415 - only for an error message

        return causes.named(message, options)

    def parse_failure(self, message: str) -> Failure:
        """Recognize a refusal: the command exits with 1, and nothing is queued."""
        return Failure.REFUSED if message.lstrip().startswith(wire.REFUSED) else Failure.UNKNOWN

    def find_command(self, clusters: str) -> Sequence[str]:
        """List all jobs of the supervisor."""
        return [*self._queue, "list"]

    def parse_find(self, output: str) -> Iterable[tuple[str, str]]:
        """Parse lines of ids and comments."""
        lines = (line.partition("|") for line in output.splitlines())
        return [(id_, comment) for id_, _, comment in lines]

    def cancel_command(self, ids: Sequence[str], *, cluster: str = "") -> Sequence[str]:
        """Send a request to the supervisor."""
        return [*self._queue, "cancel", *ids]

    def cancel_script(self, targets: Sequence[Target], *, cluster: str = "") -> str:
        """Let `cancel` compare the keys."""
        return shlex.join(self.cancel_command(_names(targets), cluster=cluster))

    def hold_command(self, ids: Sequence[str], *, release: bool = False, cluster: str = "") -> Sequence[str]:
        """Send a request to the supervisor."""
        return [*self._queue, "release" if release else "hold", *ids]

    def hold_script(self, targets: Sequence[Target], *, release: bool = False, cluster: str = "") -> str:
        """Let `hold` compare the keys."""
        return shlex.join(self.hold_command(_names(targets), release=release, cluster=cluster))

    def inside_command(self, id_: str, argv: Sequence[str], *, terminal: bool, cluster: str = "") -> Sequence[str]:
        """Run `argv` with the variables and in the directory of the job's script."""
        del terminal, cluster
        return [*self._queue[:-1], "slurm.schedulers.local_queue.inside", id_, *argv]

    def limits_command(self) -> Sequence[str]:
        """Print the identity of this local scheduler (`local_queue.identity`). Does not need Python."""
        return ["sh", "-c", program(identity.__name__, "identity.sh"), "sh", wire.FORM]

    def parse_origin(self, output: str) -> Origin | None:
        """Parse the name of the supervisor's directory and the boot id of the machine."""
        found = _IDENTITY.fullmatch(output.partition("\n")[0].strip())
        return Origin(cluster=found["name"], host=found["host"], boot=found["boot"]) if found else None

    def parse_max_array_size(self, output: str) -> int:
        """Return the supervisor's limit for one submission."""
        return wire.MOST_TASKS

    def survey_script(self) -> str:
        """Print the number of processors."""
        return "getconf _NPROCESSORS_ONLN"

    def parse_survey(self, output: str) -> Survey:
        """Parse the number of processors."""
        from slurm.schedulers.survey import Survey  # noqa: PLC0415 - only for the doctor

        count = output.strip()
        if not count.isdecimal():
            return Survey(version="", trouble=output.strip())
        return Survey(version=f"this package's own, on {count} CPUs", shared=False)


def _names(targets: Sequence[Target]) -> list[str]:
    """Return the arguments of commands that change jobs: "id_tasks=key"."""
    return [f"{id_}_{'' if tasks is None else ranges(tasks)}={key}" for id_, tasks, key in targets]
