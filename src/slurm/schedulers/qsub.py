"""What schedulers with a qsub share: jobs that run the script with Slurm's variables, and options in qsub's units."""

from __future__ import annotations

import re
import shlex
from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, NamedTuple
from urllib.parse import quote

from slurm.errors import OptionError
from slurm.options import values
from slurm.protocol.shell import program
from slurm.schedulers import directives
from slurm.schedulers.base import Scheduler, ntasks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slurm.options import Options
    from slurm.protocol import Block
    from slurm.schedulers.base import Request
    from slurm.schedulers.survey import Survey


class Wanted(NamedTuple):
    """What a block requests. Zero means no request."""

    tasks: Sequence[int]
    """Sorted; qsub takes ranges only, so the elements between them are queued, too, and end at once."""
    name: str
    tag: str
    """The comment, without characters that end a value of qsub's lists."""
    cpus: int
    """The CPUs of all processes together."""
    megabytes: int
    """The memory of all processes together."""
    seconds: int
    lead: int
    """How many seconds before the limit the script gets the signal `signal`."""
    signal: str
    gpus: int


class QsubScheduler(Scheduler):
    """A scheduler whose qsub reads a job from its input. The job sets Slurm's variables, and runs the script."""

    title: ClassVar[str]
    """Its name in messages."""
    raw: ClassVar[str]
    """How a site's own option is passed, for messages."""
    submit: ClassVar[str]
    """The name of the shell program that submits. Its arguments: the script's path, the job, then qsub's arguments."""
    cannot: ClassVar[Sequence[str]]
    """Options that change what a job needs, but have no counterpart with the same name at all sites."""

    task: ClassVar[str]
    """An element's number in a job, as a word of bash. `$first` is the number of the block's first element."""
    memory: ClassVar[str] = ""
    """A regular expression for the setting that makes the scheduler remember finished jobs."""
    version_command: ClassVar[str]
    """A shell command that prints its version on the first line, after an optional name and an equals sign."""

    @abstractmethod
    def lines(self, request: Request, wanted: Wanted) -> Sequence[str]:
        """Return shell lines of the job that set the other variables of Slurm from the scheduler's own variables."""

    @abstractmethod
    def arguments(self, request: Request, wanted: Wanted) -> Sequence[str]:
        """Return the arguments of the shell program that submits, after the job."""

    def directives(self, options: Options, *, tag: str, log: str, block: Block) -> Sequence[str]:
        """Return no lines: the submit command has all options."""
        del options, tag, log, block
        return ()

    def submit_command(self, request: Request) -> Sequence[str]:
        """Run qsub with a job that runs the script from its path. Raises OptionError for an unsupported option."""
        found = self._wanted(request)
        return ["sh", "-c", program(__name__, self.submit), "sh", request.script, self._job(request, found),
                *self.arguments(request, found)]  # fmt: skip

    def _wanted(self, request: Request) -> Wanted:
        options, block = request.options, request.block
        gpus = options.get("gpus") or options.get("gpus_per_node")
        typed = () if str(gpus or 0).isdecimal() else ("gpus", "gpus_per_node")
        for name in (*self.cannot, *typed):
            if options.get(name) is not None:
                raise OptionError(
                    f"{name}={options.get(name)!r}: {self.title} has no option of this meaning that every site has. "
                    f"Remove it, or write what this site uses, such as {self.raw}"
                )
        if str(options.get("nodes") or 1) not in {"1", "1-1"}:
            given = options.get("nodes")
            raise OptionError(f"nodes={given!r}: a job of {self.title} has one node here. Remove the option")
        cpus = ntasks(options.get) * int(str(options.get("cpus_per_task") or 1))
        mem, each = (values.megabytes(str(options.get(name) or 0)) for name in ("mem", "mem_per_cpu"))
        given = options.get("signal")
        signal, lead = values.signal_and_lead(str(given)) if given else ("", 0)
        return Wanted(
            tasks=sorted(block.tasks or range(block.count)),
            name=re.sub(r"^(?=\d)|[^A-Za-z0-9_.-]+", "_", str(options.get("job_name") or "job")),
            tag=quote(directives.comment(options, request.comment), safe=" /+~:=@|-"),
            cpus=cpus,
            megabytes=round(mem or each * cpus),
            seconds=values.seconds(str(options.get("time") or 0)) or 0,
            lead=lead,
            signal=signal,
            gpus=int(str(gpus or 0)),
        )

    def _job(self, request: Request, wanted: Wanted) -> str:
        """Return the job's own script: it sets the variables of Slurm, then runs the script of the submission."""
        options, block = request.options, request.block
        log = shlex.quote(request.log.replace("%%", "%"))
        log = log.replace("%a", "'$SLURM_ARRAY_TASK_ID'" if log.startswith("'") else "$SLURM_ARRAY_TASK_ID")
        these = "$SLURM_ARRAY_TASK_ID" if block.tasks is None else " ".join(map(str, block.tasks))
        return "\n".join([
            "#!/bin/bash",
            f"first={wanted.tasks[0]}",
            f"export SLURM_ARRAY_TASK_ID={self.task}",
            f'case " {these} " in *" $SLURM_ARRAY_TASK_ID "*) ;; *) exit 0 ;; esac',
            f"exec >> {log} 2>&1",
            *self.lines(request, wanted),
            f"export SLURM_NTASKS={ntasks(options.get)} SLURM_CPUS_PER_TASK={options.get('cpus_per_task') or 1}",
            f"export SLURM_JOB_NAME={shlex.quote(str(options.get('job_name') or ''))}",
            shlex.join(["exec", "/bin/bash", request.script, *request.arguments]),
        ])  # fmt: skip

    def cancel_command(self, ids: Sequence[str], *, cluster: str = "") -> Sequence[str]:
        """Run qdel."""
        return ["qdel", *ids]

    def survey_script(self) -> str:
        """Print the missing programs, then the version and the settings."""
        version = f"{self.version_command} | head -n 1 | sed 's/^[^=:]*[=:] *//; s/^/version: /'"
        return "\n".join([super().survey_script(), version, shlex.join(self.limits_command())])

    def parse_survey(self, output: str) -> Survey:
        """Parse the version, such as "SGE 8.1.9"."""
        head, found, rest = output.partition("version: ")
        survey = super().parse_survey(head)
        if survey.trouble or not found or self.is_transient(rest):
            return survey._replace(version="", trouble=survey.trouble or rest.strip() or output.strip())
        version = rest.partition("\n")[0].strip()
        return survey._replace(version=version, accounting=re.search(self.memory, rest) is not None)


def words(flags: Mapping[str, object], options: Options) -> list[str]:
    """Return flags with values as arguments, then the user's own, which replace them. A flag with None is left out."""
    own = {f"-{name.lstrip('-')}": value for name, value in options.sbatch.items() if value is not False}
    given = {name: value for name, value in {**flags, **own}.items() if value is not None}
    # The parallel environment of Grid Engine has two values.
    split = {name: str(value).split() if name == "-pe" else [str(value)] for name, value in given.items()}
    return [word for name, value in split.items() for word in ([name] if given[name] is True else [name, *value])]
