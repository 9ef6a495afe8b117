"""The option `env`: variables of a task's process, their layers, and how the script sets them."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm.errors import OptionError
from slurm.options import NONE, Options
from slurm.protocol import ResolvedEnvironment
from slurm.slurmfile import load
from slurm.submission.script import render
from unit.strategies import matching

if TYPE_CHECKING:
    from pathlib import Path

VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
NAMES = matching("T_[A-D]{1,3}")
LAYERS = st.fixed_dictionaries({}, optional={"env": st.none() | st.dictionaries(NAMES, st.none() | VALUES)})


@given(LAYERS, LAYERS, LAYERS)
def test_later_variables_are_added_and_none_unsets_all(first: Any, second: Any, third: Any) -> None:
    expected: dict[str, str | None] = {}
    for layer in (first, second, third):
        expected = {} if layer.get("env", {}) is None else {**expected, **layer.get("env", {})}
    merged = NONE.merged(*map(Options.parse, (first, second, third)))
    assert merged.env == expected
    assert Options.parse(merged.to_json()).env == expected


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("A=1", "env='A=1': expected a mapping"),
        ({"A": 1}, "env: A=1: expected a text, or None"),
        ({"A B": "1"}, "env: 'A B' is not a name"),
        ({"": "1"}, "env: '' is not a name"),
        ({"1A": "1"}, "env: '1A' is not a name"),
        ({"É": "1"}, "env: 'É' is not a name"),
        ({"A": "a\0b"}, "expected text without null characters"),
        ({"A": "\udcff"}, "expected text without null characters and surrogates"),
        ({"A": "x" * (1 << 17)}, "a variable at most 131071: pass it as an argument"),
        ({f"A{n}": "x" * 100_000 for n in range(11)}, "bytes are more than a process can have"),
        ({"SLURM_JOB_ID": "1"}, "env: SLURM_JOB_ID has a value of its own in each job"),
        ({"SLURMTASKS_X": "1"}, "has a value of its own"),
        ({"UID": "1"}, "has a value of its own"),
    ],
)
def test_a_wrong_variable_is_an_error_at_decoration(wrong: Any, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        Options.parse({"env": wrong})
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["API_KEY", "HF_TOKEN", "aws_secret_access_key", "PASSWORD", "DB_Password"])
def test_a_secret_is_refused_with_the_way_to_pass_it(name: str) -> None:
    with pytest.raises(OptionError) as caught:
        Options.parse({"env": {name: "hunter2"}})
    assert f"env: {name} looks like a secret" in str(caught.value)
    assert f"chmod 600 ~/.{name.lower()}" in str(caught.value)
    assert "Cluster(setup=[" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert Options.parse({"env": {name: None}}).env == {name: None}


@pytest.mark.parametrize("name", ["TOKENIZERS_PARALLELISM", "KEYBOARD", "MONKEY", "SECRETARY", "PASSWORDLESS"])
def test_a_part_of_a_word_is_no_secret(name: str) -> None:
    assert Options.parse({"env": {name: "1"}}).env == {name: "1"}


@given(st.dictionaries(NAMES, VALUES, min_size=1, max_size=3))
def test_the_script_is_unicode_text_of_one_line_per_variable(env: dict[str, str]) -> None:
    lines = script(env).split("\n")
    found = [line for line in lines if line.startswith("export T_")]
    assert len(found) == len(env)
    assert all(line.isprintable() for line in found)
    shell = "\n".join([*(line.removesuffix(" &&") for line in found), "env -0"])
    done = subprocess.run(["bash", "-c", shell], env={"PATH": os.environ["PATH"]}, capture_output=True, check=True)
    variables = dict(item.split("=", 1) for item in done.stdout.decode().split("\0") if "=" in item)
    assert {name: variables[name] for name in env} == env


def test_a_script_without_variables_is_as_before() -> None:
    assert "SLURMTASKS_ENV" not in script({})
    assert "exec" not in script({}).partition("step=")[2]


def script(env: dict[str, str]) -> str:
    return render(
        directives=(),
        environment=ResolvedEnvironment(key="k", python="/python", tag="3.11"),
        root="/root",
        runner="/runner.zip",
        key="f/1",
        chdir=None,
        env=env,
    )


def test_a_slurmfile_has_variables(tmp_path: Path) -> None:
    path = tmp_path / "Slurmfile"
    path.write_text(
        "clusters:\n"
        "  base: {url: local, options: {env: {A: yes, N: 4, GONE: ~}}}\n"
        "  below: {extends: base, options: {env: {A: other}}}\n"
    )
    entry = load("below", path)
    assert entry.options.env == {"A": "other", "N": "4", "GONE": None}
    shown = {setting.key: (setting.value, setting.origin) for setting in entry.settings}
    assert (shown["options.env.A"], shown["options.env.N"]) == (
        ("other", f"{path}:3"),
        ("4", f"{path}:2"),
    )
