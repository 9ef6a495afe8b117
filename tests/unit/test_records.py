"""Records: frozen values that are stored as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm.protocol import ResolvedEnvironment
from slurm.protocol.records import Record, encode
from unit.strategies import CHARACTERS, TEXT

if TYPE_CHECKING:
    from collections.abc import Mapping


class Leaf(Record):
    name: str
    size: int = 0


class Tree(Record):
    facts: Mapping[str, Any]
    leaf: Leaf | None = None
    leaves: tuple[Leaf, ...] = ()
    numbers: tuple[float, ...] = ()

    _nested: ClassVar[Mapping[str, type[Record]]] = {"leaf": Leaf, "leaves": Leaf}


class TallTree(Tree):
    height: float = 1.0


NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=10,
)
LEAVES = st.builds(Leaf, name=TEXT, size=st.integers())
TREES = st.builds(
    TallTree,
    facts=st.dictionaries(TEXT, PLAIN),
    leaf=st.none() | LEAVES,
    leaves=st.lists(LEAVES).map(tuple),
    numbers=st.lists(NUMBERS).map(tuple),
    height=NUMBERS,
)


@given(TREES)
def test_a_record_survives_encoding_as_json(tree: TallTree) -> None:
    assert TallTree.from_json(json.loads(encode(tree.to_json()))) == tree


@given(TREES, st.dictionaries(st.text(CHARACTERS, min_size=12), PLAIN))
def test_fields_that_a_later_version_added_are_ignored(tree: TallTree, unknown: dict[str, Any]) -> None:
    assert TallTree.from_json({**unknown, **tree.to_json()}) == tree


@given(
    PLAIN
    | st.sampled_from([float("inf"), -float("inf")])
    | st.lists(st.text(alphabet='"\\\n\x00\x7fé\u2028\U0001f600/'))
)
def test_encode_writes_what_json_reads(value: Any) -> None:
    assert json.loads(encode(value)) == value


def test_a_record_is_frozen() -> None:
    leaf = Leaf(name="a")
    with pytest.raises(AttributeError, match=r"frozen: use replace\(size=…\)"):
        leaf.size = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match="frozen"):
        del leaf.name
    assert (leaf, leaf.replace(size=2)) == (Leaf(name="a", size=0), Leaf(name="a", size=2))


def test_records_are_equal_if_type_and_fields_are() -> None:
    assert Leaf(name="a") == Leaf(name="a", size=0)
    assert Leaf(name="a") != Leaf(name="b")
    assert Tree(facts={}) != TallTree(facts={})
    assert len({Leaf(name="a"), Leaf(name="a"), Leaf(name="b")}) == 2


def test_equal_records_have_equal_hashes() -> None:
    one, other = Tree(facts={"a": 1, "b": 2}), Tree(facts={"b": 2, "a": 1})
    assert one == other
    assert hash(one) == hash(other)


def test_a_record_accepts_only_its_fields_and_requires_those_without_a_default() -> None:
    with pytest.raises(TypeError, match="Leaf needs name"):
        Leaf(size=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="Leaf has no field colour"):
        Leaf(name="a", colour="red")  # type: ignore[call-arg]


def test_unset_fields_are_omitted_from_the_json() -> None:
    assert ResolvedEnvironment(key="k", python="/p", tag="3.11").to_json() == {
        "key": "k",
        "python": "/p",
        "tag": "3.11",
        "setup": [],
        "launch": [],
        "packages": [],
        "modules": [],
    }
    assert "leaf" not in Tree(facts={}).to_json()
