"""Options: the sbatch options by their long names, their validation, and the one merge of option layers.

Only options that were set are sent. Names and values are checked at decoration, where the user writes them.
"""

from __future__ import annotations

import slurm.options.values as kinds
from slurm.protocol.records import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any, NoReturn

    from slurm.options.values import Kind


def _retry(value: Any) -> str:
    from slurm.options.retry import parse  # noqa: PLC0415 - few tasks have a Retry

    return parse(value)


def _labels(value: Any) -> dict[str, str | None]:
    from slurm.options.labels import parse  # noqa: PLC0415 - few tasks have labels

    return parse(value)


def _env(value: Any) -> dict[str, str | None]:
    from slurm.options.variables import parse  # noqa: PLC0415 - few tasks have variables

    return parse(value)


SBATCH: Mapping[str, Kind] = {
    "account": kinds.text,
    "acctg_freq": kinds.text,
    "batch": kinds.text,
    "bb": kinds.text,
    "bbf": kinds.text,
    "begin": kinds.moment,
    "chdir": kinds.text,
    "cluster_constraint": kinds.text,
    "clusters": kinds.listing,
    "comment": kinds.text,
    "constraint": kinds.text,
    "container": kinds.text,
    "contiguous": kinds.flag,
    "core_spec": kinds.whole,
    "cores_per_socket": kinds.count,
    "cpu_freq": kinds.text,
    "cpus_per_gpu": kinds.count,
    "cpus_per_task": kinds.count,
    "deadline": kinds.moment,
    "delay_boot": kinds.duration,
    "distribution": kinds.text,
    "exclude": kinds.listing,
    "exclusive": kinds.flag_or_text,
    "export": kinds.listing,
    "extra": kinds.text,
    "extra_node_info": kinds.text,
    "get_user_env": kinds.flag_or_text,
    "gpu_bind": kinds.text,
    "gpu_freq": kinds.text,
    "gpus": kinds.text,
    "gpus_per_node": kinds.text,
    "gpus_per_socket": kinds.text,
    "gpus_per_task": kinds.text,
    "gres": kinds.listing,
    "gres_flags": kinds.listing,
    "hint": kinds.text,
    "hold": kinds.flag,
    "job_name": kinds.text,
    "licenses": kinds.listing,
    "mail_type": kinds.listing,
    "mail_user": kinds.text,
    "mcs_label": kinds.text,
    "mem": kinds.memory,
    "mem_bind": kinds.text,
    "mem_per_cpu": kinds.memory,
    "mem_per_gpu": kinds.memory,
    "mincpus": kinds.count,
    "network": kinds.text,
    "nice": kinds.flag_or_text,
    "no_kill": kinds.flag_or_text,
    "no_requeue": kinds.flag,
    "nodefile": kinds.text,
    "nodelist": kinds.listing,
    "nodes": kinds.count_range,
    "ntasks": kinds.count,
    "ntasks_per_core": kinds.count,
    "ntasks_per_gpu": kinds.count,
    "ntasks_per_node": kinds.count,
    "ntasks_per_socket": kinds.count,
    "open_mode": kinds.text,
    "overcommit": kinds.flag,
    "oversubscribe": kinds.flag,
    "partition": kinds.listing,
    "power": kinds.text,
    "prefer": kinds.text,
    "priority": kinds.text,
    "profile": kinds.listing,
    "propagate": kinds.flag_or_text,
    "qos": kinds.text,
    "reboot": kinds.flag,
    "requeue": kinds.flag,
    "reservation": kinds.listing,
    "signal": kinds.signal,
    "sockets_per_node": kinds.count,
    "spread_job": kinds.flag,
    "switches": kinds.text,
    "thread_spec": kinds.whole,
    "threads_per_core": kinds.count,
    "time": kinds.duration,
    "time_min": kinds.duration,
    "tmp": kinds.memory,
    "tres_bind": kinds.text,
    "tres_per_task": kinds.listing,
    "uid": kinds.text,
    "use_min_nodes": kinds.flag,
    "wait_all_nodes": kinds.whole,
    "wckey": kinds.text,
}
"""sbatch's long options (sbatch(1), 20.11 to 26.05), with `_` for `-`, and the kind of value of each."""

OURS: Mapping[str, Kind] = {
    "chunk_size": kinds.count_or_auto,
    "gather": kinds.flag,
    "keep": kinds.keep,
    "launch": kinds.launch,
    "max_concurrent": kinds.count,
    "max_restarts": kinds.count,
    "metrics": kinds.flag,
    "mpi": kinds.mpi,
    "retry": _retry,
    "reuse": kinds.reuse,
    "separate_stderr": kinds.flag,
    "setup": kinds.shell_lines,
    "signal_lead": kinds.lead,
    "srun": kinds.srun,
    "stop_signal": kinds.signal_name,
    "teardown": kinds.shell_lines,
    "workers": kinds.count,
}
"""Options that sbatch doesn't have; docs/reference/options.md explains them."""

TAKEN: Mapping[str, str] = {
    "array": "call the task's .map(…), which makes the array",
    "dependency": "pass a job as an argument, or use .after(job, on=…)",
    "output": "logs are kept in the job's directory: job.logs() reads them",
    "error": "separate_stderr=True keeps standard error in a log of its own, which job.logs(stderr=True) reads",
    "input": "pass the data, or the path of its file, as an argument",
    "wrap": "the library writes the script from the task",
    "wait": "call job.result(), or slurm.wait(jobs)",
    "parsable": "the library reads the job's id itself",
    "test_only": "task.plan(…) shows what a call would submit",
    "het_group": kinds.ONE_COMPONENT,
    "kill_on_invalid_dep": "the library sets it for every job with a dependency",
}
"""sbatch options that the library sets itself, with what to do instead."""

PLACEMENT = ("account", "clusters", "constraint", "partition", "qos", "reservation", "wckey")
"""Options that decide where a job may run and which account pays; a task's auxiliary jobs are submitted with them."""

MAPPINGS = ("env", "labels", "sbatch")
"""Options that are mappings themselves."""
_ADDED = ("labels", "env")
"""The options to which layers add."""

_EXCLUSIVE = (("mem", "mem_per_cpu", "mem_per_gpu"), ("requeue", "no_requeue"))
_CONFLICTING = {name: group for group in _EXCLUSIVE for name in group}
"""The options that a later layer's option replaces: its `mem_per_cpu` replaces an earlier layer's `mem`."""


class Options:
    """Checked options: a frozen mapping from names to Slurm's text, or to True for a bare flag.

    None marks an option that a layer unsets. `sbatch` holds raw options, which are passed unchanged. `labels` are not
    for the scheduler. `env` holds variables of a task's process. Layers add to `labels` and `env`.
    """

    __slots__ = ("_values", "env", "labels", "sbatch")

    def __init__(
        self,
        values: Mapping[str, str | bool | None],
        sbatch: Mapping[str, str | bool | None],
        labels: Mapping[str, str | None] | None = None,
        env: Mapping[str, str | None] | None = None,
    ) -> None:
        self._values = dict(values)
        self.sbatch = dict(sbatch)
        self.labels, self.env = dict(labels or {}), dict(env or {})

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Options:
        """Check names and values that a user wrote.

        Raises OptionError for an unknown name (with "did you mean"), a value that sbatch would reject, or options that
        exclude each other.
        """
        raw = given.get("sbatch") or {}
        if not hasattr(raw, "items"):
            kinds.fail(f'sbatch={raw!r}: expected a mapping, such as sbatch={{"--foo": 1}}')
        values = _all_checked({name: value for name, value in given.items() if name not in MAPPINGS})
        labels, env = (
            check(given[name]) if given.get(name) is not None else {}
            for name, check in (("labels", _labels), ("env", _env))
        )
        values |= {name: None for name in _ADDED if given.get(name, "") is None}
        for group in _EXCLUSIVE:
            found = [name for name in group if values.get(name) is not None]
            if len(found) > 1:
                kinds.fail(f"{' and '.join(found)} exclude each other: keep one (unset the other with {found[1]}=None)")
        return cls(values, {_raw_name(name): _raw_value(name, value) for name, value in raw.items()}, labels, env)

    def merged(self, *later: Options) -> Options:
        """Override these options by later layers: defaults < Slurmfile < task < call. This is the one merge."""
        values, sbatch = dict(self._values), dict(self.sbatch)
        added = {name: dict(getattr(self, name)) for name in _ADDED}
        for layer in later:
            for name, value in layer._values.items():  # noqa: SLF001 - of this class
                for other in _CONFLICTING.get(name, ()) if value is not None else ():
                    values.pop(other, None)
            values.update(layer._values)  # noqa: SLF001
            sbatch.update(layer.sbatch)
            for name, mapping in added.items():
                if layer.unsets(name):
                    mapping.clear()
                mapping.update(getattr(layer, name))
        return Options(values, sbatch, **added)

    def with_env(self, env: Mapping[str, str | None]) -> Options:
        """Return these options with other variables."""
        return Options(self._values, self.sbatch, self.labels, env)

    def unsets(self, name: str) -> bool:
        """Whether these options unset an option of earlier layers."""
        return self._values.get(name, "") is None

    def get(self, name: str) -> str | bool | None:
        """Return the text of one option, True for a bare flag, None if it is not set."""
        return self._values.get(name)

    def set(self) -> Iterator[tuple[str, str | bool]]:
        """Yield the names and texts of the options that are set, sorted by name."""
        for name, value in sorted(self._values.items()):
            if value is not None:
                yield name, value

    def given(self) -> Mapping[str, str | bool | None]:
        """Return all options that are set or unset here. The value of an unset option is None."""
        return dict(self._values)

    def to_json(self) -> dict[str, Any]:
        """Return the options as `submission.json` stores them; `Options.parse` accepts this form."""
        mappings = {"sbatch": self.sbatch, "labels": self.labels, "env": self.env}
        return {**dict(self.set()), **{name: mapping for name, mapping in mappings.items() if mapping}}

    def __setstate__(self, state: tuple[None, dict[str, Any]]) -> None:
        for name, value in ({"labels": {}, "env": {}} | state[1]).items():  # pickles of earlier versions lack them
            setattr(self, name, value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Options) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        mappings = (self.sbatch, self.labels, self.env)
        return hash((frozenset(self.set()), *(frozenset(mapping.items()) for mapping in mappings)))

    def __repr__(self) -> str:
        return f"Options({', '.join(f'{name}={value!r}' for name, value in self.to_json().items())})"


NONE = Options({}, {})


def _all_checked(given: Mapping[str, Any]) -> dict[str, str | bool | None]:
    """Check all options. Raises one OptionError with all that is wrong."""
    found, wrong = dict[str, "str | bool | None"](), list[str]()
    for name, value in given.items():
        try:
            found[name] = _checked(name, value)
        except ValueError as error:  # OptionError, whose import takes time
            wrong.append(str(error))
    if wrong:
        kinds.fail("; ".join(wrong))
    return found


def _checked(name: str, value: Any) -> str | bool | None:
    kind = SBATCH.get(name) or OURS.get(name)
    if kind is None:
        _fail_unknown(name)
    return kinds.checked(f"option {name}", value, kind)


def _fail_unknown(name: str) -> NoReturn:
    if name in TAKEN:
        kinds.fail(f"option {name}: {TAKEN[name]}")
    from slurm.options.foreign import advise  # noqa: PLC0415 - only for an error message

    kinds.fail(advise(name, (*SBATCH, *OURS, *MAPPINGS, *TAKEN), TAKEN))


def _raw_name(name: str) -> str:
    bare = name.lstrip("-")
    if not name.startswith("--") or not bare.replace("-", "").isalnum():
        kinds.fail(f'sbatch={{{name!r}: …}}: write the option as on the command line, such as "--{bare or "option"}"')
    if bare.replace("-", "_") in TAKEN:
        kinds.fail(f"option {name}: {TAKEN[bare.replace('-', '_')]}")
    return name


def _raw_value(name: str, value: Any) -> str | bool | None:
    try:
        return value if isinstance(value, bool) or value is None else kinds.line(str(value))
    except ValueError as error:
        kinds.fail(f"sbatch={{{name!r}: {value!r}}}: expected {error}")
