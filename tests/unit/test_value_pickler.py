"""Pickling by value keeps the file names of code, so that tracebacks show source lines."""

from __future__ import annotations

import pickle
import re
import traceback
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

import pytest

from slurm.runner.pickling import pickled
from slurm.runner.result_saver import describe
from slurm.runner.value_pickler import dumps_by_value
from unit.job_directories import Directory, run_on_a_node
from unit.job_directories import pickled as pickled_calls

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCRIPT = """
import asyncio

def nested(x):
    def inner():
        return 1 / x  # nested
    return inner()

as_lambda = lambda x: 1 / x  # as_lambda

class Kind:
    def method(self, x):
        return 1 / x  # method

    @staticmethod
    def static(x):
        return 1 / x  # static

    @property
    def inverse(self):
        return 1 / 0  # inverse

method = lambda x: Kind().method(x)
static = lambda x: Kind.static(x)
inverse = lambda x: Kind().inverse

def generator(x):
    def numbers():
        yield 1 / x  # generator
    return list(numbers())

def comprehension(x):
    return [1 / y for y in [x]]  # comprehension

def expression(x):
    return sum(1 / y for y in [x])  # expression

def coroutine(x):
    async def wait():
        return 1 / x  # coroutine
    return asyncio.run(wait())

def local_class(x):
    class Inside:
        def __init__(self):
            self.x = 1 / x  # local_class
    return Inside()

class Own(Exception):
    def shown(self):
        return 1 / 0  # shown

def raises(x):
    raise Own(x)

def gives(x):
    return lambda: 1 / x  # gives
"""
KINDS = (
    *("nested", "as_lambda", "method", "static", "inverse", "generator", "comprehension", "expression"),
    *("coroutine", "local_class"),
)


def script(file: str) -> dict[str, Any]:
    """The names that a script defines, run from a file."""
    found = {"__name__": "__main__", "__file__": file}
    exec(compile(SCRIPT, "".join(file), "exec"), found)  # noqa: S102
    return found


def file_names(code: CodeType) -> Iterator[str]:
    yield code.co_filename
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from file_names(constant)


@pytest.mark.parametrize("kind", KINDS)
def test_a_traceback_on_the_node_has_the_file_and_the_line(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "my script.py"
    file.write_text(SCRIPT)
    directory = Directory(str(tmp_path / "root")).create(pickled_calls(script(str(file))[kind], (0,)))
    done = run_on_a_node(directory, tmp_path)
    assert re.search(rf'File "{file}", line \d+, in .*\n +.* # {kind}\n', done.stderr), done.stderr


def test_every_nested_code_object_keeps_its_file() -> None:
    for kind in KINDS:
        found = pickle.loads(dumps_by_value(script("/home/ann/cells.py")[kind]))
        assert isinstance(found, FunctionType)
        assert set(file_names(found.__code__)) == {"/home/ann/cells.py"}


def test_a_function_in_a_result_and_an_error_class_of_the_script_keep_their_files(tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    file.write_text(SCRIPT)
    defined = script(str(file))
    result = pickle.loads(pickled(defined["gives"](0)))
    with pytest.raises(ZeroDivisionError) as caught:
        result()
    assert "# gives" in "".join(traceback.format_exception(caught.value))
    record = describe(defined["Own"](0))
    assert record.pickle is not None
    assert defined["Own"].shown.__code__.co_filename == str(file)  # describe unpickles the error once, as a check


@pytest.mark.parametrize("kind", [*KINDS, "gives"])
def test_equal_functions_have_equal_pickles(kind: str) -> None:
    """The pickles are equal whether or not the code's file name is the same string object as `__file__`."""
    one, other = script("/home/ann/a.py"), script("/home/ann/a.py")
    assert one["__file__"] is not one["nested"].__code__.co_filename
    other["__file__"] = other["nested"].__code__.co_filename
    # cloudpickle gives each class an identifier.
    first, second = (re.sub(rb"[0-9a-f]{32}", b"", dumps_by_value(found[kind])) for found in (one, other))
    assert first == second


def test_functions_that_pydantic_validates_are_validated_where_they_arrive(tmp_path: Path) -> None:
    """Also a function that calls itself, whose annotations are not there yet when its decorator is."""
    pydantic = pytest.importorskip("pydantic", minversion="2.11")
    source = "def total(n: int) -> int: return n if n > 3 else total(str(n + 1))\n"
    found: dict[str, Any] = {"__name__": "script"}
    exec(source, found)  # noqa: S102
    config = {"str_strip_whitespace": True}
    found["total"] = pydantic.validate_call(config=config, validate_return=True)(found["total"])

    directory = Directory(str(tmp_path / "root")).create(pickled_calls(found["total"], ("1",)))
    done = run_on_a_node(directory, tmp_path)
    assert (done.returncode, done.stderr, directory.result()) == (0, "", 4)
    wrong = Directory(str(tmp_path / "other")).create(pickled_calls(found["total"], ("x",)))
    assert "ValidationError" in run_on_a_node(wrong, tmp_path).stderr
