"""The documentation describes everything that exists, and names nothing that does not exist."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import slurm as package
from architecture.sources import modules
from architecture.test_layers import LAYERS
from slurm import callbacks, protocol
from slurm.callbacks.events import Event
from slurm.cli.main import COMMANDS
from slurm.environments import building
from slurm.options import MAPPINGS, OURS, SBATCH, TAKEN
from slurm.protocol import outcomes, summary
from slurm.protocol.records import Record
from slurm.storage import reuse_records
from slurm.tracking import attempts, workflow_journal

PROJECT = Path(__file__).parents[2]
TESTS, DOCS = PROJECT / "tests", PROJECT / "docs"
PAGES = sorted([*PROJECT.glob("*.md"), *DOCS.rglob("*.md")])

RECORDS = [
    found
    for module in (protocol, outcomes, summary, attempts, workflow_journal, building, reuse_records)
    for found in vars(module).values()
    if isinstance(found, type) and issubclass(found, Record)
]
WHERE = {
    protocol.ResolvedEnvironment: "submission.json",
    protocol.Edge: "submission.json",
    protocol.ExternalJob: "submission.json",
    protocol.Retried: "submission.json",
    protocol.Functions: "submission.json",
    building.Built: "envs/",
    protocol.Submission: "submission.json",
    protocol.Block: "submitted.json",
    protocol.Origin: "submitted.json",
    protocol.Submitted: "submitted.json",
    protocol.Refused: "refused.json",
    attempts.Claim: "attempts/",
    workflow_journal.Child: "children/",
    outcomes.ErrorRecord: r"outcomes/\<e\>.json",
    outcomes.ResultRecord: r"outcomes/\<e\>.json",
    outcomes.CallFailure: r"outcomes/\<e\>.json",
    outcomes.Outcome: r"outcomes/\<e\>.json",
    outcomes.Output: r"outcomes/\<e\>.json",
    outcomes.Product: r"outcomes/\<e\>.json",
    outcomes.SharedOutcome: r"outcomes/shared-\<n\>.json",
    summary.Summary: "summary.json",
    reuse_records.ReuseRecord: r"reuse/\<task\>/\<n\>",
}
INSIDE = {"protocol", "end"}
"""A field of every document, and a field that is never written."""

ATTRIBUTES = {"Task": {"unwrapped"}}
"""Attributes that a constructor sets."""


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
    names = [protocol.attempt_name, protocol.begun_name, attempts.claim_name]
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


def test_the_site_has_every_page() -> None:
    named = re.findall(r"[\w./-]+\.md", (PROJECT / "mkdocs.yml").read_text())
    added = {"CHANGELOG.md", "reference/docstrings.md"}
    assert sorted({*named} - added) == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))
    assert len(named) == len({*named})


def test_options_page_has_every_option() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", text("reference/options.md"), flags=re.MULTILINE)
    assert sorted(rows) == sorted([*SBATCH, *OURS, *TAKEN, *MAPPINGS])


def test_cli_page_has_every_command() -> None:
    rows = re.findall(r"^\| `slurm (\w+)", text("reference/cli.md"), flags=re.MULTILINE)
    assert set(rows) == set(COMMANDS)


CLASSES = (
    *("Callback", "Cluster", "Container", "Graph", "Job", "JobArray", "JobContext"),
    *("JobState", "JobStatus", "Retry", "Task", "Wheel", "WorkflowContext"),
)
"""Classes whose members or parameters the API page lists in a table."""


@pytest.mark.parametrize("name", CLASSES)
def test_api_page_names_existing_members(name: str) -> None:
    named = members_of_tables(section("reference/api.md", f"`{name}`"))
    assert named - {"task"} != set()
    assert named - {"task"} - members(getattr(package, name)) == set()


def test_api_page_names_existing_members_of_events() -> None:
    described = text("reference/api.md").partition("\n#### Events\n")[2].partition("\n## ")[0]
    table = described.partition("\n\nEvents on the client")[0]
    assert members_of_tables(table) == {"hook", "time", "payload"} <= members(Event)
    rows = dict(re.findall(r"^\| ((?:`\w+Event`(?:, )?)+) \| (.*) \|$", described, flags=re.MULTILINE))
    for events, fields in rows.items():
        for event in re.findall(r"\w+Event", events):
            named = set(re.findall(r"`([a-z_]+)`", fields.replace("`None`", "")))
            assert named - members(getattr(callbacks, event)) - {"error"} == set(), event


@pytest.mark.parametrize("name", ["Cluster", "Container", "Retry", "Wheel"])
def test_api_page_has_every_parameter_of_a_constructor(name: str) -> None:
    described = section("reference/api.md", f"`{name}`")
    signature = re.search(rf"```text\n{name}\((.*?)\)\n```", described, flags=re.DOTALL)
    assert signature is not None
    documented = re.findall(r"(\w+)=", signature[1])
    parameters = list(inspect.signature(getattr(package, name)).parameters)
    assert documented == parameters
    assert set(parameters) - members_of_tables(described) == set()


@pytest.mark.parametrize("page", sorted((DOCS / "reference").glob("*.md")), ids=lambda page: page.stem)
def test_reference_page_has_no_contractions(page: Path) -> None:
    prose = re.sub(r"^```.*?^```|`[^`]*`", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"\b\w+n't\b|\b(?:it|that|there|here|what)'s\b|\w+'(?:ll|ve|re)\b", prose) == []


def members_of_tables(described: str) -> set[str]:
    """The names in the first column of the tables of members or parameters in a part of a page."""
    found: set[str] = set()
    tables = r"^\| (?:member|parameter|field|hook|state) \|.*\n\|[-|]+\|\n((?:\|.*\n?)+)"
    for rows in re.findall(tables, described, flags=re.MULTILINE):
        for row in rows.splitlines():
            first = re.split(r"(?<!\\) \| ", row.removeprefix("| "))[0]
            found |= {re.split(r"[(\s]", code)[0].rpartition(".")[2] for code in re.findall(r"`([^`]+)`", first)}
    return {name for name in found if name.isidentifier() and name not in {"async", "await", "with"}}


def members(kind: Any) -> set[str]:
    """The names of a class's attributes, fields and parameters."""
    fields = (*getattr(kind, "_fields", ()), *getattr(kind, "__dataclass_fields__", ()))
    return {*dir(kind), *fields, *inspect.signature(kind.__init__).parameters, *ATTRIBUTES.get(kind.__name__, ())}


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
