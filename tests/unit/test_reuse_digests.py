"""Digests are equal in every process, and differ where a result may differ."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from slurm.errors import NotReusable
from slurm.reuse.digests import Digester
from slurm.reuse.packages import import_identity, module_identity
from slurm.serialization.pickling import is_importable_there
from slurm.tasks.task import Task

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = Path(__file__).parents[1] / "data" / "reuse"


def digest(value: object, name: str = "x") -> bytes:
    made = Digester(
        importable=lambda module: is_importable_there(module.__name__, module, ()),
        placeholder=lambda job: job.reference.key.encode(),
        replaced={Task: lambda task: ("task", task.unwrapped)},
    )
    return made.value(value, name)


def test_kinds_have_the_same_digest_in_other_processes_directories_and_files(tmp_path: Path) -> None:
    other = tmp_path / "deep" / "other_name.py"
    other.parent.mkdir()
    other.write_text("\n\n" + (DATA / "kinds.py").read_text())
    shutil.copy(DATA / "loose_helpers.py", other.parent)
    found = [_digests(DATA / "kinds.py", seed=1, directory=tmp_path), _digests(other, seed=2, directory=Path("/"))]
    found.append(_digests(other, seed=3, directory=tmp_path))
    assert len(found[0]) >= 40
    assert found[0] == found[1] == found[2]
    assert len(set(found[0].values())) == len(found[0])  # and no two kinds have the same


def test_commands_and_values_that_were_put_have_the_same_digest_in_other_processes(tmp_path: Path) -> None:
    other = tmp_path / "deep" / "other_name.py"
    other.parent.mkdir()
    other.write_text("\n\n" + (DATA / "commands.py").read_text())
    directories = [tmp_path / "here", tmp_path / "elsewhere" / "there"]
    for directory in directories:
        directory.mkdir(parents=True)
    root = str(tmp_path / "root")
    first = _digests(DATA / "commands.py", root, seed=1, directory=directories[0])
    assert _digests(other, root, seed=2, directory=directories[1]) == first
    options = [first.pop(f"option {name}") for name in ("plain", "labels", "metrics", "resources")]
    assert len(set(options)) == 1  # they change no result
    assert len(first) >= 20
    assert len(set(first.values())) == len(first)


def _digests(program: Path, *more: str, seed: int, directory: Path) -> dict[str, str]:
    environment = {**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONDONTWRITEBYTECODE": "1"}
    argv = [sys.executable, str(program), str(seed), *more]
    done = subprocess.run(argv, cwd=directory, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def made(source: str) -> Any:
    """The function `f` of a script."""
    script = types.ModuleType("__main__")
    exec(compile(source, "<string>", "exec"), script.__dict__)  # noqa: S102 - the script of a test
    return script.__dict__["f"]


EQUAL = {
    "docstring": ("def f(x): return x", "def f(x):\n  'doc'\n  return x"),
    "comment": ("def f(x): return x", "# note\n\ndef f(x):\n\n  # note\n  return x"),
    "annotation": ("def f(x): return x", "def f(x: int) -> int: return x"),
    "name": ("def g(x): return x\nf = g", "def f(x): return x"),
    "unused global": ("a = 1\ndef f(x): return x", "a = 2\ndef f(x): return x"),
    "order of definitions": ("a = 1\nb = 2\ndef f(x): return a, b", "b = 2\na = 1\ndef f(x): return a, b"),
    "docstring of a method": (
        "class A:\n  def m(self): pass\ndef f(x): return A",
        "class A:\n  'doc'\n  def m(self):\n    'doc'\ndef f(x): return A",
    ),
    "docstring of a local class": (
        "def f(x):\n  class A:\n    y = 1\n  return A",
        "def f(x):\n  class A:\n    'doc'\n\n    y = 1\n  return A",
    ),
    "order of methods": (
        "class A:\n  def m(self): return 1\n  def n(self): return 2\ndef f(x): return A",
        "class A:\n  def n(self): return 2\n  def m(self): return 1\ndef f(x): return A",
    ),
}
DIFFERENT = {
    "constant": ("def f(x): return x + 1", "def f(x): return x + 2"),
    "type of a constant": ("def f(x): return x + 1", "def f(x): return x + 1.0"),
    "sign of zero": ("def f(x): return 0.0", "def f(x): return -0.0"),
    "boolean": ("def f(x): return 1", "def f(x): return True"),
    "operator": ("def f(x): return x + 1", "def f(x): return x - 1"),
    "attribute": ("def f(x): return x.a", "def f(x): return x.b"),
    "default": ("def f(x=1): return x", "def f(x=2): return x"),
    "keyword default": ("def f(*, x=1): return x", "def f(*, x=2): return x"),
    "global": ("a = 1\ndef f(x): return a", "a = 2\ndef f(x): return a"),
    "global made missing": ("a = 1\ndef f(x): return a", "def f(x): return a"),
    "builtin shadowed": ("def f(x): return len(x)", "def len(x): return 3\ndef f(x): return len(x)"),
    "helper": ("def g(x): return 1\ndef f(x): return g(x)", "def g(x): return 2\ndef f(x): return g(x)"),
    "helper of a helper": (
        "def h(): return 1\ndef g(): return h()\ndef f(x): return g()",
        "def h(): return 2\ndef g(): return h()\ndef f(x): return g()",
    ),
    "global of a nested function": (
        "a = 1\ndef f(x): return [a for _ in x], lambda: a",
        "a = 2\ndef f(x): return [a for _ in x], lambda: a",
    ),
    "closure": (
        "def make(n):\n  return lambda x: x + n\nf = make(1)",
        "def make(n):\n  return lambda x: x + n\nf = make(2)",
    ),
    "method": (
        "class A:\n  def m(self): return 1\ndef f(x): return A().m()",
        "class A:\n  def m(self): return 2\ndef f(x): return A().m()",
    ),
    "inherited method": (
        "class B:\n  def m(self): return 1\nclass A(B): pass\ndef f(x): return A().m()",
        "class B:\n  def m(self): return 2\nclass A(B): pass\ndef f(x): return A().m()",
    ),
    "class attribute": ("class A: n = 1\ndef f(x): return A.n", "class A: n = 2\ndef f(x): return A.n"),
    "field default": (
        "from dataclasses import dataclass\n@dataclass\nclass A:\n  n: int = 1\ndef f(x): return A()",
        "from dataclasses import dataclass\n@dataclass\nclass A:\n  n: int = 2\ndef f(x): return A()",
    ),
    "method of a data class": (
        "import dataclasses as d\n@d.dataclass\nclass A:\n  def __lt__(self, o): return 1\ndef f(x): return A",
        "import dataclasses as d\n@d.dataclass\nclass A:\n  def __lt__(self, o): return 2\ndef f(x): return A",
    ),
    "state of a singleton": (
        "class A:\n  def __reduce__(self): return 'a'\na = A()\na.n = 1\ndef f(x): return a",
        "class A:\n  def __reduce__(self): return 'a'\na = A()\na.n = 2\ndef f(x): return a",
    ),
    "member": (
        "from enum import Enum\nclass A(Enum):\n  n = 1\ndef f(x): return A.n",
        "from enum import Enum\nclass A(Enum):\n  n = 2\ndef f(x): return A.n",
    ),
    "attribute of a function": (
        "def f(x): return f.n\nf.n = 1",
        "def f(x): return f.n\nf.n = 2",
    ),
    "decorator": (
        "def d(g): return lambda x: g(x)\n@d\ndef f(x): return 1",
        "def d(g): return lambda x: g(x)\n@d\ndef f(x): return 2",
    ),
    "cached helper": (
        "import functools\n@functools.cache\ndef g(): return 1\ndef f(x): return g()",
        "import functools\n@functools.cache\ndef g(): return 2\ndef f(x): return g()",
    ),
    "partial": (
        "import functools\ndef g(a, x): return a\nf = functools.partial(g, 1)",
        "import functools\ndef g(a, x): return a\nf = functools.partial(g, 2)",
    ),
    "order of a dictionary": (
        "a = {1: 1, 2: 2}\ndef f(x): return list(a)",
        "a = {2: 2, 1: 1}\ndef f(x): return list(a)",
    ),
    "mutual recursion": (
        "def f(n): return n and g(n - 1)\ndef g(n): return n + 1 and f(n)",
        "def f(n): return n and g(n - 1)\ndef g(n): return n + 2 and f(n)",
    ),
    "handler": (
        "def f(x):\n  try: return x()\n  except ValueError: return 1",
        "def f(x):\n  try: return x()\n  except TypeError: return 1",
    ),
    "name of a keyword argument": ("def f(x): return x(a=1)", "def f(x): return x(b=1)"),
    "imported name": (
        "def f(x):\n  from math import sin\n  return sin(x)",
        "def f(x):\n  from math import cos\n  return cos(x)",
    ),
}


@pytest.mark.parametrize("name", EQUAL)
def test_text_that_does_nothing_does_not_count(name: str) -> None:
    before, after = map(made, EQUAL[name])
    assert digest(before) == digest(after)


@pytest.mark.parametrize("name", DIFFERENT)
def test_code_and_what_it_uses_count(name: str) -> None:
    before, after = map(made, DIFFERENT[name])
    assert digest(before) != digest(after)


def test_a_cache_and_a_cached_class_do_not_count() -> None:
    f = made("import functools\n@functools.cache\ndef f(x): return x")
    before = digest(f)
    f(1)
    assert digest(f) == before


class Holder:
    def __init__(self, value: object) -> None:
        self.value = value


def iterator() -> Iterator[int]:
    yield 1


SAME: dict[str, tuple[object, object]] = {
    "order of memory": (np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(6.0).reshape(2, 3))),
    "slice of an array": (np.arange(3), np.arange(6)[:3]),
    "copy of a data type": (np.dtype([("a", "i4")]), np.dtype([("a", "i4")])),
    "equal texts that are other objects": (["ab", "ab"], ["ab", "".join("ab")]),
    "equal numbers of numpy": ([np.int64(10)] * 2, [np.int64(10), np.int64(10)]),
    "order of a set": ({1, 2, 3}, {3, 2, 1}),
    "order of attributes": (Holder(1), Holder(1)),
}
OTHER: list[tuple[object, object]] = [
    (1, True),
    (1, 1.0),
    (True, 1.0),
    ("1", 1),
    ("a", b"a"),
    ((1, 2), [1, 2]),
    ({1}, frozenset({1})),
    ([["a"], "b"], [["a", "b"]]),
    (["ab"], ["a", "b"]),
    ({1: 2}, [(1, 2)]),
    ({1: 2, 3: 4}, {3: 4, 1: 2}),
    (0.0, -0.0),
    (np.zeros(2), np.zeros((2, 1))),
    (np.zeros(2), np.zeros(2, "f4")),
    (np.zeros(2), [0.0, 0.0]),
    (np.array([1], "<i4"), np.array([1], ">i4")),
    (Holder(1), Holder(2)),
    ([[1]] * 2, [[1], [1]]),  # a task that changes the first list changes the second one, too
    (None, ()),
]


@pytest.mark.parametrize("name", SAME)
def test_equal_values_have_the_same_digest(name: str) -> None:
    first, second = SAME[name]
    assert digest(first) == digest(second)


@pytest.mark.parametrize(("first", "second"), OTHER)
def test_different_values_have_different_digests(first: object, second: object) -> None:
    assert digest(first) != digest(second)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"net": Holder([iterator()])}, r"x\['net'\]\.value\[0\]"),
        ([1, iterator()], r"x\[1\]"),
        (made("import sys\nout = (n for n in ())\ndef f(x): return out"), r"x, its global variable out"),
        (made("def make(n):\n  return lambda: n\nf = make((n for n in ()))"), r"x, its variable n"),
    ],
)
def test_a_value_without_a_form_is_named_by_its_path(value: object, path: str) -> None:
    with pytest.raises(NotReusable, match=rf"^{path}.* has no digest that is the same in every process"):
        digest(value)


def test_a_value_that_is_nested_too_deeply_is_refused() -> None:
    value: list[Any] = []
    for _ in range(sys.getrecursionlimit()):
        value = [value]
    with pytest.raises(NotReusable, match="x is nested too deeply"):
        digest(value)


def test_many_functions_that_call_each_other_take_little_time() -> None:
    names = [f"f{number}" for number in range(60)] + ["f"]
    calls = ", ".join(f"{name}(x)" for name in names)
    assert len(digest(made("\n".join(f"def {name}(x): return {calls}" for name in names)))) == 32


def test_an_installed_module_counts_by_its_distribution() -> None:
    assert module_identity(np).startswith(f"numpy-{np.__version__}.dist-info ")
    assert module_identity(np.linalg) == module_identity(np)
    assert module_identity(json) == ""


def test_a_module_that_no_record_lists_counts_by_the_files_of_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "some_package_"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "inner" / "__init__.py").write_text("a = 1")
    (tmp_path / "some_package_-1.0.dist-info").mkdir()
    (tmp_path / "some_package_-1.0.dist-info" / "RECORD").write_text("__editable___some_package_.py,sha256=x,1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = import_identity("some_package_.inner")
    assert before
    assert before.startswith("files ")
    assert import_identity("some_package_") == before
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "x.pyc").write_text("x")
    assert import_identity("some_package_") == before
    (package / "inner" / "__init__.py").write_text("a = 22")
    assert import_identity("some_package_") != before
    assert import_identity("no_such_module_") is None
