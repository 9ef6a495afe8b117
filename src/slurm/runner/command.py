"""Command: a call that runs a program. Its result is a `Finished`.

A command is the function of a task: a template, or a function that returns the words of the command.
"""

from __future__ import annotations

import os
import sys
from _pickle import loads

from slurm.protocol import WORK
from slurm.protocol.outcomes import Output, exit_name
from slurm.protocol.records import TYPE_CHECKING, Record
from slurm.runner import launcher_variables
from slurm.runner.attempt_directory import STDERR, STDOUT, AttemptDirectory, keep_only
from slurm.runner.finished import Finished
from slurm.runner.job_context import Stopped, current_job, print_to_log
from slurm.runner.linked_files import link_files
from slurm.runner.program import OUT_OF_MEMORY, run_program
from slurm.runner.result_saver import STOPPED_STATUS
from slurm.runner.template import OVERRIDES, Template, fields_of, refuse_operators

_DIAGNOSED = 1 << 16
"""`diagnose` gets at most this many bytes from the end of each log."""

if TYPE_CHECKING:
    import inspect
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path
    from types import ModuleType
    from typing import Any

    from slurm.errors import CommandFailed
    from slurm.protocol.outcomes import Outcome
    from slurm.runner.finished import Diagnosis
    from slurm.runner.job_context import JobContext
    from slurm.runner.linked_files import LinkedFile
    from slurm.runner.program import Ended


class Command(Record):
    """A program with its arguments, as a function: calling it runs the program in a new directory.

    A command works only in a job, where the directory is known.
    """

    name: str
    template: Template = Template(words=())
    function: Callable[..., Any] | None = None
    """Returns the words of the command, or a text that is split into words, instead of a template."""
    products: tuple[str, ...] = ()
    env: Mapping[str, str | None] = {}
    stdin: str | bytes | None = None
    check: Template | Callable[[Path], object] | None = None
    """Checks the content of a product: words of a command, or a function."""
    diagnose: Callable[[str, int], Diagnosis | None] | None = None
    """Diagnoses a failure from the last lines of the log and the exit status."""
    needs: Mapping[str, str] = {}
    """Files and directories of the client that the program needs: paths by their names there. Empty when sent."""
    files: tuple[LinkedFile, ...] = ()
    """The files that were sent."""
    mpi: bool = False
    """Whether the launcher of the submission starts the program in each task."""
    prepare: Callable[..., None] | None = None
    """Writes files into the directory before the program starts. It gets the path, and the arguments of the call."""
    resumes: str = ""
    """The directory of an attempt of an earlier job. The first attempt begins with the files there."""
    copies: bool = False
    """Whether these files are copied: the earlier attempt may still run."""

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.__dict__["__name__"] = self.name
        if self.function is not None:
            self.__dict__["__wrapped__"] = self.function

    def replace(self, **changes: Any) -> Command:
        """Return a copy with some fields changed."""
        return type(self)(**{**dict(self._items()), **changes})

    @property
    def __signature__(self) -> inspect.Signature:
        """The signature: a parameter for each field of the template, or the parameters of the function."""
        from inspect import Parameter, Signature, signature  # noqa: PLC0415 - only the client needs it

        if self.function is not None:
            return signature(self.function)
        names = [name for name in self.fields if name != OVERRIDES]
        parameters = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in names]
        if OVERRIDES in self.fields:
            parameters.append(Parameter(OVERRIDES, Parameter.VAR_KEYWORD))
        return Signature(parameters)

    @property
    def fields(self) -> Sequence[str]:
        """The names of the arguments of a template."""
        if self.function is not None:
            return ()
        texts = [text for text in (*self.env.values(), self.stdin) if isinstance(text, str)]
        return tuple(dict.fromkeys((*self.template.fields, *(name for text in texts for name in fields_of(text)))))

    def __call__(self, *args: Any, **kwargs: Any) -> Finished:
        """Run the program. Raises CommandFailed, and Stopped if the program is to continue in another attempt."""
        job = current_job()
        directory = AttemptDirectory(job)
        if self.resumes:
            from slurm.runner.resumed import take_over  # noqa: PLC0415 - few commands are resumed

            take_over(self.resumes, directory.path, self.files, attempt=job.attempt, copied=self.copies)
        link_files(job.root, self.files, directory.path)
        if self.prepare is not None:
            self.prepare(directory.path, *args, **kwargs)
        values = self._values(args, kwargs)
        argv, variables = self._words(args, kwargs, values)
        writes = f"{WORK}/{job.index}/{directory.name}: the program writes to"
        if os.environ.get(launcher_variables.SEPARATE):
            print(f"{writes} {STDOUT}", flush=True)
            print_to_log(f"{writes} {STDERR}\n")
        else:
            print_to_log(f"{writes} {STDOUT} and {STDERR}\n")
        environ = self._environ(values, variables)
        launcher = (job.submission().launch or ()) if self.mpi else ()
        if launcher:
            from slurm.runner import mpi  # noqa: PLC0415 - few commands use MPI

            environ = mpi.without_world(environ)
        started = [*_prefix(), *argv]
        started = mpi.launched(launcher, started, directory.path) if launcher else started
        ended = _run(started, environ, directory, self._input(values))
        given = [file.name for file in self.files]
        paths, missing = directory.find(self.products, given) if ended.status == 0 else ([], [])
        rejected = "" if ended.status or missing else self._check(paths, directory, environ)
        directory.remove_empty_logs(paths)
        if job.attempt > 1 and (ended.status or missing or rejected):
            directory.remove_failed()
        if ended.stopped and ended.status == STOPPED_STATUS:
            raise Stopped(_failures().name_of(ended.stopped))
        if ended.status or missing or rejected:
            if launcher and (problem := mpi.problem(launcher, environ, directory.path, ended.status)):
                ended = ended.replace(problem=problem)
            wrong = (*missing, rejected)
            error = _failures().failure(self.name, argv, ended, wrong, directory=directory, job=job, given=given)
            raise self._diagnosed(error, directory)
        products = tuple(map(directory.product, paths))
        return Finished(
            exit_code=0,
            home=directory.path,
            files=products,
            seconds=ended.seconds,
            peak_memory=ended.peak_memory,
        )

    def _diagnosed(self, error: CommandFailed, directory: AttemptDirectory) -> CommandFailed:
        """Add the diagnosis of `diagnose` to the error of a failure."""
        if self.diagnose is None:
            return error
        log = "\n".join(directory.tail(name, _DIAGNOSED, _DIAGNOSED) for name in (STDOUT, STDERR))
        try:
            found = self.diagnose(log, error.exit_code or 0)
            said = f"{found.name}: {found.advice}" if found else ""
            error.diagnosis = found.name if found else None
        except Exception as wrong:  # noqa: BLE001 - the user's function may raise anything, and the failure counts
            said = f"diagnose raised {type(wrong).__name__}: {wrong}"
        error.args = (f"{said.removesuffix(': ')}. {error.args[0]}" if said else error.args[0], *error.args[1:])
        return error

    def _check(self, paths: Sequence[str], directory: AttemptDirectory, environ: Mapping[str, str]) -> str:
        """Check the content of the products. Returns what is wrong with the first bad one, "" if all are good.

        Raises the exceptions of a function that checks them.
        """
        if self.check is None:
            return ""
        if not isinstance(self.check, Template):
            from pathlib import Path  # noqa: PLC0415 - few commands have a check

            for path in paths:
                if self.check(Path(directory.path, path)) is False:
                    return f"the check of {path} returned False"
            return ""
        for path in paths if self.check.fields else paths[:1]:
            argv, _ = self.check.render({"product": path})
            ended = _run([*_prefix(), *argv], environ, directory, None)
            if ended.status:
                about = ended.problem or f"ended with status {ended.status}"
                return f"the check of {path}, `{_failures().shown(argv)}`, {about}"
        return ""

    def _values(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the value of each field of a template."""
        if self.function is not None:
            return {}
        fields = self.fields
        values = {**dict(zip((name for name in fields if name != OVERRIDES), args)), **kwargs}  # noqa: B905
        if OVERRIDES in fields:
            values[OVERRIDES] = {name: values.pop(name) for name in list(values) if name not in fields}
        return values

    def _words(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], values: Mapping[str, Any]
    ) -> tuple[list[str], dict[str, str]]:
        """Return the words of the command, and variables for its environment."""
        if self.function is not None:
            return _checked_words(self.name, self.function(*args, **kwargs)), {}
        return self.template.render(values)

    def _environ(self, values: Mapping[str, Any], variables: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of the program: the job's, with the directory of the job's Python first on PATH."""
        own = {name: self._text(text, values) for name, text in self.env.items()}
        if _prefix():
            return launcher_variables.environment({**variables, **own})
        environ = {**os.environ, **variables}
        here = os.path.dirname(sys.executable)
        path = environ.get("PATH", os.defpath).split(os.pathsep)
        is_given = "PATH" in launcher_variables.named()
        if here and not is_given and (sys.prefix != sys.base_prefix or here not in path):
            environ["PATH"] = os.pathsep.join([here, *path])
        for name, text in own.items():
            environ.pop(name, None) if text is None else environ.update({name: text})
        return environ

    def _text(self, text: str | None, values: Mapping[str, Any]) -> str | None:
        return text.format_map(values) if text is not None and self.function is None else text

    def _input(self, values: Mapping[str, Any]) -> bytes | None:
        if isinstance(self.stdin, str):
            return (self.stdin.format_map(values) if self.function is None else self.stdin).encode()
        return self.stdin


def _failures() -> ModuleType:
    from slurm.runner import command_failure  # noqa: PLC0415 - only for failures and stops

    return command_failure


def _prefix() -> tuple[str, ...]:
    """Return the words that start the container of a program; () if the program has no container of its own."""
    launcher = os.environ.get(launcher_variables.LAUNCHER)
    return ("bash", launcher) if launcher else ()


def _checked_words(name: str, words: Any) -> list[str]:
    """Check the words that a function has returned, and return them as texts. Raises TypeError."""
    if isinstance(words, str):
        import shlex  # noqa: PLC0415 - as in Template.parse

        text, words = words, shlex.split(words)
        try:
            refuse_operators(text, 'return ["bash", "-c", program, "bash", *arguments]')
        except ValueError as error:
            raise ValueError(f"{name} returned {text!r:.200}: {error}") from None
    if not isinstance(words, (list, tuple)) or not words:
        raise TypeError(f"{name} must return the words of a command, as a list or a text, not {words!r:.80}")
    for word in words:
        if not isinstance(word, (str, int, float)) and not hasattr(word, "__fspath__"):
            raise TypeError(f"{name} returned the word {word!r:.80}: words are texts, numbers and paths")
    return [os.fspath(word) if hasattr(word, "__fspath__") else str(word) for word in words]


def _run(argv: Sequence[str], environ: Mapping[str, str], directory: AttemptDirectory, text: bytes | None) -> Ended:
    """Run a program in its directory. Its output goes to files there, so that it takes no memory."""
    opened = []
    reserve = directory.reserve()
    try:
        for name in (STDOUT, STDERR):
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            opened.append(os.open(f"{directory.path}/{name}", flags, 0o600))
        opened.append(_standard_input(directory.path, text))
        out, err, source = opened
        ended = run_program(argv, directory=directory.path, environ=environ, stdin=source, stdout=out, stderr=err)
        return ended.replace(full=directory.is_full())
    finally:
        for descriptor in (*opened, reserve):
            os.close(descriptor)


def _standard_input(directory: str, text: bytes | None) -> int:
    """Return a descriptor to read a text from. It is a file without a name, because a pipe holds only 64 KiB."""
    if text is None:
        return os.open(os.devnull, os.O_RDONLY)
    hidden = f"{directory}/.stdin"
    descriptor = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.unlink(hidden)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(text)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def failure_of(error: BaseException) -> tuple[int, tuple[str, ...]]:
    """Return the exit status of a program that failed with `error`, and the failure's names in `Retry`.

    For other exceptions, the exit status is 0, and there are no names.
    """
    from slurm.errors import CommandFailed  # noqa: PLC0415 - imports concurrent.futures

    if not isinstance(error, CommandFailed):
        return 0, ()
    status = error.exit_code or 0
    names = (exit_name(status),) if status else ()
    return status, (*names, error.diagnosis) if error.diagnosis else names


def state_of(error: BaseException, job: JobContext) -> str | None:
    """Return the state of a job that the end of its program implies; None for an ordinary failure."""
    from slurm.errors import CommandOutOfMemory  # noqa: PLC0415 - imports concurrent.futures

    own = isinstance(error, CommandOutOfMemory) and (error.key, error.index) == (job.key, job.index)
    return OUT_OF_MEMORY if own else None


def outputs_of(job: JobContext, results: Iterable[object]) -> tuple[Output, ...] | None:
    """Return the files of an element's calls, for its outcome. `results` has each call's result, or its pickle."""
    found = []
    for call, result in enumerate(results):
        value = loads(result) if isinstance(result, bytes) and result else result
        home = f"{job.directory}/{WORK}/{job.index + call}"
        if isinstance(value, Finished) and os.path.dirname(value.home) == home:  # else it belongs to another job
            name = os.path.basename(value.home)
            took, most = value.seconds, value.peak_memory
            found.append(Output(call=call, directory=name, products=value.files, seconds=took, peak_memory=most))
    return tuple(found) or None


def is_recorded(job: JobContext, outputs: Sequence[Output], result: object) -> bool:
    """Whether the record of a call's files contains its whole result, so that the result needs no file."""
    return Finished.from_output(outputs[0], job.directory, job.index) == result


def tidy(job: JobContext, outcome: Outcome) -> None:
    """Remove the directories of attempts whose files are not the output, when the outcome names the output."""
    for output in outcome.outputs or ():
        keep_only(f"{job.directory}/{WORK}/{job.index + output.call}", output, every=lambda: _keeps_all(job))


def _keeps_all(job: JobContext) -> bool:
    return bool(job.submission().options.get("keep"))
