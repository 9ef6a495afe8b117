"""The documentation describes everything that exists, and names nothing that does not exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from architecture.test_layers import LAYERS, modules
from slurm import protocol
from slurm.cli.main import slurm
from slurm.environments import building
from slurm.options import OURS, SBATCH, TAKEN
from slurm.protocol import outcomes
from slurm.protocol.records import Record
from slurm.tracking import attempts, workflow_journal

PROJECT = Path(__file__).parents[2]
TESTS, DOCS = PROJECT / "tests", PROJECT / "docs"
PAGES = sorted([*PROJECT.glob("*.md"), *DOCS.rglob("*.md")])

RECORDS = [
    found
    for module in (protocol, outcomes, attempts, workflow_journal, building)
    for found in vars(module).values()
    if isinstance(found, type) and issubclass(found, Record)
]
WHERE = {
    protocol.ResolvedEnvironment: "submission.json",
    protocol.Edge: "submission.json",
    building.Built: "envs/",
    protocol.Submission: "submission.json",
    protocol.Block: "submitted.json",
    protocol.Origin: "submitted.json",
    protocol.Submitted: "submitted.json",
    protocol.Refused: "refused.json",
    attempts.Continuation: "attempts/",
    workflow_journal.Child: "children/",
    outcomes.ErrorRecord: r"outcomes/\<e\>.json",
    outcomes.ResultRecord: r"outcomes/\<e\>.json",
    outcomes.CallFailure: r"outcomes/\<e\>.json",
    outcomes.Outcome: r"outcomes/\<e\>.json",
    outcomes.SharedOutcome: r"outcomes/shared-\<n\>.json",
}
INSIDE = {"protocol", "end"}
"""A field of every document, and a field that is never written."""


def text(page: str) -> str:
    """A page of the documentation."""
    return (DOCS / page).read_text()


def section(page: str, heading: str) -> str:
    """The text from a heading to the next one."""
    _, _, rest = text(page).partition(f"\n### {heading}\n")
    return re.split(r"^#", rest, maxsplit=1, flags=re.MULTILINE)[0]


def named_tests(path: Path) -> set[str]:
    """The names of a file's tests."""
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


@pytest.mark.parametrize("record", [record for record in RECORDS if record not in {Record, protocol.Document}])
def test_protocol_page_has_every_field_of_every_record(record: type[Record]) -> None:
    documented = set(re.findall(r"`(\w+)`", section("reference/protocol.md", WHERE[record])))
    assert set(record._fields) - documented <= INSIDE


def test_protocol_page_has_every_file_and_every_phase() -> None:
    page = text("reference/protocol.md")
    names = [protocol.attempt_name, protocol.begun_name, attempts.continuation_name]
    patterns = [re.sub("1", "<e>", name(1, 2), count=1).replace("2", "<n>") for name in names]
    patterns += ["<i>." + workflow_journal.child_name(1, "<digest>", 2).partition(".")[2].replace("2", "<number>")]
    patterns += [attempts.blocks_name("<group>"), protocol.log_name(0, "<task>")]
    words = {name: value for name, value in vars(protocol).items() if name.isupper() and isinstance(value, str)}
    assert "attempts" in words.values()
    missing = [
        word for word in (*patterns, *words.values()) if not re.search(rf"(?<![\w.]){re.escape(word)}(?!\w)", page)
    ]
    assert missing == []


def test_failures_page_names_existing_tests() -> None:
    files = {str(path.relative_to(TESTS)): named_tests(path) for path in TESTS.rglob("test_*.py")}
    faults = {path.name for path in (TESTS / "faults").glob("test_*.py")}
    named = set(re.findall(r"`([\w/]*test_\w+(?:\.py)?)`", text("reference/failures.md")))
    every = set().union(*files.values(), files, faults)
    assert named - every == set()


@pytest.mark.parametrize("path", sorted((TESTS / "faults").glob("test_*.py")), ids=lambda path: path.stem)
def test_failures_page_has_every_test_of_a_fault(path: Path) -> None:
    page = text("reference/failures.md")
    assert f"`{path.name}`" in page or {name for name in named_tests(path) if f"`{name}`" not in page} == set()


def test_options_page_has_every_option() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", text("reference/options.md"), flags=re.MULTILINE)
    assert sorted(rows) == sorted([*SBATCH, *OURS, *TAKEN, "sbatch"])


def test_cli_page_has_every_command() -> None:
    rows = re.findall(r"^\| `slurm (\w+)", text("reference/cli.md"), flags=re.MULTILINE)
    assert sorted(rows) == sorted(slurm.commands)


def test_architecture_page_has_every_module() -> None:
    drawn = set(re.findall(r"\w+", text("explanation/architecture.md")))
    rooms = ("submission", "notifications", "tracking", "places", "views", "tasks", "jobs", "clusters", "storage")
    named = {name.removesuffix(".*") for names in LAYERS for name in names} - {"", "__main__"}
    named |= {name.partition(".")[2] for name in modules() if name.startswith(tuple(f"{room}." for room in rooms))}
    assert named - drawn == set()


def test_architecture_page_names_existing_files_to_change() -> None:
    table = text("explanation/architecture.md").partition("## Where would I change it?")[2].partition("\n## ")[0]
    named = re.findall(r"`([\w/]+(?:\.py|/))`", table)
    assert len(named) >= 18
    assert [name for name in named if not (PROJECT / "src" / "slurm" / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_between_pages_has_a_target(page: Path) -> None:
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as renderers generate them; a repeated heading gets a number."""
    found: list[str] = []
    for heading in re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", heading.replace("\\", "")).strip().lower().replace(" ", "-")
        found.append(f"{name}-{found.count(name)}" if name in found else name)
    return set(found)
