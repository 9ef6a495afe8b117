"""Errors of the library name Python calls; on the command line they name commands and options."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import slurm
from slurm.cli.output import show_error
from slurm.cli.shell_advice import ADVICE, for_a_shell
from slurm.errors import ConfigurationError
from slurm.procedures.procedure import HOW_TO_START

if TYPE_CHECKING:
    from collections.abc import Iterator


def texts(path: Path) -> Iterator[str]:
    """The texts of a module. A field of an f-string is `x`, and a field with !r is 'x'."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "'x'" if _quoted(part) else "x"
                for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _quoted(part: ast.expr) -> bool:
    return isinstance(part, ast.FormattedValue) and part.conversion == ord("r")


@pytest.fixture(scope="module")
def messages() -> str:
    """All texts of the library, without those of the command itself."""
    top = Path(slurm.__file__).parent
    paths = [path for path in top.rglob("*.py") if "cli" not in path.relative_to(top).parts]
    found = "\n".join(text for path in paths for text in texts(path))
    return f"{found}\nprocedure 2 is STARTING, not READY. {HOW_TO_START}"


@pytest.mark.parametrize("python", ADVICE)
def test_each_advice_is_in_a_message_of_the_library(python: str, messages: str) -> None:
    assert re.search(python, messages)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "such as {'x': 1}: add them with Sweep.open('two', task).extend(space), or choose another name",
            "such as {'x': 1}: add them with `slurm sweep extend two FILE`, or choose another name with --name",
        ),
        (
            "3 of 4 points were computed by other code: redo='changed' computes them again",
            "3 of 4 points were computed by other code: --redo changed computes them again",
        ),
        (
            'procedure 2 is STARTING, not READY. Call wait("READY") first, or start(…, force_start=True)',
            "procedure 2 is STARTING, not READY. Wait until `slurm script show 2` shows READY, or add --force",
        ),
        ("complete(failed=True) submits it again", "`slurm sweep complete NAME --failed` submits it again"),
        ("the function complete() of a user", "the function complete() of a user"),
    ],
)  # fmt: skip
def test_python_calls_become_commands(message: str, expected: str) -> None:
    assert for_a_shell(message) == expected


def test_a_known_name_is_in_the_command() -> None:
    assert for_a_shell("it was never submitted: complete() submits it", "my sweep") == (
        "it was never submitted: `slurm sweep complete 'my sweep'` submits it"
    )


def test_an_error_is_shown_with_the_words_of_a_shell(capsys: pytest.CaptureFixture[str]) -> None:
    show_error(ConfigurationError("the sweep 'two' has no points yet: run(on=…) writes them"))
    assert capsys.readouterr().err == (
        "error: the sweep 'two' has no points yet: `slurm sweep run FILE --name two` writes them\n"
    )
