"""Slurm's compressed host lists."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm.runner.nodelist import expand
from testbed import SlurmTestbed
from unit.strategies import matching

FORMS = {
    "n1": "n1",
    "n[1-2]": "n1 n2",
    "n[1-3,5],login": "n1 n2 n3 n5 login",
    "a[08-11]": "a08 a09 a10 a11",
    "r[0-1]n[1-2]": "r0n1 r0n2 r1n1 r1n2",
    "cn-a[001,003],cn-b7,io.site.org": "cn-a001 cn-a003 cn-b7 io.site.org",
    "x[9-10]": "x9 x10",
}


@pytest.mark.parametrize("text", FORMS)
def test_each_form_expands_to_its_names(text: str) -> None:
    assert " ".join(expand(text)) == FORMS[text]


@pytest.mark.slurm
def test_names_are_expanded_as_scontrol_does(slurm_env: SlurmTestbed) -> None:
    for text in FORMS:
        assert slurm_env.run("scontrol", "show", "hostnames", text).stdout.split() == list(expand(text))


prefixes = matching(r"[a-z][a-z-]{0,5}")
spans = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 30)), min_size=1, max_size=4)
parts = st.lists(st.tuples(prefixes, st.none() | st.tuples(spans, st.integers(1, 5))), min_size=1, max_size=5)


@given(parts)
def test_compressed_names_are_expanded_again(
    nodes: list[tuple[str, tuple[list[tuple[int, int]], int] | None]],
) -> None:
    text, names = [], []
    for prefix, numbered in nodes:
        if numbered is None:
            text.append(prefix)
            names.append(prefix)
            continue
        spans, width = numbered
        ranges = [f"{low:0{width}}-{low + more:0{width}}" if more else f"{low:0{width}}" for low, more in spans]
        text.append(f"{prefix}[{','.join(ranges)}]")
        names += [f"{prefix}{low + i:0{width}}" for low, more in spans for i in range(more + 1)]
    assert list(expand(",".join(text))) == names
