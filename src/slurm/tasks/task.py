"""Task: a function that runs on a cluster when it is called.

A node imports this module with the user's modules, so this module imports little itself.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from types import GenericAlias, MappingProxyType

from slurm.options import NONE, Options
from slurm.protocol.records import TYPE_CHECKING
from slurm.tasks.active import current, no_active_cluster
from slurm.tasks.settings import Settings, is_keyword
from slurm.tracebacks import KnownAttributes, about_the_caller, ends_at_the_caller

if TYPE_CHECKING:
    import inspect
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, Generic, Literal, ParamSpec, overload

    from typing_extensions import TypeVar, Unpack

    from slurm.jobs.job import Job, JobArray
    from slurm.jobs.plan import Plan
    from slurm.options.types import OtherKeywords, TaskKeywords
    from slurm.serialization.pickling import Arguments, Placeholder
    from slurm.storage.uploads import Uploads
    from slurm.tasks.active import Submitter

    P = ParamSpec("P")
    R = TypeVar("R")
    F = TypeVar("F", default=R)  # what the function returns; with `gather`, this is one item of the result
    On = Literal["success", "failure", "any"]

else:
    P = R = F = None

    class Generic:
        """`typing.Generic` without `typing`: `Task[..., int]` may be written, but has no effect."""

        def __class_getitem__(cls, parameters: object) -> object:
            return cls if cls is Generic else GenericAlias(cls, parameters)


_ON = ("success", "failure", "any")


def _upstreams(job: Any) -> Sequence[Placeholder | str]:
    """Return a job, or the id of a job as text. Raises TypeError, and ValueError for the key of a job."""
    if _is_placeholder(job):
        several: Sequence[Placeholder] = job.several
        return several or (job,)
    if isinstance(job, bool) or not isinstance(job, (str, int)):
        raise about_the_caller(TypeError(f"after() takes jobs, arrays, and ids of jobs, not {job!r}"))
    if "/" in str(job):
        raise about_the_caller(ValueError(f"after({job!r}): for the key of a job, write after(cluster.job({job!r}))"))
    return (str(job),)


def _is_placeholder(value: object) -> bool:
    from slurm.serialization.pickling import Placeholder  # noqa: PLC0415 - a node that defines tasks needs none of it

    return isinstance(value, Placeholder)


def _is_iterable(value: object) -> bool:
    """Whether a value has items. A job, which raises an error when it is iterated over, has none."""
    return hasattr(type(value), "__iter__") or (hasattr(type(value), "__getitem__") and not _is_placeholder(value))


_NO_VALUE = {0x20: "a generator", 0x80: "a coroutine", 0x200: "an asynchronous generator"}  # inspect.CO_GENERATOR, …


def _refuse_what_returns_no_value(function: Any, kind: str) -> None:
    """Raise TypeError for a coroutine function or generator, also within a partial, a cache or a callable object."""
    called = function
    while isinstance(called, (functools.partial, functools._lru_cache_wrapper)):  # noqa: SLF001 - it has no other name
        called = called.func if isinstance(called, functools.partial) else called.__wrapped__
    code = getattr(called, "__code__", None) or getattr(type(called).__call__, "__code__", None)
    for flag, what in _NO_VALUE.items():
        if code is not None and code.co_flags & flag:
            message = (
                f"{getattr(called, '__qualname__', type(called).__qualname__)} returns {what}, which stays in its "
                f"process. A {kind} must be a plain function, whose result can be sent: have it return a list, or "
                "await with asyncio.run"
            )
            raise about_the_caller(TypeError(message))


class Task(KnownAttributes, Generic[P, R, F]):
    """A function that runs on the active cluster when it is called; calling it returns a Job at once.

    Made by `@task`. `with_options`, `after` and `on` return changed copies. `unwrapped` is the plain function.
    """

    is_workflow = False

    def __init__(
        self: Task[P, F, F],
        function: Callable[P, F],
        terms: Settings = Settings(),  # noqa: B008 - frozen
        *,
        upstreams: tuple[tuple[Placeholder | str, str], ...] = (),
        submitter: Submitter | None = None,
    ) -> None:
        _refuse_what_returns_no_value(function, "workflow" if self.is_workflow else "task")
        functools.update_wrapper(self, function)
        self.unwrapped: Callable[P, F] = function
        self.terms = terms
        self.upstreams = upstreams
        self._submitter = submitter

    @property
    def options(self) -> Options:
        """The task's own options."""
        return self.terms.options

    @property
    def name(self) -> str:
        """The function's name."""
        function = self.unwrapped.func if isinstance(self.unwrapped, functools.partial) else self.unwrapped
        name: str = getattr(function, "__name__", type(function).__name__)
        return name.strip("<>")

    # Calls.

    if TYPE_CHECKING:

        @overload
        def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Job[R]: ...
        @overload
        def __call__(self, first: Placeholder, /, *args: Any, **kwargs: Any) -> Job[R]: ...
        @overload
        def __call__(self, first: Any, second: Placeholder, /, *args: Any, **kwargs: Any) -> Job[R]: ...

    @ends_at_the_caller
    def __call__(self, /, *args: Any, **kwargs: Any) -> Job[R]:
        """Submit one call. Raises TypeError for a wrong argument, and NoActiveCluster if no cluster is active."""
        return self._submit([self._bound(args, kwargs)], mapped=False)[0]

    @ends_at_the_caller
    def map(
        self,
        *iterables: Iterable[Any],
        max_concurrent: int | None = None,
        chunk_size: int | Literal["auto"] | None = None,
        workers: int | None = None,
        strict: bool = False,
        **constants: Any,
    ) -> JobArray[R]:
        """Submit a call for each item, as one array, if there are items. Several iterables are zipped, as by `map`.

        `constants` are keyword arguments for every call; a large one is sent only once. With `strict`, raises
        ValueError for iterables of different lengths, before anything is submitted.

        `max_concurrent` limits how many elements of the array run at once. For many short calls, one element makes
        `chunk_size` calls, one after the other, or in `workers` processes side by side; without `chunk_size`, it makes
        `workers` calls. With "auto", 20 calls run first, to learn how many take 5 minutes.
        """
        if not iterables:
            message = f"{self.name}.map(…) needs at least one iterable; keyword arguments are the same in every call"
            raise about_the_caller(TypeError(message))
        if strict and "strict" in self.signature.parameters:
            message = (
                f"{self.name}.map(…, strict=True): strict is a parameter of map and of {self.name}. To give it to "
                f"{self.name}, write {self.name}.starmap([{{…, 'strict': True}}, …])"
            )
            raise about_the_caller(TypeError(message))
        for number, iterable in enumerate(iterables):
            self._check_iterable(f"map({'…, ' * number}{{}})", iterable)
        calls: Iterable[tuple[Any, ...]] = list(zip(*iterables, strict=True)) if strict else zip(*iterables)  # noqa: B905
        return self.starmap(calls, max_concurrent=max_concurrent, chunk_size=chunk_size, workers=workers, **constants)

    @ends_at_the_caller
    def starmap(
        self,
        calls: Iterable[tuple[Any, ...] | Mapping[str, Any]],
        /,
        *,
        max_concurrent: int | None = None,
        chunk_size: int | Literal["auto"] | None = None,
        workers: int | None = None,
        **constants: Any,
    ) -> JobArray[R]:
        """Submit a call for each item, as one array: tuples are positional, mappings are keyword arguments.

        `constants` are additional keyword arguments for every call.
        """
        self._check_iterable("starmap({})", calls)
        if constants:
            self._check_constants(constants)
        asked = {"max_concurrent": max_concurrent, "chunk_size": chunk_size, "workers": workers}
        of_map = Options.parse({name: value for name, value in asked.items() if value is not None})
        task = self._copy(terms=self.terms.merged(Settings(options=of_map)))
        bound = functools.partial(self.bound_item, constants=constants) if constants else self.bound_item
        return task._submit(map(bound, self._points(calls)), mapped=True)  # noqa: SLF001 - a copy of this very task

    def _points(self, calls: Iterable[Any]) -> Iterable[Any]:
        return getattr(calls, "nested", calls)  # of a space, with mappings for dotted names

    def grid(self, /, **axes: Iterable[Any]) -> JobArray[R]:
        """Submit a call for each combination of the values, as one array: `starmap` of `slurm.grid(…)`."""
        from slurm.spaces.space import grid  # noqa: PLC0415 - few maps are grids

        return self.starmap(grid(**axes))

    def _check_constants(self, constants: Mapping[str, Any]) -> None:
        """Raise TypeError for an option, which is not an argument of the function."""
        parameters = self.signature.parameters
        if any(parameter.kind.name == "VAR_KEYWORD" for parameter in parameters.values()):
            return
        options = [name for name in constants if name not in parameters and is_keyword(name)]
        if options:
            given = ", ".join(f"{name}={constants[name]!r:.80}" for name in options)
            problem = f"{self.name} has no parameter {options[0]}, which is an option"
            raise about_the_caller(TypeError(f"{problem}: write {self.name}.with_options({given}).map(…)"))

    if TYPE_CHECKING:

        @overload
        def plan(self, /, *args: P.args, **kwargs: P.kwargs) -> Plan[Job[R]]: ...
        @overload
        def plan(self, first: Placeholder, /, *args: Any, **kwargs: Any) -> Plan[Job[R]]: ...

    @ends_at_the_caller
    def plan(self, /, *args: Any, **kwargs: Any) -> Plan[Job[R]]:
        """The submission that a call would make. Makes, writes and queues nothing: see `Cluster.plan`."""
        return self._cluster().plan_calls(self, [self._bound(args, kwargs)], mapped=False)

    # Changed copies.

    if TYPE_CHECKING:

        @overload
        def with_options(self, *, gather: Literal[True], **options: Unpack[OtherKeywords]) -> Task[P, list[F], F]: ...
        @overload
        def with_options(self, **options: Unpack[TaskKeywords]) -> Task[P, R, F]: ...

    @ends_at_the_caller
    def with_options(self, **options: Any) -> Task[P, Any, F]:
        """A copy with other options or another `environment` (None unsets one), and with additional `callbacks`.

        Raises as `@task` does.
        """
        return self._copy(terms=self.terms.merged(Settings.parse(options)))

    @ends_at_the_caller
    def after(self, *jobs: Placeholder | str | int, on: On = "success") -> Task[P, R, F]:
        """A copy whose calls wait for the end of jobs or arrays: `on` "success", "failure" or "any" of these.

        A job that another program has submitted is named by the scheduler's id: "123", or "123_4" for one task of an
        array. Each call asks the scheduler for this job, and raises SubmissionError if it is unknown, or has ended in
        another way. Calls wait for jobs among their arguments in any case.
        """
        if on not in _ON:
            raise about_the_caller(ValueError(f'on={on!r}: one of "success", "failure", "any"'))
        return self._copy(upstreams=(*self.upstreams, *((part, on) for job in jobs for part in _upstreams(job))))

    def on(self, cluster: Submitter) -> Task[P, R, F]:
        """A copy whose calls go to this cluster, regardless of the active one."""
        return self._copy(submitter=cluster)

    def _copy(self, **changes: Any) -> Task[P, R, F]:
        same = {"terms": self.terms, "upstreams": self.upstreams, "submitter": self._submitter}
        kind: Any = type(self)
        copy: Task[P, R, F] = kind(self.unwrapped, **{**same, **changes})
        return copy

    # Methods for the layers above.

    @functools.cached_property
    def signature(self) -> inspect.Signature:
        """The function's signature without the parameter that receives the JobContext."""
        import inspect  # noqa: PLC0415 - a third of the import of this package, and no node needs it

        try:
            full = inspect.signature(self.unwrapped)
        except ValueError:  # some builtins have none; then the node finds out
            full = inspect.signature(lambda *_args, **_kwargs: None)
        given = self.context_parameter and self.context_parameter[0]
        kept = [parameter for name, parameter in full.parameters.items() if name != given]
        return full.replace(parameters=kept)

    @property
    def places(self) -> tuple[str, ...]:
        """The names of the parameters that accept positional arguments."""
        by_place = ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD")
        return tuple(name for name, parameter in self.signature.parameters.items() if parameter.kind.name in by_place)

    @functools.cached_property
    def context_parameter(self) -> tuple[str, int | None] | None:
        """The parameter annotated with a context, if any: its name, and its position if it can be positional."""
        from slurm.tasks.context_parameter import context_parameter  # noqa: PLC0415 - as above

        return context_parameter(self.unwrapped, workflow=self.is_workflow)

    def to_send(self, uploads: Uploads) -> Callable[..., Any]:
        """The function as it is sent. A command adds the files that it needs to `uploads`."""
        del uploads
        return self.unwrapped

    @functools.cached_property
    def _any_of(self) -> range:
        """The numbers of positional arguments that need no further check; none if some parameters need names."""
        kinds = [parameter.kind.name for parameter in self.signature.parameters.values()]
        required = [p for p in self.signature.parameters.values() if p.default is p.empty]
        by_place = all(kind in ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD") for kind in kinds)
        return range(len(required), len(kinds) + 1) if by_place else range(0)

    def _bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Arguments:
        if not kwargs and len(args) in self._any_of:
            return args, {}
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            from slurm.usage import wrong_call  # noqa: PLC0415 - only for an error

            raise wrong_call(self.name, error, kwargs, self.signature.parameters) from None
        return bound.args, bound.kwargs

    def bound_item(
        self, item: tuple[Any, ...] | Mapping[str, Any], *, constants: Mapping[str, Any] = MappingProxyType({})
    ) -> Arguments:
        """The arguments for an item of `starmap`, with the constants of all calls. Raises TypeError."""
        if not _is_iterable(item):
            from slurm.usage import not_arguments  # noqa: PLC0415 - only for an error

            raise not_arguments(self.name, item)
        if not isinstance(item, Mapping):
            return self._bound(tuple(item), constants)
        twice = [name for name in item if name in constants]
        if twice:
            message = f"{self.name}.starmap(…, {twice[0]}=…): an item has a {twice[0]}, too: leave out one of them"
            raise about_the_caller(TypeError(message))
        return self._bound((), {**item, **constants} if constants else item)

    def _check_iterable(self, call: str, iterable: object) -> None:
        if not _is_iterable(iterable):
            from slurm import usage  # noqa: PLC0415 - only for an error

            if _is_placeholder(iterable):
                raise usage.no_items_yet(self.name, call)
            raise usage.not_iterable(self.name, call, iterable)

    def _submit(self, calls: Iterable[Arguments], *, mapped: bool) -> JobArray[R]:
        return self._cluster().submit(self, calls, mapped=mapped)

    def _cluster(self) -> Submitter:
        submitter = self._submitter or current()
        if submitter is None:
            running = getattr(sys.modules.get("slurm.runner.job_context"), "_current", None)
            if running:
                outer = running[-1].key.partition("/")[0]
                raise no_active_cluster(
                    f"the task {outer} cannot submit {self.name}(…). Make {outer} a @workflow, which may call tasks; or"
                    f" call the plain function in {outer}: {self.name}.unwrapped(…)"
                )
            raise no_active_cluster(
                f"{self.name}(…) has nowhere to run. Call it inside `with Cluster(…):` (for one thread), after "
                f"`Cluster(…).activate()`, or as {self.name}.on(cluster)(…)"
            )
        return submitter

    def _no_attribute(self, name: str) -> AttributeError:
        from slurm.usage import no_attribute_of_task  # noqa: PLC0415 - only for an error

        return no_attribute_of_task(self, name)

    def __repr__(self) -> str:
        return f"<task {self.name}{f' with {self.options!r}' if self.options != NONE else ''}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        path: str = self.__dict__.get("__qualname__", "")
        found: Any = sys.modules.get(self.__module__)
        for name in path.split("."):
            found = getattr(found, name, None)
        return path if found is self else by_value(self)


def by_value(task: Task[..., Any]) -> tuple[Any, ...]:
    """How a task is pickled if its name cannot be relied on: by its function and its settings."""
    return type(task), (task.unwrapped, task.terms.on_a_node())


class Workflow(Task[P, R]):
    """A task whose function submits tasks while it runs. Made by `@workflow`."""

    is_workflow = True


REDUCERS: Mapping[type, Callable[[Any], tuple[Any, ...]]] = dict.fromkeys((Task, Workflow), by_value)
"""How tasks are pickled among arguments."""
