"""Options: names, the one merge, and the #SBATCH lines."""

from __future__ import annotations

import re
import shlex
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from slurm import task
from slurm.errors import OptionError
from slurm.options import MAPPINGS, NONE, OURS, SBATCH, TAKEN, Options
from slurm.options.foreign import WORDS
from slurm.options.types import TaskOptions
from slurm.protocol import Block
from slurm.schedulers.directives import arguments, lines
from unit.strategies import CHARACTERS, matching

NASTY = st.text(alphabet="ab \"'\\$`#%;|&()<>*?~é\u2028 =,:-\n\t\x00\x7f", max_size=12)
VALUES = (
    NASTY | st.text(CHARACTERS, max_size=12) | st.integers() | st.booleans() | st.none() | st.lists(NASTY, max_size=3)
)
RAW = st.dictionaries(matching(r"--[a-z]{2,6}(-[a-z]{1,6})?"), VALUES, max_size=2)


@st.composite
def parsed(draw: st.DrawFn) -> Options:
    """Options that `parse` has accepted, with any names and values."""
    accepted: dict[str, Any] = {}
    for name in draw(st.lists(st.sampled_from([*SBATCH, *OURS]), max_size=4, unique=True)):
        accepted |= _if_accepted({**accepted, name: draw(VALUES)})  # some options exclude others
    for name, value in draw(RAW).items():
        accepted |= _if_accepted({**accepted, "sbatch": {**accepted.get("sbatch", {}), name: value}})
    return Options.parse(accepted)


def _if_accepted(given_: dict[str, Any]) -> dict[str, Any]:
    try:
        Options.parse(given_)
    except OptionError:
        return {}
    return given_


@given(parsed())
def test_each_option_is_one_line_and_one_argument_for_any_value(options: Options) -> None:
    asked = arguments(options, tag="f/1")
    written = lines(options, tag="f/1", log="/a b/%a.log", block=Block(first=0, count=3))
    assert all(line.startswith("#SBATCH --") for line in written)
    assert not any(ord(character) < 32 or ord(character) == 127 for line in written for character in line)
    split = [shlex.split(line.removeprefix("#SBATCH ")) for line in written]
    assert split[: len(asked)] == [[argument] for argument in asked]
    assert {words[0].partition("=")[0] for words in split} >= {"--array", "--output", "--open-mode", "--comment"}
    assert ["--output=/a b/%a.log"] in split


@given(parsed())
def test_options_survive_the_submission_record(options: Options) -> None:
    assert Options.parse(options.to_json()) == options


def test_only_options_that_are_set_are_sent() -> None:
    assert arguments(Options.parse({"mem": None, "requeue": False, "sbatch": None}), tag="f/1") == ["--comment=f/1"]


def test_the_users_comment_follows_the_tag() -> None:
    assert "--comment=f/1 for ann" in arguments(Options.parse({"comment": "for ann"}), tag="f/1")


def test_raw_options_are_passed_unchanged() -> None:
    options = Options.parse({"sbatch": {"--foo": 1, "--bar": True, "--baz": False, "--qux-x": "a b", "--no": None}})
    assert arguments(options, tag="k") == ["--bar", "--foo=1", "--qux-x=a b", "--comment=k"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [("cpus-per-task", "cpus_per_task"), ("cpu_per_task", "cpus_per_task"), ("partion", "partition"), ("tme", "time")],
)
def test_a_misspelt_option_is_an_error_at_decoration(name: str, meant: str) -> None:
    with pytest.raises(OptionError, match=rf"sbatch has no option {name}: did you mean {meant}\?"):
        task(**{name: "1"})  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("timeout_min", "time=90 is the time limit in minutes"),
        ("mem_gb", "mem='4G'"),
        ("slurm_partition", "write partition=…"),
        ("slurm_array_parallelism", "max_concurrent="),
        ("slurm_setup", "write setup="),
        ("slurm_dependency", "pass a job as an argument"),
        ("slurm_srun_args", "srun={'cpu_bind': 'cores'}"),
        ("slurm_stderr_to_stdout", "separate_stderr=True"),
        ("memory_request", "mem='4G'"),
        ("cores_per_task", "cpus_per_task=4"),
        ("threads_per_task", "cpus_per_task=4"),
        ("cores_per_worker", "cpus_per_task=4"),
        ("gpus_per_job", "gpus=1"),
        ("working_directory", "chdir="),
        ("local_directory", "tmp='10G'"),
        ("dry_run", "task.plan("),
        ("num_returns", "may be a tuple"),
        ("max_tasks_per_child", "chunk_size=100"),
        ("volumes", "mounts=['/data']"),
        ("afterScript", "teardown="),
        ("features", "constraint="),
        ("walltime", "time='2:00:00' is the time limit"),
        ("wall_time", "time='2:00:00' is the time limit"),
        ("waltime", "time='2:00:00' is the time limit"),
        ("ncpus", "cpus_per_task=4"),
        ("ppn", "ntasks_per_node=2"),
        ("queue", "partition='long'"),
        ("cores", "cpus_per_task=4"),
        ("memory", "mem='4G'"),
        ("project", "account='physics'"),
        ("job_extra_directives", "sbatch={"),
        ("cpu", "cpus_per_task=4"),
        ("gpu", "gpus=1"),
        ("timeout", "time=timedelta("),
        ("retries", "retry=3"),
        ("threads", "cpus_per_task=4"),
        ("mem_mb", "mem='4G'"),
        ("runtime", "time=90 is the time limit in minutes"),
        ("max_workers", "workers=4"),
        ("mp_context", "workers=4"),
        ("chunksize", "chunk_size=100"),
        ("maxForks", "max_concurrent=10"),
        ("c", "cpus_per_task=4"),
        ("C", "constraint='skylake'"),
        ("N", "nodes=2"),
        ("-n", "ntasks=8"),
        ("SLURM_TIME", "write time=…"),
        ("cpus", "cpus_per_task=4"),
        ("cpuss", "cpus_per_task=4"),
        ("ngpus", "gpus=1"),
        ("n_gpus", "gpus=1"),
    ],
)
def test_a_word_of_another_tool_gets_the_name_of_ours(name: str, meant: str) -> None:
    with pytest.raises(OptionError) as caught:
        Options.parse({name: 1})
    assert str(caught.value).startswith(f"there is no option {name!r}: ")
    assert meant in str(caught.value)


@pytest.mark.parametrize("word", WORDS)
def test_what_the_advice_says_is_accepted(word: str) -> None:
    assert word not in {*SBATCH, *OURS, *MAPPINGS, *TAKEN}
    for name, value in re.findall(r"(?:^|, )([a-z_]+)=('[^']*'|\d+|True|\{.*?\}|timedelta\(.*?\))", WORDS[word]):
        parsed = eval(value, {"timedelta": timedelta})  # noqa: S307 - text of ours
        assert name in Options.parse({name: parsed}).to_json()


@given(st.builds("{}{}{}".format, st.text("ns_", max_size=4), st.sampled_from(["cpu", "gpu"]), st.text("s_pertakbind")))
@example("cpus_per_nod")
@example("gpus_per_tsk")
@example("cpu_bind")
@example("cpuz")
def test_a_guess_never_takes_cpus_for_gpus(name: str) -> None:
    assume(name not in SBATCH)
    with pytest.raises(OptionError) as caught:
        Options.parse({name: 1})
    advice = str(caught.value).partition(": ")[2].lower()
    meant, other = ("cpu", "gpu") if "cpu" in name else ("gpu", "cpu")
    assert meant in advice or other not in advice


def test_an_unknown_option_is_pointed_to_raw_options() -> None:
    with pytest.raises(OptionError, match=r'xyzzy: to pass it unchanged, write sbatch={"--xyzzy": …}'):
        Options.parse({"xyzzy": 1})


@pytest.mark.parametrize("name", TAKEN)
def test_options_of_the_library_are_rejected_with_an_alternative(name: str) -> None:
    raw = f"--{name.replace('_', '-')}"
    for written, options in ((name, {name: "1"}), (raw, {"sbatch": {raw: "1"}})):
        with pytest.raises(OptionError) as caught:
            Options.parse(options)
        assert str(caught.value) == f"option {written}: {TAKEN[name]}"


@pytest.mark.parametrize("name", ["mem", "--", "-", "", "--a b", "--a=b", "--a\n#SBATCH --uid=0"])
def test_a_raw_option_must_be_written_as_on_the_command_line(name: str) -> None:
    with pytest.raises(OptionError, match="write the option as on the command line"):
        Options.parse({"sbatch": {name: 1}})


@pytest.mark.parametrize("name", ["-p", "-o", "-a"])
def test_a_short_raw_option_is_rejected(name: str) -> None:
    with pytest.raises(OptionError):
        Options.parse({"sbatch": {name: "x"}})


@pytest.mark.parametrize("raw", ["--mem=4G", ["--mem=4G"]])
def test_raw_options_must_be_a_mapping(raw: Any) -> None:
    with pytest.raises(OptionError):
        Options.parse({"sbatch": raw})


LAYER = st.dictionaries(st.sampled_from(["account", "partition", "qos"]), st.none() | st.sampled_from(["a", "b", "c"]))


@given(LAYER, st.lists(LAYER, max_size=3))
def test_later_layers_override_earlier_ones_and_none_unsets(first: dict[str, Any], later: list[dict[str, Any]]) -> None:
    expected = dict(first)
    for layer in later:
        expected.update(layer)
    merged = Options.parse(first).merged(*map(Options.parse, later))
    assert dict(merged.set()) == {name: value for name, value in expected.items() if value is not None}


def test_raw_options_are_merged_one_by_one() -> None:
    merged = Options.parse({"sbatch": {"--a": 1, "--b": 1, "--c": 1}}).merged(
        Options.parse({"sbatch": {"--b": 2, "--c": None}})
    )
    assert arguments(merged, tag="k") == ["--a=1", "--b=2", "--comment=k"]


def test_merging_changes_neither_layer() -> None:
    one, other = Options.parse({"mem": "1G", "sbatch": {"--a": 1}}), Options.parse({"mem": "2G", "sbatch": {"--a": 2}})
    one.merged(other)
    assert one == Options.parse({"mem": "1G", "sbatch": {"--a": 1}})
    assert Options.parse({}) == NONE


def test_a_later_layer_replaces_conflicting_options() -> None:
    merged = Options.parse({"mem": "4G", "requeue": True}).merged(
        Options.parse({"mem_per_cpu": "1G", "no_requeue": True})
    )
    assert dict(merged.set()) == {"mem_per_cpu": "1G", "no_requeue": True}


def test_conflicting_options_are_rejected_at_decoration() -> None:
    with pytest.raises(OptionError, match=r"mem and mem_per_cpu exclude each other: .* mem_per_cpu=None"):
        task(mem="4G", mem_per_cpu="1G")
    assert Options.parse({"mem": "4G", "mem_per_cpu": None}).get("mem") == "4G"


@pytest.mark.parametrize(
    ("first", "unset"), [({"mem": "4G"}, {"mem_per_cpu": None}), ({"requeue": True}, {"no_requeue": False})]
)
def test_unsetting_an_option_keeps_the_conflicting_one(first: dict[str, Any], unset: dict[str, Any]) -> None:
    assert Options.parse(first).merged(Options.parse(unset)) == Options.parse(first)


def test_equal_options_have_equal_hashes() -> None:
    one, other = (Options.parse({"sbatch": raw}) for raw in ({"--a": 1, "--b": 2}, {"--b": 2, "--a": 1}))
    assert one == other
    assert hash(one) == hash(other)


@pytest.mark.parametrize("name", ["chunk_size", "max_concurrent", "workers"])
def test_options_of_a_map_are_counts(name: str) -> None:
    assert Options.parse({name: 3}).get(name) == "3"
    for wrong in (0, -1, True, "many"):
        with pytest.raises(OptionError, match=f"option {name}={wrong!r}: expected a whole number from 1"):
            task(**{name: wrong})  # type: ignore[call-overload]


def test_type_checkers_know_the_same_names() -> None:
    assert set(TaskOptions.__annotations__) == {*SBATCH, *OURS, *MAPPINGS}


def test_all_wrong_options_are_named_at_once() -> None:
    with pytest.raises(OptionError, match=r"no option 'cpus': .*; .*no option 'gpu': .*; option time='soon': expected"):
        task(cpus=4, gpu=1, time="soon")  # type: ignore[call-overload]
