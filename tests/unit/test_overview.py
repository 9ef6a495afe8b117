"""Overviews: the summary of a large map says what all its outcomes say, and is kept once all calls have ended."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from slurm import Cluster, JobArray, task
from slurm.cli.main import slurm
from slurm.errors import ProtocolError, TransportError
from slurm.protocol import SUMMARY
from slurm.protocol.summary import Summary
from slurm.storage.job_store import JobStore
from slurm.testing import InlineCluster
from slurm.views import overview

if TYPE_CHECKING:
    from pathlib import Path

WAIT = 60.0


@task
def below(x: int, limit: int) -> int:
    if x >= limit:
        raise ValueError(f"{x} is too large")
    return x


@pytest.fixture(autouse=True)
def _large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "LARGE", 4)


def ended(limit: int = 2, count: int = 6, **options: int) -> JobArray[int]:
    """A map that has ended: its calls from `limit` on failed."""
    jobs = below.starmap([(x, limit) for x in range(count)], **options)
    jobs.results(WAIT, return_exceptions=True)
    return jobs


def kept(jobs: JobArray[int]) -> bytes | None:
    """The summary of a map, if there is one."""
    path = f"{jobs.directory}/{SUMMARY}"
    return jobs.part.place.transport.get([path]).get(path)


def another(cluster: Cluster, jobs: JobArray[int]) -> JobArray[int]:
    """The map, as a client sees it that knows nothing yet."""
    found = Cluster("inline", root=cluster.url.partition("://")[2], python=sys.executable).job(jobs.key)
    assert isinstance(found, JobArray)
    return found


def shown(*words: str) -> str:
    """What a command of the command line prints."""
    return CliRunner().invoke(slurm, words).stdout


def test_a_summary_is_read_in_place_of_the_outcomes(inline: InlineCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = ended()
    assert kept(jobs) is None
    states = jobs.states()
    assert states == {"COMPLETED": 2, "FAILED": 4}
    record = Summary.loads(kept(jobs) or b"", where="here")
    assert (list(record.failed), record.states) == ([2, 3, 4, 5], {"COMPLETED": 2, "FAILED": 4})
    again = another(inline, jobs)
    monkeypatch.setattr(JobStore, "several_outcomes", None)
    monkeypatch.setattr(JobStore, "done", None)
    assert again.states() == states
    assert again.summary() == "below: 6 jobs, 2 COMPLETED, 4 FAILED"


def test_the_command_line_prints_the_same_from_a_summary(
    inline: InlineCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = ended()
    root = inline.url.partition("://")[2]
    path = tmp_path / "Slurmfile"
    path.write_text(f'default: c\nclusters: {{c: {{url: inline, root: "{root}", python: "{sys.executable}"}}}}\n')
    monkeypatch.setenv("SLURMFILE", str(path))
    commands = [("jobs",), ("jobs", "--json"), ("show", jobs.key), ("show", jobs.key, "--json")]
    before = shown("show", jobs.key, "--json"), *(shown(*words) for words in commands[:3])
    monkeypatch.setattr(JobStore, "done", None)
    after = shown("show", jobs.key, "--json"), *(shown(*words) for words in commands[:3])
    assert before == after
    assert "2 COMPLETED, 4 FAILED" in after[1]
    assert "ValueError: 3 is too large" in after[3]


@pytest.mark.parametrize("options", [{}, {"chunk_size": 4}])
@pytest.mark.parametrize("limit", [0, 3, 6])
def test_the_summary_says_what_the_outcomes_say(inline: InlineCluster, limit: int, options: dict[str, int]) -> None:
    jobs = ended(limit, **options)
    (before,) = overview.overviews([jobs.part])
    (after,) = overview.overviews([another(inline, jobs).part])
    assert before.calls
    assert not after.calls
    assert after.summary == before.summary
    assert after.failures() == before.failures()
    assert list(after.failures()) == [*range(limit, 6)]


def test_only_what_has_ended_as_a_whole_is_summarised(inline: InlineCluster) -> None:
    with inline.queue.held():
        waiting = below.starmap([(x, 9) for x in range(6)])
        assert waiting.states() == {"PENDING": 6}
        assert kept(waiting) is None
    jobs = ended()
    jobs[:5].states()
    small = ended(count=3)
    small.states()
    assert kept(jobs) is None
    assert kept(small) is None


def test_a_lost_call_prevents_a_summary(inline: InlineCluster) -> None:
    inline.queue.play("FAILED", element=5)  # and it leaves no outcome
    jobs = ended(limit=9)
    assert jobs.states() == {"COMPLETED": 5, "FAILED": 1}
    assert kept(jobs) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"states": {"COMPLETED": 6}, "bounds": [5]}',
        '{"states": {"DONE": 6}}',
        '{"states": {"FAILED": 5}}',
    ],
)
def test_an_invalid_summary_is_as_none(inline: InlineCluster, text: str) -> None:
    jobs = ended()
    jobs.part.place.transport.put(jobs.directory, {SUMMARY: text.encode()})
    assert another(inline, jobs).states() == {"COMPLETED": 2, "FAILED": 4}
    assert b"bounds" in (kept(jobs) or b"")


def test_a_summary_of_a_single_call_is_not_used(inline: InlineCluster) -> None:
    jobs = ended(count=1)
    jobs.part.place.store.summarise(jobs.key, Summary.of({"FAILED": 1}, [0]))
    (found,) = overview.overviews([another(inline, jobs)[0].part])
    assert [status.state.value for status in found.calls] == ["COMPLETED"]


def test_a_summary_that_cannot_be_written_is_not_missed(inline: InlineCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise TransportError("disk full")

    jobs = ended()
    monkeypatch.setattr(JobStore, "summarise", fail)
    assert jobs.states() == {"COMPLETED": 2, "FAILED": 4}


def test_an_unknown_state_is_refused() -> None:
    with pytest.raises(ProtocolError, match="DONE"):
        Summary.loads('{"states": {"DONE": 6}}', where="here")
