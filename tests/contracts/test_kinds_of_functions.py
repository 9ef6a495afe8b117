"""Functions as people write them arrive as they are, in a fresh interpreter of each Python that is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from glob import glob
from pathlib import Path

import cloudpickle
import pytest

import slurm

VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14")

# There is no `if __name__ == "__main__"`: neither the node nor its child processes run the script again.
SCRIPT = """
import contextvars
import dataclasses
import enum
import functools
import json
import multiprocessing
import pathlib
import sys
import threading
import typing
from concurrent.futures import ProcessPoolExecutor

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from app.util import double
from unit.job_directories import Directory, pickled, run_on_a_node

ROOT, RUNS, ARGUMENT = sys.argv[1:]
LOCK, CONDITION, DONE = threading.Lock(), threading.Condition(), threading.Event()
LOCAL = threading.local()
LEVEL = contextvars.ContextVar("LEVEL", default=3)
SHARED = multiprocessing.Lock()
UserId = typing.NewType("UserId", int)
P = typing.ParamSpec("P")
model = None


class Colour(enum.Enum):
    RED = "red"


class Missing:
    def __reduce__(self):
        return "MISSING"


MISSING = Missing()


@dataclasses.dataclass
class Data:
    n: int
    lock: typing.ClassVar = threading.RLock()

    @functools.cached_property
    def total(self):
        with self.lock:
            return sum(range(self.n))

    def scaled(self, by):
        return self.n * by


@functools.lru_cache(maxsize=50)
def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


fibonacci(9)


@functools.cache
def load():
    return {"weights": [1]}


@functools.singledispatch
def show(value):
    return f"any {value}"


@show.register
def _(value: int):
    return f"int {value}"


@show.register(list)
def _(value):
    return [show(item) for item in value]


def is_even(n):
    return n == 0 or is_odd(n - 1)


def is_odd(n):
    return n != 0 and is_even(n - 1)


def typed(function: "typing.Callable[P, int]", user: UserId) -> UserId:
    return UserId(function() + user)


def default(value=MISSING):
    return value is MISSING


def locked():
    with LOCK, CONDITION, SHARED:
        LOCAL.x = 5
        return LOCAL.x, DONE.is_set()


def variable():
    before = LEVEL.get()
    LEVEL.set(8)
    return before, LEVEL.get()


def set_model(value):
    global model
    model = value


def predict(data):
    return Data(data.n * model)


def in_processes(method, data, function):
    context = multiprocessing.get_context(method)
    with context.Pool(1, set_model, (10,)) as pool:
        found = [made.n for made in pool.map(predict, data)] + pool.map(double, [3])
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        found += executor.map(function, [7])
        found.append(executor.submit(in_a_grandchild, method, 1).result())
    queue = context.SimpleQueue()
    process = context.Process(target=put, args=(queue, data[0]))
    process.start()
    found.append(queue.get().n)
    process.join()
    return found


def in_a_grandchild(method, x):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as executor:
        return executor.submit(double, x).result(), __name__, __package__


def put(queue, value):
    queue.put(value)


def only_an_argument(x):
    return x + 1


def imported():
    import beside
    import app.late
    import app.util

    return beside.VALUE, beside.helper.FACTOR, app.late.VALUE, app.util.double is double, app.late.double(4)


def everything(data, function, sentinel):
    return {
        "cached": [fibonacci.cache_info().currsize, fibonacci(10), fibonacci.cache_info().maxsize],
        "loaded once": load() is load(),
        "cached property": data.total,
        "dispatched": show([1, "a"]),
        "recursive": is_even(10),
        "typed": typed(lambda: 1, UserId(2)),
        "sentinel": [default(), default(None), sentinel is MISSING],
        "locks": locked(),
        "variable": variable(),
        "partial": functools.partial(data.scaled, by=3)(),
        "enum": data.colour is Colour.RED,
        "closure": (lambda: data.n + 1)(),
        "imported": imported(),
        "arguments": sys.argv[3],
        **{method: in_processes(method, [data], function) for method in ("fork", "spawn", "forkserver")},
        "model": model,
    }


with open(RUNS, "a") as runs:
    runs.write("run\\n")
data = Data(4)
data.colour = Colour.RED
directory = Directory(ROOT).create(pickled(everything, (data, only_an_argument, MISSING)))
node = pathlib.Path(ROOT).parent / "node"
node.mkdir()
done = run_on_a_node(directory, node)
print(json.dumps(directory.result() if done.returncode == 0 else done.stderr))
"""

EXPECTED = {
    "cached": [0, 55, 50],
    "loaded once": True,
    "cached property": 6,
    "dispatched": ["int 1", "any a"],
    "recursive": True,
    "typed": 3,
    "sentinel": [True, False, True],
    "locks": [5, False],
    "variable": [3, 8],
    "partial": 12,
    "enum": True,
    "closure": 5,
    "imported": [42, 7, 5, True, 8],
    "arguments": "--flag",
    "fork": [40, 6, 8, [2, "__main__", None], 4],
    "spawn": [40, 6, 8, [2, "__mp_main__", None], 4],
    "forkserver": [40, 6, 8, [2, "__mp_main__", None], 4],
    "model": None,
}


def interpreter(version: str) -> str | None:
    """An interpreter of a version: this one, one on PATH, or one of pyenv's, whose shims may be there and not run."""
    root = os.path.expanduser(os.environ.get("PYENV_ROOT", "~/.pyenv"))
    # glob, unlike Path.glob, takes a directory of another user's as empty.
    found = [sys.executable, shutil.which(f"python{version}"), *glob(f"{root}/versions/{version}.*/bin/python")]
    for candidate in filter(None, found):
        code = "import sys; print('{}.{}'.format(*sys.version_info))"
        done = subprocess.run([candidate, "-c", code], capture_output=True, text=True, check=False)
        if done.stdout.strip() == version:
            return candidate
    return None


@pytest.mark.parametrize("version", VERSIONS)
def test_functions_as_people_write_them_arrive(tmp_path: Path, version: str) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"Python {version} is not installed here")
    for module in (slurm, cloudpickle):  # no other package: those that are compiled are of this Python
        assert module.__file__ is not None
        place = tmp_path / "site"
        place.mkdir(exist_ok=True)
        (place / module.__name__).symlink_to(Path(module.__file__).parent)
    script = tmp_path / "project" / "scripts" / "run.py"
    script.parent.mkdir(parents=True)
    script.write_text(SCRIPT)
    (script.parent / "beside.py").write_text("import helper\nVALUE = 42\n")
    package = tmp_path / "project" / "app"
    package.mkdir()
    (package.parent / "helper.py").write_text("FACTOR = 7\n")
    (package / "__init__.py").write_text("")
    (package / "util.py").write_text("FACTOR = 2\nOTHER = 5\n\ndef double(x):\n    return FACTOR * x\n")
    (package / "late.py").write_text("from .util import OTHER as VALUE, double\n")
    path = os.pathsep.join([str(tmp_path / "site"), str(Path(__file__).parents[1])])
    runs = tmp_path / "runs"
    argv = [python, str(script), str(tmp_path / "root"), str(runs), "--flag"]
    done = subprocess.run(argv, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == EXPECTED
    assert runs.read_text() == "run\n"
