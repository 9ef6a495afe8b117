"""Pickling calls: what goes by reference, what by value, what as a placeholder, and who is to blame."""

from __future__ import annotations

import importlib
import json
import pickle
import pickletools
import subprocess
import sys
import threading
import types
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from slurm.errors import NotPicklable
from slurm.protocol import CALLS, LOAD, SCRIPT
from slurm.runner.argument_loader import ArgumentLoader
from slurm.serialization import installed
from slurm.serialization.calls import Calls, packed, unpacked
from slurm.serialization.sharing import LEAST_BYTES
from slurm.storage.new_submission import NewSubmission
from unit.job_directories import Directory, Stand, asked, pickled, run_on_a_node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from slurm.serialization.pickling import Pickled

UP = "up/20260101T000000Z-11111111"


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    return Directory(str(tmp_path / "root"))


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """The working directory of a node, where none of the user's modules lie."""
    place = tmp_path / "node"
    place.mkdir()
    return place


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], types.ModuleType]]:
    """Writes a module where only this process finds it, and imports it."""
    place = tmp_path / "modules"
    place.mkdir()
    monkeypatch.syspath_prepend(str(place))
    made = []

    def make(name: str, source: str) -> types.ModuleType:
        (place / f"{name}.py").write_text(source)
        made.append(name)
        return importlib.import_module(name)

    yield make
    for name in made:
        del sys.modules[name]


def words(calls: Pickled) -> set[object]:
    """The texts in the function's pickle."""
    head = calls.calls.data[unpacked(calls.calls.offsets)[0] :]
    return {argument for _, argument, _ in pickletools.genops(head) if isinstance(argument, str)}


# By reference and by value


def test_a_function_of_an_installed_module_goes_by_reference(directory: Directory, node: Path) -> None:
    calls = pickled(json.dumps, ({"a": 1},))
    assert words(calls) >= {"json", "dumps"}
    assert len(calls.calls) < 100
    assert run_on_a_node(directory.create(calls), node).returncode == 0
    assert directory.result() == '{"a": 1}'


LOOSE = """
import json as reader
from dataclasses import dataclass
FACTOR = 2

@dataclass
class Point:
    x: int

def scaled(x):
    return Point(FACTOR * x)

def read(text):
    return [scaled(x) for x in reader.loads(text)]
"""


def test_a_loose_module_goes_by_value_as_it_is_now(
    directory: Directory, node: Path, modules: Callable[[str, str], types.ModuleType]
) -> None:
    loose = modules("loose_shapes", LOOSE)
    loose.__dict__["FACTOR"] = 21
    done = run_on_a_node(directory.create(pickled(loose.read, ("[1, 2]",))), node)
    assert (done.returncode, done.stderr) == (0, "")
    assert [point.x for point in directory.result()] == [21, 42]
    there = subprocess.run([sys.executable, "-c", "import loose_shapes"], cwd=node, capture_output=True, check=False)
    assert b"No module named 'loose_shapes'" in there.stderr


def test_pickling_leaves_loose_modules_as_they_were(modules: Callable[[str, str], types.ModuleType]) -> None:
    import cloudpickle

    before = cloudpickle.list_registry_pickle_by_value()
    loose = modules("loose_again", LOOSE)
    pickled(loose.read, ("[]",))
    with pytest.raises(NotPicklable):
        pickled(loose.read, (threading.Lock(),))
    assert cloudpickle.list_registry_pickle_by_value() == before


TASKS = """
import functools
from slurm import task

@task(mem="1G")
def double(x):
    return 2 * x

@task
def twice(x, f):
    return f.unwrapped(f.unwrapped(x))

@task
@functools.cache
def triple(x):
    return 3 * x
"""


@pytest.fixture
def installed_tasks(
    modules: Callable[[str, str], types.ModuleType], monkeypatch: pytest.MonkeyPatch
) -> Iterator[types.ModuleType]:
    """A module of tasks, installed by an editable install: a finder, whose module says in MAPPING where things lie."""
    module = modules("installed_tasks", TASKS)
    assert module.__file__ is not None
    finders = types.ModuleType("__editable___installed_tasks_finder")
    exec("class Finder:\n    find_spec = staticmethod(lambda *_: None)", finders.__dict__)  # noqa: S102
    finders.MAPPING = {"installed_tasks": module.__file__}  # type: ignore[attr-defined]
    finders.Finder.__module__ = finders.__name__
    monkeypatch.setitem(sys.modules, finders.__name__, finders)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, finders.Finder])
    for cached in (installed._installed_directories, installed.in_installed_directory):
        cached.cache_clear()
    finder = finders.Finder()
    sys.meta_path.append(finder)
    yield module
    for cached in (installed._installed_directories, installed.in_installed_directory):
        cached.cache_clear()


def test_the_function_under_a_task_of_an_installed_module_goes_by_the_tasks_name(
    directory: Directory, node: Path, installed_tasks: types.ModuleType
) -> None:
    calls = pickled(installed_tasks.twice.unwrapped, (3, installed_tasks.double))
    assert words(calls) >= {"installed_tasks", "twice", "unwrapped"}
    directory.create(calls)
    assert installed_tasks.__file__ is not None
    place = installed_tasks.__file__.rpartition("/")[0]
    done = run_on_a_node(directory, node, environ={"PYTHONPATH": place})
    assert (done.returncode, directory.result()) == (0, 12)


def test_a_cached_function_under_a_task_of_an_installed_module_goes_by_the_tasks_name(
    installed_tasks: types.ModuleType,
) -> None:
    calls = pickled(installed_tasks.triple.unwrapped, (3,))
    assert words(calls) >= {"installed_tasks", "triple", "unwrapped"}


def test_where_the_module_is_not_installed_its_tasks_do_not_load(
    directory: Directory, node: Path, installed_tasks: types.ModuleType
) -> None:
    directory.create(pickled(installed_tasks.double.unwrapped, (3,)))
    assert installed_tasks.__file__ is not None
    Path(installed_tasks.__file__).unlink()  # the node finds what lies beside the client's modules
    done = run_on_a_node(directory, node)
    assert (done.returncode, directory.outcome().phase) == (1, LOAD)
    assert "No module named 'installed_tasks'" in done.stderr


# Objects that calls share


class Layered:
    def __init__(self, layer: object) -> None:
        self.layer = layer


def loaded(directory: Directory, calls: Pickled, *, count: int) -> list[tuple[Any, ...]]:
    """The arguments of calls as one process of an element loads them."""
    loader = ArgumentLoader(directory.create(calls).path, lambda reference: reference)
    return [load().args for load in loader.load_many(0, count)]


def test_a_large_object_that_calls_share_is_pickled_and_loaded_once(directory: Directory) -> None:
    shared = {"layer": ["weights"], "data": bytes(LEAST_BYTES)}
    calls = pickled(nothing, *((number, shared, Layered(shared["layer"]), [shared]) for number in range(20)))
    assert len(calls.calls.data) < 2 * LEAST_BYTES
    first, *others = loaded(directory, calls, count=20)
    assert (first[0], first[1]) == (0, shared)
    for args in others:
        assert args[1] is args[3][0] is first[1]
        assert args[2].layer is args[1]["layer"]


def test_a_large_text_that_calls_share_is_pickled_once(directory: Directory) -> None:
    shared = "ü" * LEAST_BYTES
    calls = pickled(nothing, *((number, shared, "own") for number in range(20)))
    assert len(calls.calls.data) < 3 * LEAST_BYTES
    assert loaded(directory, calls, count=20) == [(number, shared, "own") for number in range(20)]


def test_a_map_over_numbers_and_texts_takes_few_steps_in_python(directory: Directory) -> None:
    """The arguments of each call in a plain pickle: 100 000 calls of a pool are sent in less than a second."""
    arguments = [(number, "text") for number in range(1000)]
    steps = 0

    def count(frame: types.FrameType, event: str, argument: object) -> None:
        nonlocal steps
        steps += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        calls = pickled(nothing, *arguments)
    finally:
        sys.setprofile(before)
    assert steps < 15 * len(arguments)
    assert loaded(directory, calls, count=len(arguments)) == arguments


def test_a_class_is_pickled_once_for_all_calls_of_a_map(directory: Directory) -> None:
    one, several = (pickled(nothing, *((Layered(number),) for number in range(count))) for count in (2, 40))
    more = len(several.calls.data) - len(one.calls.data)
    assert more < 38 * 100  # the class alone takes over 1000 bytes
    made = [args[0] for args in loaded(directory, several, count=40)]
    assert [each.layer for each in made] == list(range(40))
    assert len({type(each) for each in made}) == 1


def test_objects_that_refer_to_each_other_stay_connected(directory: Directory) -> None:
    layer = bytearray(LEAST_BYTES)
    model, optimizer = Layered(layer), [bytes(LEAST_BYTES), layer]
    calls = pickled(nothing, *((model, optimizer, number) for number in range(3)))
    for args in loaded(directory, calls, count=3):
        assert args[0].layer is args[1][1]


def test_an_element_loads_only_the_objects_of_its_own_calls(directory: Directory) -> None:
    one, other = [bytes(LEAST_BYTES), "one"], [bytes(LEAST_BYTES), "other"]
    calls = pickled(nothing, (one,), (one,), (other,), (other,))
    directory.create(calls)
    garbled = bytearray(calls.calls.data)
    begin = garbled.index(b"other") - LEAST_BYTES // 2
    garbled[begin : begin + 100] = b"\xff" * 100
    with open(f"{directory.path}/{CALLS}", "wb") as file:
        file.write(garbled)
    loader = ArgumentLoader(directory.path, lambda reference: reference)
    assert loader.load(1).args == (one,)
    assert loader.load(2).args != (other,)


def test_small_objects_are_not_shared_by_calls_of_one_element(directory: Directory) -> None:
    settings = {"rate": 1}
    first, second = loaded(directory, pickled(nothing, (settings,), (settings,)), count=2)
    assert first[0] == second[0] == settings
    assert first[0] is not second[0]


def test_placeholders_in_a_large_object_are_those_of_each_call(directory: Directory) -> None:
    stand = Stand(UP, 3)
    shared = [bytes(LEAST_BYTES), stand]
    calls = pickled(nothing, (shared,), (shared,))
    assert calls.references == (frozenset({stand.reference}), frozenset({stand.reference}))
    assert [args[0][1] for args in loaded(directory, calls, count=2)] == [("job", UP, 3, 1)] * 2


def test_resubmitted_calls_have_their_shared_objects(directory: Directory) -> None:
    shared = [bytes(LEAST_BYTES), "shared"]
    directory.create(pickled(nothing, *((number, shared) for number in range(5))))
    again = Directory(directory.root, "again/20260101T000000Z-00000000")
    again.store.create(NewSubmission(asked(again.key), directory.store.calls(directory.key, [3]), {SCRIPT: ""}))
    assert ArgumentLoader(again.path, lambda reference: reference).load(0).args == (3, shared)


@pytest.mark.parametrize("more", [(), (True,)], ids=["task", "workflow"])
def test_calls_of_earlier_versions_load(directory: Directory, more: tuple[bool, ...]) -> None:
    head, call = pickle.dumps((len, None, (), *more)), pickle.dumps((([1, 2],), {}))
    calls = Calls(head + call, packed([0, len(head), len(head) + len(call)]))
    directory.store.create(NewSubmission(asked(directory.key), calls, {SCRIPT: ""}))
    loaded = ArgumentLoader(directory.path, lambda reference: reference).load(0)
    assert (loaded.make(None), loaded.workflow) == (2, bool(more))


# Placeholders


class Pair(NamedTuple):
    left: Any
    right: Any


@dataclass
class Box:
    inside: Any


def nothing(*args: Any, **kwargs: Any) -> None:
    del args, kwargs


@pytest.mark.parametrize(
    "wrap",
    [
        lambda stand: stand,
        lambda stand: [1, [stand]],
        lambda stand: {"a": {"b": stand}},
        lambda stand: Box(Box(stand)),
        lambda stand: Pair(1, Pair(stand, 2)),
        lambda stand: (stand, stand),
        lambda stand: lambda: stand,
        lambda stand: {"deep": [Box(Pair(lambda: stand, None))]},
    ],
    ids=["bare", "list", "dict", "dataclass", "namedtuple", "twice", "closure", "all of them"],
)
def test_a_placeholder_is_found_and_replaced_at_any_depth(directory: Directory, wrap: Callable[[Any], Any]) -> None:
    stand = Stand(UP, 3)
    calls = pickled(nothing, (wrap(stand),), ("plain",))
    assert calls.references == (frozenset({stand.reference}), frozenset())
    asked = []

    def resolve(reference: object) -> str:
        asked.append(reference)
        return "result"

    call = ArgumentLoader(directory.create(calls).path, resolve).load(0)
    assert set(asked) == {("job", UP, 3, 1)}
    assert _plain(call.args[0]) == _plain(wrap("result"))


def _plain(value: Any) -> Any:
    """A value with its functions called and its boxes opened, to compare."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Box) or type(value).__name__ == "Box":
        return _plain(value.inside)
    return _plain(value()) if callable(value) else value


def test_what_the_function_itself_refers_to_every_call_waits_for(directory: Directory) -> None:
    shared, own = Stand(UP, (0, 4, 2)), Stand(UP, 7)
    calls = pickled(lambda x: (x, shared), (1,), (own,))
    assert calls.references == (frozenset({shared.reference}), frozenset({shared.reference, own.reference}))
    assert [list(reference.indices) for reference in calls.references[0]] == [[0, 2]]


# The culprit


class Model:
    def __init__(self) -> None:
        self.name = "net"
        self.lock = threading.Lock()


def fit(model: Any, rate: float = 0.1) -> None:
    del model, rate


LOCK = "_thread.lock"


@pytest.mark.parametrize(
    ("argument", "culprit"),
    [
        (threading.Lock(), f"argument model of fit ({LOCK})"),
        ({"net": Model()}, f"argument model of fit['net'].lock ({LOCK})"),
        ([1, (2, Box(threading.Lock()))], f"argument model of fit[1][1].inside ({LOCK})"),
    ],
    ids=["itself", "attribute", "deep"],
)
def test_the_part_that_cannot_be_pickled_is_named(argument: object, culprit: str) -> None:
    with pytest.raises(NotPicklable) as caught:
        pickled(fit, (argument,))
    words = (
        f"{culprit} cannot be pickled: TypeError: cannot pickle '{LOCK}' object. Processes cannot share it. Create it"
    )
    assert str(caught.value).startswith(words)
    assert isinstance(caught.value.__context__, TypeError)


def test_of_several_arguments_the_right_one_is_named() -> None:
    with pytest.raises(NotPicklable, match=r"^argument rate of fit "):
        pickled(fit, (1,), (1, threading.Lock()))
    with pytest.raises(NotPicklable, match=r"^argument rate of fit "):
        pickled(fit, (1,), kwargs={"rate": threading.Lock()})
    with pytest.raises(NotPicklable, match=r"^argument 2 of nothing "):
        pickled(nothing, (1, 2, threading.Lock()))


def test_what_a_function_closes_over_is_named() -> None:
    lock = threading.Lock()

    def locked() -> object:
        return lock

    with pytest.raises(NotPicklable, match=r"^the function locked, its variable lock \(_thread.lock\) cannot be"):
        pickled(locked, ())


def test_whatever_a_users_reduce_raises_is_the_cause() -> None:
    class Shy:
        def __reduce__(self) -> Any:
            raise ZeroDivisionError("not me")

    with pytest.raises(NotPicklable, match=r"\.Shy\) cannot be pickled: ZeroDivisionError: not me"):
        pickled(fit, (Shy(),))


def test_what_contains_itself_is_searched_once() -> None:
    knot: list[Any] = [threading.Lock()]
    knot.insert(0, knot)
    with pytest.raises(NotPicklable, match=r"argument model of fit\[1\] "):
        pickled(fit, (knot,))


def test_an_argument_of_many_is_not_called_by_another_parameters_name() -> None:
    def many(*xs: Any, scale: int = 1) -> None:
        del xs, scale

    with pytest.raises(NotPicklable, match=r"^argument 1 of many "):
        pickled(many, (1, threading.Lock()), kwargs={"scale": 5})


def test_an_argument_that_is_nested_too_deeply_is_named() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(
        NotPicklable, match=r"^argument rate of fit is nested too deeply to be pickled. Send it in a flat"
    ):
        pickled(fit, (1, deep))


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (lambda: (number for number in range(3)), "Send a list of its values"),
        (lambda: open(1, "wb", closefd=False), "Send the path, and open the file in the task"),  # noqa: SIM115
        (threading.local, "Processes cannot share it"),
        (lambda: ContextVar("level"), "Processes cannot share it"),
    ],
    ids=["generator", "file", "thread-local", "context variable"],
)
def test_the_error_says_what_to_do(make: Callable[[], object], advice: str) -> None:
    with pytest.raises(NotPicklable, match=rf"^argument model of fit .* cannot be pickled: .*{advice}"):
        pickled(fit, (make(),))


def test_an_object_that_is_pickled_by_the_name_of_a_variable_that_is_gone_is_named() -> None:
    class Missing:
        def __reduce__(self) -> str:
            return "MISSING"

    with pytest.raises(NotPicklable, match=r"Missing\) cannot be pickled: .* by its name MISSING.* member of an Enum$"):
        pickled(fit, (Missing(),))


def test_a_lock_of_an_installed_module_goes_by_its_name(
    directory: Directory, node: Path, modules: Callable[[str, str], types.ModuleType]
) -> None:
    source = "from logging import _lock\n\ndef same():\n    import logging\n    return _lock is logging._lock\n"
    calls = pickled(modules("loose_lock", source).same, ())
    assert (run_on_a_node(directory.create(calls), node).returncode, directory.result()) == (0, True)


def test_a_variable_that_has_no_value_yet_does_not_hide_the_culprit() -> None:
    def outer(*, assign: bool) -> Callable[[], object]:
        lock = threading.Lock()
        if assign:
            later = 1
        return lambda: (later, lock)

    with pytest.raises(NotPicklable):
        pickled(outer(assign=False), ())
