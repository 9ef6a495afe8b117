"""command: make a task of an external program, from a template or from a function that returns the words.

A node imports this module with the user's modules, so this module imports little itself.
"""

from __future__ import annotations

from slurm.protocol.records import TYPE_CHECKING
from slurm.runner.command import Command
from slurm.runner.template import OVERRIDES, SCRIPTS, Template, check_value, fields_of
from slurm.tasks.decorators import refuse_what_is_no_function
from slurm.tasks.settings import Settings, is_keyword
from slurm.tasks.task import Task, by_value
from slurm.tracebacks import ends_at_the_caller

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path
    from typing import Any, ParamSpec, Protocol, overload

    from typing_extensions import Unpack

    from slurm.options.types import OtherKeywords
    from slurm.runner.finished import Diagnosis, Finished
    from slurm.serialization.pickling import Arguments
    from slurm.storage.uploads import Uploads
    from slurm.tasks.decorators import TakesJobContext

    P = ParamSpec("P")
    Words = str | Sequence[str | float | os.PathLike[str]]

    class CommandDecorator(Protocol):
        """`@command(…)`."""

        @overload
        def __call__(self, function: TakesJobContext[P, Words], /) -> Task[P, Finished]: ...
        @overload
        def __call__(self, function: Callable[P, Words], /) -> Task[P, Finished]: ...


_INTERPRETERS = ("python", "bash", "sh", "Rscript", "julia", "perl", "ruby", "node", "octave", "env", "srun", "mpiexec")


_PARAMETERS = ("shell", "files", "products", "check", "diagnose", "stdin")
_CODE = ("-", "-c", "-m", "-e", "-E")
"""Options of interpreters after which no script follows."""


class CommandTask(Task[..., "Finished"]):
    """A task that runs a program. Made by `command`; its result is Finished."""

    unwrapped: Command

    def __init__(self, function: Command, terms: Settings = Settings(), **more: Any) -> None:  # noqa: B008 - frozen
        env = {name: text for name, text in function.env.items() if name not in terms.options.env}
        env = {} if terms.options.unsets("env") else env
        super().__init__(function if env == function.env else function.replace(env=env), terms, **more)

    def _bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Arguments:
        args, kwargs = super()._bound(args, kwargs)
        if self.unwrapped.function is None:
            names = [name for name in self.unwrapped.fields if name != OVERRIDES]
            for name, value in (*zip(names, args), *kwargs.items()):  # noqa: B905 - the others have names
                if name in names:
                    _check_value(self.name, name, value)
        return args, kwargs

    def _points(self, calls: Iterable[Any]) -> Iterable[Any]:
        return calls  # a program takes dotted names

    def to_send(self, uploads: Uploads) -> Command:
        """The program as it is sent. Adds the files that it needs to the uploads. Raises SubmissionError."""
        command = self.unwrapped.replace(mpi=self.terms.options.get("launch") == "mpi")
        _check_script(self.name, command)
        needs = {**command.needs, **{path: path for path in _files_of_template(command)}}
        if not needs:
            return command
        return command.replace(needs={}, files=(*command.files, *uploads.add(needs, task=self.name)))

    def __reduce__(self) -> tuple[Any, ...]:
        return by_value(self)


def with_files(uploads: Uploads, task: CommandTask) -> tuple[Any, ...]:
    """How a command is pickled among arguments: its files are added to the uploads."""
    return CommandTask, (task.to_send(uploads), task.terms.on_a_node())


def _files_of_template(command: Command) -> Sequence[str]:
    """The words of a template that are relative paths of local files, except products and files sent before."""
    first, *others = command.template.fixed or ("",)
    if command.template.words and command.template.words[0] != first:
        first, others = "", [first, *others]
    words = [*([first] if "/" in first else []), *others]
    return [word for word in map(_relative, words) if word and _is_needed(word, command)]


def _check_script(task: str, command: Command) -> None:
    """Raise SubmissionError if the script of a template is not a file here: the program's directory has what is sent.

    The script is the first word, if it is a relative path, or the word after an interpreter.
    """
    import os.path  # noqa: PLC0415 - nodes import this module

    path = "" if command.prepare or command.resumes else _relative(_script(command.template))
    given = {*command.needs, *(file.name for file in command.files)}
    if not path or os.path.exists(path) or any(f"{path}/".startswith(f"{name}/") for name in given):
        return
    from difflib import get_close_matches  # noqa: PLC0415 - only for an error

    from slurm.errors import SubmissionError  # noqa: PLC0415 - imports concurrent.futures

    home, name = os.path.split(path)
    near = get_close_matches(name, os.listdir(home or ".") if os.path.isdir(home or ".") else (), n=1)
    advice = f"did you mean {os.path.join(home, near[0])!r}?" if near else "write its absolute path if the node has it"
    raise SubmissionError(f"{task} needs the script {path!r}, which is not in {os.getcwd()}: {advice}")


def _script(template: Template) -> str:
    """The word of a template that names a script; "" if there is none, or if it has a field."""
    if template.shell or not template.words:
        return ""
    first, *others = template.words
    fixed = set(template.fixed)
    program = first.rpartition("/")[2].rstrip("0123456789.")
    if program in _INTERPRETERS[:-3]:
        found = next((word for word in others if not word.startswith("-") or word in _CODE), "")
        return found if found in fixed and found.endswith(SCRIPTS) else ""
    return first if "/" in first and first in fixed else ""


def _relative(word: str) -> str:
    """Return a path below the working directory in its shortest form; "" for any other word."""
    import os.path  # noqa: PLC0415 - nodes import this module

    path = os.path.normpath(word) if word and "\0" not in word else ""
    return "" if path.startswith(("/", "..")) or path == "." else path


def _is_needed(path: str, command: Command) -> bool:
    import os.path  # noqa: PLC0415 - as above
    from fnmatch import fnmatchcase  # noqa: PLC0415

    is_product = any(fnmatchcase(path, pattern) for pattern in command.products)
    given = {*command.needs, *(file.name for file in command.files)}
    return not is_product and path not in given and os.path.isfile(path)


def _check_value(task: str, name: str, value: Any) -> None:
    try:
        check_value(name, value)
    except ValueError as error:
        raise TypeError(f"{task}(…): {error}") from None


if TYPE_CHECKING:

    @overload
    def command(
        template: str,
        /,
        *,
        shell: bool = ...,
        files: str | Sequence[str] | dict[str, str | os.PathLike[str]] = ...,
        products: str | Sequence[str] = ...,
        check: str | Callable[[Path], object] | None = ...,
        diagnose: Callable[[str, int], Diagnosis | None] | None = ...,
        stdin: str | bytes | None = ...,
        **options: Unpack[OtherKeywords],
    ) -> Task[..., Finished]: ...
    @overload
    def command(function: TakesJobContext[P, Words], /) -> Task[P, Finished]: ...
    @overload
    def command(function: Callable[P, Words], /) -> Task[P, Finished]: ...
    @overload
    def command(
        *,
        files: str | Sequence[str] | dict[str, str | os.PathLike[str]] = ...,
        products: str | Sequence[str] = ...,
        check: str | Callable[[Path], object] | None = ...,
        diagnose: Callable[[str, int], Diagnosis | None] | None = ...,
        stdin: str | bytes | None = ...,
        **options: Unpack[OtherKeywords],
    ) -> CommandDecorator: ...


@ends_at_the_caller
def command(
    program: Any = None,
    /,
    *,
    shell: bool = False,
    files: Any = (),
    products: Any = (),
    check: str | Callable[[Path], object] | None = None,
    diagnose: Callable[[str, int], Diagnosis | None] | None = None,
    stdin: str | bytes | None = None,
    **options: Any,
) -> Any:
    """Make a task of an external program: `command("train lr={lr}", files=["conf/"], products=["model.pt"])`.

    The template is split into words as a shell does it, and then its fields are replaced by values: each value stays
    one word. Each field is a parameter of the task. As a decorator, `@command(…)`, it takes a function that runs on the
    node and returns the words.

    The program runs in a new directory that contains only `files`: files and directories of this machine, by paths
    relative to the working directory, or patterns, read-only; a dict maps names there to other paths. They are sent
    with a call, each only once. If a word of a template is such a path of a file, this file is sent, too. The program
    succeeds if its exit status is 0, it has written its `products` (patterns of files, relative to that directory), and
    `check` accepts each product: a command with the field {product}, or a function. Otherwise the job ends as
    CommandFailed; `diagnose(log, exit_status)` may return a Diagnosis, the name of the failure and what to do. With
    `shell`, the template is a program for bash, which stops at the first command that fails. `stdin` is the program's
    standard input. `options` are the options of `@task`. `stdin`, and the values of the option `env` of a template, may
    have fields.

    Raises OptionError as `@task` does, ValueError for an invalid template, and TypeError.
    """
    terms = _settings(options)
    fields: dict[str, Any] = {
        "needs": _paths(files), "products": _patterns(products), "check": _check(check), "stdin": _checked_input(stdin),
        "diagnose": diagnose,
    }  # fmt: skip
    for path in fields["needs"]:
        if path in fields["products"]:
            raise ValueError(f"{path!r} is in files and in products: a program cannot write a file that it is given")

    @ends_at_the_caller
    def make(program: Any) -> CommandTask:
        if isinstance(program, str):
            return _of_template(program, fields, terms, shell=shell)
        if shell:
            raise TypeError('shell=True is for templates: return ["bash", "-c", program] from the function')
        made = CommandTask(_of_function(program, fields), terms)
        made.__doc__ = program.__doc__
        return made

    return make if program is None else make(program)


def _settings(options: Mapping[str, Any]) -> Settings:
    if options.get("launch", "once") not in ("once", "mpi"):
        from slurm.errors import OptionError  # noqa: PLC0415 - imports concurrent.futures

        raise OptionError(
            "a command runs once, also in an allocation of several tasks: leave out launch, or write 'mpi'"
        )
    _refuse_misspelt(options)
    return Settings.parse({"launch": "once", **options})


def _refuse_misspelt(options: Mapping[str, Any]) -> None:
    """Raise OptionError for a misspelt parameter of `command`, which is not taken for an option of sbatch."""
    for name in options:
        if not is_keyword(name):
            from difflib import get_close_matches  # noqa: PLC0415 - only for an error

            for near in get_close_matches(name, _PARAMETERS, n=1, cutoff=0.74):
                from slurm.errors import OptionError  # noqa: PLC0415 - imports concurrent.futures

                raise OptionError(f"command has no parameter {name}: did you mean {near}?")


def _of_template(text: str, fields: Mapping[str, Any], terms: Settings, *, shell: bool) -> CommandTask:
    """Make a task from a template. Variables with fields in their values are set on the node, others are options."""
    try:
        template = Template.parse(text, shell=shell, instead="write shell=True")
        env = {name: value for name, value in terms.options.env.items() if value is not None and fields_of(value)}
        found = Command(name=_name(text, template), template=template, env=env, **fields)
        _ = found.fields  # raises for the fields of `stdin`
        plain = {
            name: value if value is None else value.format_map({})
            for name, value in terms.options.env.items()
            if name not in env
        }
    except ValueError as error:
        raise ValueError(f"command({text!r:.200}): {error}") from None
    return CommandTask(found, terms.replace(options=terms.options.with_env(plain)))


def _of_function(function: Any, fields: Mapping[str, Any]) -> Command:
    refuse_what_is_no_function(function, "command")
    return Command(name=getattr(function, "__name__", type(function).__name__), function=function, **fields)


def _paths(files: Any) -> dict[str, str]:
    """Return the paths of files, by the shortest form of their names on the node. Raises ValueError."""
    import os  # noqa: PLC0415 - as above

    one = isinstance(files, (str, os.PathLike))
    named = files if isinstance(files, dict) else {name: name for name in ((files,) if one else files)}
    for name in named:
        if not isinstance(name, (str, os.PathLike)) or not _relative(os.fspath(name)):
            raise ValueError(
                f"files: {name!r} is not a path below the working directory. Write one such as 'train.py' or 'conf/'; "
                "name another file of this machine by a mapping, {'mesh.h5': '/data/mesh.h5'}; pass a file that the "
                "cluster has as an argument, by its absolute path"
            )
    return {_relative(os.fspath(name)): os.path.normpath(os.fspath(path)) for name, path in named.items()}


def _check(check: Any) -> Any:
    """Return a check as a template or a function. Raises ValueError, TypeError."""
    if not isinstance(check, str):
        if check is not None and not callable(check):
            raise TypeError(f"check={check!r:.80}: expected a command such as 'h5check {{product}}', or a function")
        return check
    try:
        template = Template.parse(check)
        unknown = [name for name in template.fields if name != "product"]
    except ValueError as error:
        raise ValueError(f"check={check!r:.200}: {error}") from None
    if unknown:
        raise ValueError(f"check={check!r:.200}: its only field is {{product}}, not {{{unknown[0]}}}")
    return template


def _patterns(products: Any) -> tuple[str, ...]:
    """Return the patterns of products. Raises ValueError for a pattern that could match files outside the directory."""
    patterns = (products,) if isinstance(products, str) else tuple(products)
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise TypeError(f"products={products!r}: expected patterns of files, such as 'model.pt' or 'out/*.h5'")
        if pattern.startswith("/") or {"", ".", ".."} & set(pattern.split("/")):
            raise ValueError(
                f"products: {pattern!r} is not a path below the directory that the program runs in. Write one such as "
                "'model.pt' or 'out/*.h5', and have the program write there"
            )
    return patterns


def _checked_input(stdin: str | bytes | None) -> str | bytes | None:
    if stdin is not None and not isinstance(stdin, (str, bytes)):
        raise TypeError(f"stdin={stdin!r:.80}: expected a text or bytes")
    return stdin


def _name(text: str, template: Template) -> str:
    """Return the name of a template's task: its program, or the script that an interpreter runs."""
    words = [word for word in (text.split() if template.shell else template.words) if not set(word) & set("{ \n;")]
    names = [word.rpartition("/")[2].partition(".")[0] for word in words if not word.startswith("-")]
    scripts = [name for name in names if name.rstrip("0123456789") not in _INTERPRETERS]
    return (scripts or names or ["command"])[0] or "command"
