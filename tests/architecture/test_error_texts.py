"""The texts of `slurm explain ERROR`, and the page of errors: all classes, and nothing that does not exist."""

from __future__ import annotations

import inspect
import re
import shlex
from typing import Any

import click
import pytest

import slurm
from errors_page import PAGE, page
from slurm import errors, procedures, sweeps, tools
from slurm.cli.error_texts import error_class, explained_error, sections
from slurm.cli.main import slurm as command
from slurm.options import OURS, SBATCH

SPANS = [(name, span) for name, body in sections().items() for span in re.findall(r"`([^`…]+)`", body)]
"""The code in the texts, each with the name of its error."""


def spans(pattern: str) -> list[tuple[str, str]]:
    """The code that begins with a pattern."""
    found = sorted({(name, span) for name, span in SPANS if re.match(pattern, span)})
    assert found
    return found


def public() -> set[str]:
    """The names of all error classes that users can import."""
    found = {
        name for name, kind in vars(errors).items() if isinstance(kind, type) and kind.__module__ == errors.__name__
    }
    for module in (procedures, sweeps, tools):
        found |= {
            name
            for name in module.__all__
            if inspect.isclass(kind := getattr(module, name)) and issubclass(kind, errors.SlurmError)
        }
    return found


def test_each_public_error_has_a_text() -> None:
    assert set(sections()) == public()
    assert len(public()) >= 50


@pytest.mark.parametrize("name", sections())
def test_a_text_has_causes_and_cures_and_is_short(name: str) -> None:
    lines = explained_error(name)
    causes, cures = lines.index("Common causes:"), lines.index("What to do:")
    assert 0 < causes < cures - 1 < len(lines) - 2
    assert all(line.startswith("  - ") for line in [*lines[causes + 1 : cures], *lines[cures + 1 :]])
    assert len(lines) <= 15
    assert lines[0].startswith(f"{name}: ")
    assert len(lines[0]) > len(name) + 10
    assert issubclass(error_class(name), errors.SlurmError)


def test_the_page_is_made_of_the_texts() -> None:
    assert PAGE.read_text() == page(), "run: python tests/errors_page.py"


@pytest.mark.parametrize(("name", "span"), spans("slurm "))
def test_commands_in_a_text_exist_with_their_options(name: str, span: str) -> None:
    del name
    _, *words = shlex.split(span)
    found: click.Command = command
    with click.Context(command) as ctx:
        while isinstance(found, click.Group):
            inner = found.get_command(ctx, words.pop(0))
            assert inner is not None
            found = inner
    found.make_parser(click.Context(found)).parse_args(words)


@pytest.mark.parametrize(("name", "span"), spans(r"@task\(|Cluster\("))
def test_code_in_a_text_runs(name: str, span: str) -> None:
    del name
    names: dict[str, Any] = {each: getattr(slurm, each) for each in slurm.__all__} | {"url": "local"}
    exec(f"{span}\ndef function(): ..." if span.startswith("@") else span, names)  # noqa: S102 - our own text


@pytest.mark.parametrize(("name", "span"), spans(r"error\.[a-z]"))
def test_attributes_in_a_text_exist(name: str, span: str) -> None:
    parameters = inspect.signature(error_class(name)).parameters.values()
    needed = {each.name: "" for each in parameters if each.kind is each.KEYWORD_ONLY and each.default is each.empty}
    assert hasattr(error_class(name)("message", **needed), span.removeprefix("error."))


@pytest.mark.parametrize(("name", "span"), spans(r"cluster\.pool\("))
def test_options_of_pools_in_a_text_exist(name: str, span: str) -> None:
    del name
    known = {*inspect.signature(slurm.Cluster.pool).parameters, *SBATCH, *OURS}
    assert set(re.findall(r"(\w+)=", span)) <= known
