"""Usage: what to write instead of an attribute, operator or argument that people expect and this library does not have.

Loaded only for the message of an error.
"""

from __future__ import annotations

from slurm.tracebacks import about_the_caller

TYPE_CHECKING = False  # as `typing` has it, without importing typing; type checkers know the name
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence


def _each(names: str, advice: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), advice)


JOB: Mapping[str, str] = {
    **_each("get get_result getresult value values results compute collect join", "write job.result()"),
    **_each("wait wait_for", "write job.result(), or slurm.wait([job], timeout=…)"),
    **_each("state poll info get_state", "write job.status().state"),
    **_each("ready successful is_done is_ready finished ended completed", "write job.done()"),
    **_each("failed error traceback", "write job.exception(), which is None after a success"),
    **_each("id jobid slurm_id slurm_job_id task_id", "write job.job_id"),
    **_each("stdout output log get_logs", "write job.logs()"),
    **_each("stderr", "write job.logs(stderr=True), of a task with separate_stderr=True"),
    **_each("kill terminate stop abort revoke delete", "write job.cancel()"),
    **_each(
        "remote submit delay apply_async map starmap run start",
        "a job is a call that was submitted. Call the task for another one, or write job.retry()",
    ),
    **_each("then", "pass the job to another task as an argument, or write job.add_done_callback(function)"),
    **_each("path folder", "write job.directory"),
}
"""Names that people expect of a `job`, with what to write instead."""

ARRAY: Mapping[str, str] = {
    **_each("result get get_result value values compute collect join gather", "write array.results()"),
    **_each("wait wait_for", "write array.results(), or slurm.wait(array, timeout=…)"),
    **_each("exception error errors traceback", "write array.exceptions()"),
    **_each("status state running poll info", "write array.states(), or array[0].status() for one of its jobs"),
    **_each("ready successful is_done is_ready finished ended completed", "write array.done()"),
    **_each("log output stdout get_logs", "write array.logs()"),
    **_each("stderr", "write array.logs(stderr=True), of a task with separate_stderr=True"),
    **_each("kill terminate stop abort revoke delete", "write array.cancel()"),
    **_each("retry", "write array.retry_failed(), or array[0].retry() for one of its jobs"),
    **_each("cancelled job_id id jobid index", "each job has its own, such as array[0].job_id"),
    **_each(
        "remote submit delay apply_async map starmap run start",
        "an array holds calls that were submitted. Write f.map(array) to call another task with each result",
    ),
}
"""Names that people expect of an `array`, with what to write instead."""

TASK: Mapping[str, str] = {
    **_each("remote delay submit apply_async apply spawn call run start send", "write {f}(…), which submits a call"),
    **_each("result get", "write {f}(…).result()"),
    **_each("results map_async imap imap_unordered amap pmap", "write {f}.map(…), and .results() of what it returns"),
    **_each("fn func function local run_local raw", "the plain function is {f}.unwrapped"),
    **_each("partial bind s", "write task(functools.partial({f}.unwrapped, …)), which has .map"),
    **_each("status state done exception", "a call has it: write {f}(…).{name}()"),
    **_each("override opts set_options options_ with_resources", "write {f}.with_options(…)"),
}
"""Names that people expect of a task `f`, with what to write instead."""

CLUSTER: Mapping[str, str] = {
    **_each("map starmap scatter map_async", "write f.on(cluster).map(…) with a task f, or cluster.executor().map(…)"),
    **_each("run call apply remote compute", "write f.on(cluster)(…) with a task f, or cluster.executor().submit(…)"),
    **_each("gather wait as_completed", "it is a function of the package: from slurm import {name}"),
    **_each("scale adapt", "nothing needs to be started before a call: each call is a job of its own"),
    **_each("cancel scancel", "write job.cancel(), or slurm.cancel(jobs) for several"),
    **_each("get get_job", "write cluster.job(key)"),
    **_each("queue squeue list", "write cluster.jobs()"),
    **_each("shutdown stop disconnect", "write cluster.close(); jobs go on"),
    **_each("task workflow", "it is a function of the package: from slurm import {name}"),
}
"""Names that people expect of a `cluster`, with what to write instead."""


def no_attribute(
    owner: object, name: str, table: Mapping[str, str], *, f: str = "f", other: str = ""
) -> AttributeError:
    """The error for a name that `owner` lacks. `other` is the advice for a name that is not in the table."""
    message = f"{type(owner).__name__!r} object has no attribute {name!r}"
    if name.startswith("_"):  # copy, pickle, notebooks and others look for such names, and expect the plain error
        return AttributeError(message)
    if name in table:
        # With an object, Python would add the name of a similar attribute, which is rarely what was meant.
        advised = AttributeError(f"{message}: {table[name].format(f=f, name=name)}", name=name, obj=None)
        return about_the_caller(advised)
    return about_the_caller(AttributeError(f"{message}{other and f': {other}'}"))


def no_attribute_of_handle(handle: object, name: str, *, of_array: bool) -> AttributeError:
    """The error for a name that a job or an array lacks."""
    if of_array:
        return no_attribute(handle, name, ARRAY, other=f"if its jobs have it, write [job.{name} for job in array]")
    return no_attribute(handle, name, JOB, other=f"if its result has it, write job.result().{name}")


def no_attribute_of_cluster(cluster: object, name: str) -> AttributeError:
    """The error for a name that a cluster lacks."""
    options = f"write cluster.options.get({name!r})" if _is_option(name) else ""
    return no_attribute(cluster, name, CLUSTER, other=options)


def wrong_arguments(parameters: Sequence[str], given: int, named: Iterable[str]) -> TypeError | None:
    """The error for arguments that `Cluster(…)` does not accept, if there are any. It has one positional argument."""
    if given > 1:
        return about_the_caller(TypeError("Cluster(url, …) takes its other arguments by name, such as options={…}"))
    for name in named:
        if name in parameters:
            continue
        if name in ("host", "hostname", "user", "username", "port", "scheduler", "transport", "address"):
            advice = 'it is a part of the URL: Cluster("slurm+ssh://user@host:port")'
        elif _is_option(name):
            advice = f"an option of jobs goes into options: Cluster(…, options={{{name!r}: …}})"
        else:
            advice = _similar(name, parameters)
        return about_the_caller(TypeError(f"Cluster() got an unexpected argument {name!r}: {advice}"))
    return None


def _similar(name: str, parameters: Sequence[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only for this message

    from slurm.options import SBATCH  # noqa: PLC0415 - as above
    from slurm.options.foreign import meaning  # noqa: PLC0415 - as above

    if len(name) > 1 and (meant := meaning(name)):
        return f"an option of jobs goes into options={{…}}: {meant}"
    for near in get_close_matches(name, parameters, n=1):
        return f"did you mean {near}?"
    for near in get_close_matches(name, SBATCH, n=1, cutoff=0.75):
        return f"did you mean options={{{near!r}: …}}?"
    return f"it takes {', '.join(parameters)}; options of jobs go into options={{…}}"


def _is_option(name: str) -> bool:
    from slurm.options import MAPPINGS, OURS, SBATCH  # noqa: PLC0415 - as above

    return name in SBATCH or name in OURS or name in MAPPINGS


def submit_of_others() -> TypeError:
    """The error for `cluster.submit(f, 1)`, a call that other libraries have."""
    return about_the_caller(
        TypeError(
            "cluster.submit(f, …) is not how calls are made. Write f.on(cluster)(…) with a task f; or "
            "cluster.executor().submit(f, …), which takes plain functions, too"
        )
    )


def plan_of_others(task: str) -> TypeError:
    """The error for `cluster.plan(f, 1)`: its second argument is a list of calls."""
    message = (
        f"cluster.plan({task}, calls) takes an iterable of calls, as {task}.starmap does. For one call, write "
        f"{task}.on(cluster).plan(…) with its arguments"
    )
    return about_the_caller(TypeError(message))


def no_attribute_of_task(task: object, name: str) -> AttributeError:
    """The error for a name that a task lacks."""
    return no_attribute(task, name, TASK, f=getattr(task, "__dict__", {}).get("__name__", "f"))


def no_items_yet(task: str, call: str) -> TypeError:
    """The error for a map over a job. `call` has {} in place of the job."""
    message = f"{task}.{call.format('job')}: a job has no items yet. Write {task}.{call.format('job.result()')}"
    return about_the_caller(TypeError(message))


def not_iterable(task: str, call: str, value: object) -> TypeError:
    """The error for a map over a value without items. `call` has {} in place of the value."""
    given = f"{value!r:.60}"
    message = f"{task}.{call.format(given)}: {type(value).__name__!r} object is not iterable. Write"
    if "…" in call:
        advice = f"{task}.{call.format(f'itertools.repeat({given})')} to give it to each call"
        return about_the_caller(TypeError(f"{message} {advice}"))
    items = f"[{given}]" if call.startswith("map") else f"[({given},)]"
    return about_the_caller(TypeError(f"{message} {task}({given}) for one call, or {task}.{call.format(items)}"))


def not_arguments(task: str, item: object) -> TypeError:
    """The error for an item of `starmap` that is neither a tuple nor a mapping."""
    message = f"{task}.starmap(…) takes tuples and mappings of arguments, not {item!r:.60}: write {task}.map(…)"
    return about_the_caller(TypeError(message))


_ARITHMETIC = {"add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**"}
_BINARY = _ARITHMETIC | {"matmul": "@", "and": "&", "or": "|", "xor": "^", "lshift": "<<", "rshift": ">>"}
_COMPARED = {"lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_UNARY = {"neg": "-", "pos": "+", "invert": "~"}

_OPERATORS: Mapping[str, str] = {
    **{f"__{name}__": f"{{}} {sign} …" for name, sign in (_BINARY | _COMPARED).items()},
    **{f"__r{name}__": f"… {sign} {{}}" for name, sign in _BINARY.items()},
    **{f"__{name}__": f"{sign}{{}}" for name, sign in _UNARY.items()},
    **{f"__{name}__": f"{name}({{}})" for name in ("abs", "round", "float", "int", "complex", "len")},
    "__index__": "{}",
}
"""The methods of operators, with an expression for each; `{}` stands for the result."""


def no_operator(method: str, argument: object, *, of_array: bool) -> TypeError:
    """The error for an operator of a job or an array, which is not its result."""
    name, result = ("an array", "array.results()") if of_array else ("a job", "job.result()")
    formatted = f"{{{result}:{argument}}}"
    expression = formatted if method == "__format__" else _OPERATORS[method].format(result)
    return about_the_caller(
        TypeError(f"{name} is not its result: write {expression}, or pass it to another task, which gets the result")
    )


_OF_MAPS = ("chunk_size", "max_concurrent", "workers")


def wrong_call(task: str, error: TypeError, given: Iterable[str], parameters: Collection[str]) -> TypeError:
    """The error for a call whose arguments do not fit; for an unknown name, with what to write instead, if known."""
    unknown = next((name for name in given if name not in parameters), "")
    advice = _instead_of(task, unknown, parameters) if unknown else ""
    return about_the_caller(TypeError(f"{task}({', '.join(parameters)}): {error}{advice}"))


def _instead_of(task: str, name: str, parameters: Iterable[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only for this message

    if name in _OF_MAPS:
        return f". {name} is an argument of {task}.map and {task}.starmap"
    if _is_option(name):
        return f". Options are given by {task}.with_options({name}=…)"
    found = get_close_matches(name, [*parameters, *_OF_MAPS], n=1, cutoff=0.7)
    return f": did you mean {found[0]}?" if found else ""


_MOST_NEAR = 200
"""The number of known names that an error about an unknown name compares and lists."""


def near(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the closest known name, or all of them."""
    names = sorted(known)
    from difflib import get_close_matches  # noqa: PLC0415 - only for this message

    found = get_close_matches(name, names, n=1) if len(names) <= _MOST_NEAR else []
    more = f", and {len(names) - _MOST_NEAR} more" if len(names) > _MOST_NEAR else ""
    listed = ", ".join(names[:_MOST_NEAR]) or "none"
    return f": did you mean {found[0]!r}?" if found else f"; known names: {listed}{more}"
