"""SlurmRestScheduler: Slurm through slurmrestd, where its commands are not installed or not allowed."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from typing import TYPE_CHECKING

from slurm.errors import OptionError
from slurm.protocol import Origin
from slurm.protocol.boot import BOOT
from slurm.schedulers import directives
from slurm.schedulers.base import Failure, Scheduler, ranges
from slurm.schedulers.rest import commands, connection, job_fields
from slurm.schedulers.slurm import SlurmScheduler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.options import Options
    from slurm.protocol import Block
    from slurm.schedulers.base import Request, Site, Target
    from slurm.schedulers.survey import Survey

_CLUSTER = re.compile(r"^CLUSTER: ([\w.-]+)$", re.MULTILINE)
_MAX_ARRAY_SIZE = "SLURMTASKS_SLURMRESTD_MAX_ARRAY_SIZE"


class SlurmRestScheduler(SlurmScheduler):
    """Runs a program that sends requests to slurmrestd, and parses its output like the output of Slurm's commands."""

    name = "slurmrest"
    needs = ()
    id_form = "[0-9]+"
    cluster_suffix = ""
    away = (connection.UNREACHABLE,)
    rejections = (connection.REJECTED,)

    # The API has no requests for these; from v0.0.40 on, it changes only whole arrays. A slurmrestd serves one cluster.
    hold_command, hold_script = Scheduler.hold_command, Scheduler.hold_script
    requeue_command, inside_command = Scheduler.requeue_command, Scheduler.inside_command
    submit_limits_command, queued_command = Scheduler.submit_limits_command, Scheduler.queued_command
    offers_command, line_command = Scheduler.offers_command, Scheduler.line_command
    parse_clusters = Scheduler.parse_clusters

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._program = (site.python, "-c", BOOT, site.runner, commands.__name__)

    def directives(self, options: Options, *, tag: str, log: str, block: Block) -> Sequence[str]:
        """Return no lines: slurmrestd does not read #SBATCH lines, so the request has all options."""
        del options, tag, log, block
        return ()

    def submit_command(self, request: Request) -> Sequence[str]:
        """Pass the options as JSON. Raises OptionError for an option that has no field in the API."""
        words = [
            *directives.arguments(request.options, tag=request.comment),
            *directives.array(request.block, request.options),
        ]
        given = {"output": request.log, "open-mode": "append"}
        for name, equals, value in (word.removeprefix("--").partition("=") for word in words):
            if name not in job_fields.EXPRESSIBLE:
                raise OptionError(f"--{name}{equals}{value}: slurmrestd has no field for this option. Remove it")
            given[name] = value
        terms = [":".join((kind, *ids)) for kind, ids, _ in request.dependencies]
        text = {"script": request.script, "arguments": request.arguments, "options": given}
        return [*self._program, "submit", json.dumps(text), ",".join(terms)]

    def parse_failure(self, message: str) -> Failure:
        """Classify a message of the program; messages of slurmctld are the same as those of sbatch."""
        if any(text in message for text in self.away):
            return Failure.LATER
        return Failure.REFUSED if any(text in message for text in self.rejections) else super().parse_failure(message)

    def is_transient(self, message: str) -> bool:
        """Recognize that slurmrestd or slurmctld does not answer."""
        away = (connection.UNREACHABLE, connection.UNANSWERED, commands.VAGUE)
        return any(text in message for text in away) or super().is_transient(message)

    def status_command(self, ids: Sequence[str], *, cluster: str = "") -> Sequence[str]:
        """Send GET job/ID for each id, or GET jobs without ids."""
        return [*self._program, "query", *ids]

    def parse_origin(self, output: str) -> Origin | None:
        """Read the name of the cluster in the output."""
        name = _CLUSTER.search(output)
        return Origin(cluster=name[1]) if name else None

    def find_command(self, clusters: str) -> Sequence[str]:
        """Send GET jobs."""
        return [*self._program, "find"]

    def accounting_command(self, ids: Sequence[str], *, cluster: str = "") -> Sequence[str]:
        """Send GET job/ID of slurmdb for each id."""
        return [*self._program, "history", *ids]

    def accounting_missing(self, message: str) -> bool:
        """Recognize the program's message that there is no accounting."""
        return commands.NO_ACCOUNTING in message

    def cancel_command(self, ids: Sequence[str], *, cluster: str = "") -> Sequence[str]:
        """Send DELETE job/ID."""
        return [*self._program, "cancel", *ids]

    def cancel_script(self, targets: Sequence[Target], *, cluster: str = "") -> str:
        """Cancel only jobs of these submissions: the program compares the keys."""
        names = [f"{id_}{'' if tasks is None else f'_{ranges(tasks)}'}={key}" for id_, tasks, key in targets]
        return shlex.join(self.cancel_command(names))

    def limits_command(self) -> Sequence[str]:
        """Print a variable as MaxArraySize, because the API does not report MaxArraySize."""
        return ["sh", "-c", f'echo "MaxArraySize=${{{_MAX_ARRAY_SIZE}:-}}"']

    def survey_script(self) -> str:
        """Run the module `connection`, which needs no other module of this package."""
        return shlex.join([self.site.python, "-c", _source()])

    def parse_survey(self, output: str) -> Survey:
        """Parse lines "name=value"."""
        from slurm.schedulers.survey import Survey  # noqa: PLC0415 - only for the doctor

        facts = dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
        if facts.get("slurmctld") != "up":
            return Survey(version="", trouble=facts.get("slurmctld") or output.strip() or "no answer")
        via = f"slurmrestd {facts['version']} at {facts['address']}, which offers {facts['versions']}"
        return Survey(version=f"{facts['release']} by {via}", accounting=facts.get("accounting") == "yes")


def _source() -> str:
    """The text of the module `connection`, as a program."""
    loader = sys.modules[connection.__name__].__loader__
    data: bytes = loader.get_data(os.path.abspath(connection.__file__))  # type: ignore[union-attr]
    return data.decode()
