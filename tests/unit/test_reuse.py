"""Reuse: a call that was computed before, or is being computed, is not submitted again."""

from __future__ import annotations

import asyncio
import functools
import os
import pickle
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from slurm import Cluster, Retry, WorkflowContext, task, workflow
from slurm.errors import ConfigurationError, NoSuchJob, NotReusable, OptionError
from slurm.jobs.job import JobArray
from slurm.jobs.pieces import JoinedArray
from slurm.places.place import Place
from slurm.reuse.explanation import explain
from slurm.schedulers.client import SchedulerClient
from slurm.storage.job_store import JobStore
from slurm.storage.keys import new_key
from slurm.storage.reuse_records import ReuseRecord, ReuseRecords
from slurm.testing.inline.cluster import InlineCluster
from waiting import remove

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slurm.storage.new_submission import NewSubmission


FACTOR = 10


@task(reuse=True)
def scaled(x: int, factor: int = 2) -> int:
    with open(f"{os.environ['REUSE_TEST']}/{x}-{os.urandom(4).hex()}", "x", encoding="utf-8"):
        pass
    if x < 0:
        raise ValueError(x)
    return FACTOR * factor * x


@task(reuse=True)
def total(xs: list[int]) -> int:
    return sum(xs)


@task
def fixed() -> int:
    return 7


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory where each computation leaves a file."""
    directory = tmp_path / "ran"
    directory.mkdir()
    monkeypatch.setenv("REUSE_TEST", str(directory))
    return directory


@pytest.fixture
def inline(ran: Path) -> Iterator[InlineCluster]:
    with InlineCluster() as made:
        yield made


def computed(ran: Path) -> list[int]:
    """The arguments of all computations so far."""
    return sorted(int(name.rpartition("-")[0]) for name in os.listdir(ran))


def forget(inline: Cluster) -> None:
    """Make the process know no more of the place than a new one does."""
    place = inline.place
    place.__dict__.pop("reuse_records", None)
    place.__dict__.pop("registry", None)
    place.__dict__.pop("tracker", None)
    place.__dict__.pop("recovery", None)
    place.__dict__.pop("requests", None)


def test_an_equal_call_is_the_same_job(inline: InlineCluster, ran: Path) -> None:
    first = scaled(3)
    assert first.result() == 60
    assert scaled(3) == first
    assert scaled(x=3) == first
    assert scaled(3, factor=2) == first  # the default
    assert scaled(3).result() == 60
    assert computed(ran) == [3]


def test_a_running_call_is_joined(inline: InlineCluster, ran: Path) -> None:
    first = scaled(3)
    assert scaled(3) == first
    assert computed(ran) == [3] or not first.done()


def test_another_argument_code_or_type_is_another_call(
    inline: InlineCluster, ran: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [scaled(1), scaled(1, 3), scaled(True), scaled(1.0)]  # type: ignore[call-overload]
    monkeypatch.setattr("unit.test_reuse.FACTOR", 11)
    jobs.append(scaled(1))
    assert len({job.key for job in jobs}) == 5
    assert jobs[-1].result() == 22


def test_a_failed_call_is_submitted_anew(inline: InlineCluster, ran: Path) -> None:
    first = scaled(-1)
    assert isinstance(first.exception(), ValueError)
    assert scaled(-1) != first
    assert computed(ran).count(-1) >= 1


def test_a_cancelled_call_is_submitted_anew(inline: InlineCluster, ran: Path) -> None:
    first = scaled(4)
    first.cancel()
    first.exception()
    if first.cancelled():
        assert scaled(4).result() == 80


def test_refresh_computes_anew_and_its_result_counts_from_then_on(inline: InlineCluster, ran: Path) -> None:
    first = scaled(3)
    first.result()
    second = scaled.with_options(reuse="refresh")(3)
    assert second != first
    assert second.result() == 60
    assert scaled(3) == second
    assert computed(ran) == [3, 3]


def test_reuse_is_off_by_default_and_can_be_switched_off(inline: InlineCluster, ran: Path) -> None:
    once = scaled.with_options(reuse=False)
    assert once(3) != once(3)
    assert not os.path.exists(f"{inline.place.store.root}/reuse")


def test_a_cluster_has_a_default(ran: Path) -> None:
    with InlineCluster(options={"reuse": True}):
        assert fixed() == fixed()
        assert fixed.with_options(reuse=None)() != fixed()


@pytest.mark.parametrize(("written", "found"), [("yes", True), ("no", None), ("refresh", "refresh"), ("null", None)])
def test_a_slurmfile_has_a_default(tmp_path: Path, written: str, found: object) -> None:
    file = tmp_path / "Slurmfile"
    file.write_text(f"clusters:\n  here:\n    url: local\n    options:\n      reuse: {written}\n")
    assert Cluster.from_slurmfile("here", path=file).options.get("reuse") == found


def test_a_map_submits_only_the_calls_that_are_missing(inline: InlineCluster, ran: Path) -> None:
    before = scaled.map([1, 3])
    assert before.results() == [20, 60]
    array = scaled.map(range(5))
    assert array.results() == [0, 20, 40, 60, 80]
    assert computed(ran) == [0, 1, 2, 3, 4]
    assert [job.key for job in array][1::2] == [job.key for job in before]
    assert len({job.reference.key for job in array}) == 2
    assert scaled.map(range(5)).results() == array.results()
    assert computed(ran) == [0, 1, 2, 3, 4]


def test_equal_calls_of_a_map_are_one(inline: InlineCluster, ran: Path) -> None:
    array = scaled.map([2, 2, 1, 2])
    assert array.results() == [40, 40, 20, 40]
    assert computed(ran) == [1, 2]
    assert len(array) == 4


def test_an_empty_map_submits_nothing(inline: InlineCluster) -> None:
    array = scaled.map([])
    assert array.results() == []
    assert len(array) == 0


@pytest.fixture
def joined(inline: InlineCluster, ran: Path) -> JobArray[int]:
    """An array of three submissions: [1], [2, 3] known before and the rest."""
    scaled(1).result()
    scaled.map([2, 3]).results()
    return scaled.map(range(6))


def test_an_array_of_pieces_is_a_sequence_of_jobs(joined: JobArray[int]) -> None:
    assert len(joined) == 6
    assert [joined[at].result() for at in (0, -1, 3)] == [0, 100, 60]
    assert joined[1:4].results() == [20, 40, 60]
    assert joined[::2].results() == [0, 40, 80]
    assert joined[5:5].results() == []
    assert joined[2] in joined
    assert list(joined.iter_results()) == joined.results() == [0, 20, 40, 60, 80, 100]
    assert {job.result() for job in joined.as_completed()} == {0, 20, 40, 60, 80, 100}
    assert joined.done()
    assert joined.failed() == []
    assert joined.exceptions() == [None] * 6
    assert sum(joined.states().values()) == 6
    assert joined.summary() == "scaled: 6 jobs, 6 COMPLETED"
    assert len(joined.logs()) == 6
    assert "6 in scaled/" in repr(joined)
    with pytest.raises(IndexError, match=r"6 jobs, so there is no \[6\]"):
        joined[6]


def test_interleaved_pieces_are_read_by_submission(
    inline: InlineCluster, ran: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scaled.map(range(0, 40, 2)).results()
    array = scaled.map([*range(40), 3])
    assert len(array.keys) == 2
    expected = [20 * x for x in [*range(40), 3]]
    reads: list[str] = []
    read = JobStore.read_results

    def counted(self: JobStore, key: str, *args: Any, **keywords: Any) -> Any:
        reads.append(key)
        return read(self, key, *args, **keywords)

    monkeypatch.setattr(JobStore, "read_results", counted)
    assert array.results() == expected
    assert len(reads) == 2
    assert list(array.iter_results()) == expected
    assert len(reads) <= 2 + 2 * 7  # 1, 2, 4, 8, 16 and the other 10 calls at once
    assert asyncio.run(awaited(array)) == expected


async def awaited(array: JobArray[int]) -> list[int]:
    return await array


def test_the_failed_calls_of_an_array_of_pieces_are_retried(inline: InlineCluster, ran: Path) -> None:
    scaled(1).result()
    array = scaled.map([-1, 1, -2])
    errors = array.exceptions()
    assert [type(error) for error in errors] == [ValueError, type(None), ValueError]
    with pytest.raises(ValueError, match="-1"):
        array.results()
    assert array.failed() == [array[0], array[2]]
    again = array.retry_failed()
    assert len(again) == 2
    assert [str(error).splitlines()[0] for error in again.exceptions()] == ["-1", "-2"]
    assert len(scaled.map([1, 1]).retry_failed()) == 0


def test_the_latest_jobs_of_an_array_know_which_calls_it_has_found(joined: JobArray[int]) -> None:
    latest = joined.latest()
    assert isinstance(joined, JoinedArray)
    assert isinstance(latest, JoinedArray)
    assert latest.results() == joined.results()
    assert latest.own_parts == joined.own_parts
    assert len(latest.own_parts) < len(latest.parts)


def test_an_array_of_pieces_has_no_single_key(joined: Any) -> None:
    assert len(joined.keys) == 3
    with pytest.raises(ConfigurationError, match="no key, because its calls are in 3 submissions: use keys"):
        _ = joined.key
    with pytest.raises(ConfigurationError, match="no directory"):
        _ = joined.directory
    assert joined[2:4].key == joined[2].reference.key


def test_an_array_of_pieces_pickles(joined: JobArray[int]) -> None:
    again = pickle.loads(pickle.dumps(joined))
    assert again == joined
    assert again.results() == joined.results()


def test_an_array_of_pieces_stands_for_its_results(joined: JobArray[int], inline: InlineCluster) -> None:
    assert total(joined).result() == 300
    plain = task(lambda value: sum(value["x"]))
    assert plain({"x": joined}).result() == 300
    assert fixed.after(joined)().result() == 7


def test_jobs_among_the_arguments_count_by_their_calls(inline: InlineCluster, ran: Path) -> None:
    first = total([scaled(1), scaled(2)])  # type: ignore[list-item]
    assert first.result() == 60
    again = total([scaled(1), scaled(2)])  # type: ignore[list-item]
    assert again == first
    array = scaled.map([1, 2])
    assert total(array) == total(scaled.map([1, 2]))
    once = fixed()
    assert total([once]) == total([once])  # type: ignore[list-item]
    assert total([fixed()]) != total([once])  # type: ignore[list-item]


def test_another_process_finds_the_job(inline: InlineCluster, ran: Path) -> None:
    first = scaled(3)
    first.result()
    key = first.key
    del first
    forget(inline)
    assert scaled(3).key == key
    assert computed(ran) == [3]


def test_of_two_clients_one_submits_and_the_other_joins(
    inline: InlineCluster, ran: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scaled(0).result()
    both, first = threading.Barrier(2), [1, 1]
    claim = ReuseRecords.claim

    def together(self: ReuseRecords, task: str, number: int, record: ReuseRecord, digests: Any) -> bool:
        if first:
            first.pop()
            both.wait(10)
        return claim(self, task, number, record, digests)

    monkeypatch.setattr(ReuseRecords, "claim", together)
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(scaled.on(inline)(8))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found[0] == found[1]
    assert found[0].result() == 160
    assert computed(ran) == [0, 8]


def test_a_record_without_a_directory_is_waited_for_and_then_fenced(
    inline: InlineCluster, ran: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scaled(0).result()
    monkeypatch.setattr(Place, "timings", Place.timings._replace(abandoned_claim=0.5))
    keys: list[str] = []

    class DiedError(BaseException):
        pass

    def die(place: Place, new: NewSubmission) -> None:
        keys.append(new.submission.key)
        raise DiedError

    with monkeypatch.context() as patch:
        patch.setattr(Place, "create", die)
        with pytest.raises(DiedError):
            scaled(5)
    job = scaled(5)
    assert job.key not in keys
    assert job.result() == 100
    outcome = inline.place.store.outcomes(keys[0], [0], chunk=1)[0]  # what it submits later starts nothing
    assert (outcome.state, outcome.succeeded) == ("CANCELLED", False)
    assert scaled(5) == job


def test_a_submission_that_was_never_queued_is_submitted_anew(
    inline: InlineCluster, ran: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scaled(0).result()
    monkeypatch.setattr(Place, "timings", Place.timings._replace(abandoned_claim=0.5))

    class DiedError(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise DiedError

    with monkeypatch.context() as patch:
        patch.setattr("slurm.schedulers.client.SchedulerClient.submit", die)
        with pytest.raises(DiedError):
            scaled(5)
    assert scaled(5).result() == 100


def test_a_result_that_was_removed_is_computed_anew(inline: InlineCluster, ran: Path) -> None:
    first = scaled(3)
    first.result()
    remove(first.directory)
    forget(inline)
    inline.place.__dict__.pop("reuse_records", None)
    place_timings = Place.timings
    Place.timings = place_timings._replace(abandoned_claim=0.3)
    try:
        assert scaled(3).result() == 60
    finally:
        Place.timings = place_timings
    assert computed(ran) == [3, 3]


def test_a_result_that_was_removed_long_ago_is_not_waited_for(
    inline: InlineCluster, ran: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = scaled(3)
    first.result()
    remove(first.directory)
    forget(inline)
    monkeypatch.setattr("slurm.reuse.lookup._LONG_AGO", -1.0)
    monkeypatch.setattr(Place, "timings", Place.timings._replace(abandoned_claim=600.0))
    assert scaled(3).result() == 60
    assert not os.path.exists(first.directory)


def test_a_damaged_record_is_left_out(inline: InlineCluster, ran: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = scaled(3)
    first.result()
    directory = inline.place.store.task_directory(new_key("scaled"))
    for name, text in {"7": b"{", "8": b'{"key": "a/b", "elements": 1, "parts": {}}\nshort'}.items():
        with open(f"{directory}/{name}", "wb") as file:
            file.write(text)
    forget(inline)
    assert scaled(3).key == first.key
    assert caplog.text.count("a record of reuse is left out") == 2


def forever() -> Iterator[int]:
    yield 1


def test_a_call_without_a_digest_is_refused(inline: InlineCluster) -> None:
    with pytest.raises(NotReusable, match=r"argument xs of total\[1\] has no digest"):
        total([1, forever()])  # type: ignore[list-item]


def test_an_invalid_value_is_refused() -> None:
    with pytest.raises(OptionError, match=r'option reuse=.*: expected True, False or "refresh"'):
        task(reuse="yes")  # type: ignore[call-overload]


def test_the_executor_always_submits(ran: Path) -> None:
    with InlineCluster(options={"reuse": True}) as cluster, cluster.executor() as executor:
        assert executor.submit(scaled, 1).result() == 20
        assert list(executor.map(scaled, [1, 1])) == [20, 20]
    assert computed(ran) == [1, 1, 1]


def test_a_graph_shows_all_pieces(joined: JobArray[int], inline: InlineCluster) -> None:
    assert str(inline.graph(joined)).count("scaled") >= 1


@functools.singledispatch
def dispatched(x: object) -> int:
    return FACTOR


@task(reuse=True)
def with_dispatch(x: int) -> int:
    return dispatched(x)


def test_functions_that_only_decorators_can_make_have_a_digest(inline: InlineCluster) -> None:
    assert with_dispatch(1) == with_dispatch(1)
    assert with_dispatch(1).result() == 10


@workflow(reuse=True)
def pipeline(n: int) -> int:
    return sum(scaled.map(range(n)).results())


def test_workflows_and_their_tasks_reuse_results(inline: InlineCluster, ran: Path) -> None:
    scaled(1).result()
    first = pipeline(3)
    assert first.result() == 60
    assert computed(ran) == [0, 1, 2]
    assert pipeline(3) == first
    assert pipeline(4).result() == 120
    assert computed(ran) == [0, 1, 2, 3]


def test_a_script_that_knows_ten_thousand_calls_writes_nothing(inline: InlineCluster, ran: Path) -> None:
    array = total.starmap([([n],) for n in range(300)], chunk_size=100)
    assert array.results() == list(range(300))
    before = sorted(os.listdir(f"{inline.place.store.root}/jobs/total"))
    again = total.starmap([([n],) for n in range(300)])
    assert again.results() == list(range(300))
    assert sorted(os.listdir(f"{inline.place.store.root}/jobs/total")) == before


def why(inline: InlineCluster, key: str) -> list[str]:
    return explain(inline.place, key)


def test_an_explanation_names_what_has_changed(
    inline: InlineCluster, ran: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = scaled(1)
    first.result()
    assert why(inline, first.key) == ["it is the first submission of its task with reuse=True"]
    other = scaled(1, 3)
    assert why(inline, other.key) == [f"since {first.key}:", "argument factor has changed"]
    monkeypatch.setattr("unit.test_reuse.FACTOR", 11)
    changed = scaled(1)
    expected = [f"since {first.key}:", "the function: its global variable FACTOR has changed"]
    assert why(inline, changed.key) == expected
    again = scaled.with_options(reuse="refresh")(1)
    assert "1 of 1 calls were computed anew" in why(inline, again.key)[0]
    with pytest.raises(NoSuchJob, match="without reuse=True"):
        why(inline, fixed().key)


@workflow(retry=Retry(1, on=[RuntimeError]))
def interrupted(n: int, ctx: WorkflowContext) -> int:
    found = sum(scaled.map(range(n)).results())
    if ctx.attempt == 1:
        raise RuntimeError(ctx.attempt)
    return found


def test_the_next_attempt_of_a_workflow_finds_its_calls(inline: InlineCluster, ran: Path) -> None:
    job = interrupted(3)  # type: ignore[call-overload]
    assert job.result(60) == 60
    assert computed(ran) == [0, 1, 2]
    assert "that this attempt does not use" not in job.logs()


@workflow(retry=Retry(1, on=[RuntimeError]))
def refreshed_again(n: int, ctx: WorkflowContext) -> int:
    found = sum(scaled.with_options(reuse="refresh").map(range(n)).results())
    if ctx.attempt == 1:
        raise RuntimeError(ctx.attempt)
    return found


def test_a_refreshed_call_that_a_workflow_finds_again_leaves_no_record_without_a_submission(
    inline: InlineCluster, ran: Path
) -> None:
    scaled.map(range(2)).results()
    assert refreshed_again(3).result(60) == 60  # type: ignore[call-overload]
    assert computed(ran) == [0, 0, 1, 1, 2]
    forget(inline)
    records = inline.place.reuse_records
    records.refresh(new_key("scaled"))
    keys = [entry.record.key for entry in records.entries(new_key("scaled"))]
    assert len(keys) == 2
    assert all(os.path.exists(inline.place.store.directory(key)) for key in keys)
    assert list(scaled.map(range(3)).keys) == keys[1:]


@workflow(retry=Retry(1, on=[RuntimeError]))
def reused_or_refreshed(n: int, how: Literal[True, "refresh"]) -> int:
    return sum(scaled.with_options(reuse=how).map(range(n)).results(), start=0)


@pytest.mark.parametrize("how", [True, "refresh"])
@pytest.mark.parametrize("death", ["record", "directory", "submission"])
def test_a_workflow_that_dies_before_a_step_of_its_submission_submits_each_call_once(
    inline: InlineCluster, ran: Path, monkeypatch: pytest.MonkeyPatch, how: Literal[True, "refresh"], death: str
) -> None:
    """As if its node had died: what was to be done then is not done, and its next attempt begins."""
    of, name = {
        "record": (ReuseRecords, "claim"),
        "directory": (Place, "create"),
        "submission": (SchedulerClient, "submit"),
    }[death]
    step, lost = getattr(of, name), list[str]()

    def die(*arguments: Any, **keywords: Any) -> Any:
        if "scaled/" in str(arguments) and not lost:
            lost.append(death)
            raise RuntimeError("the node is gone")
        return step(*arguments, **keywords)

    monkeypatch.setattr(of, name, die)
    monkeypatch.setattr(Place, "timings", Place.timings._replace(abandoned_claim=0.5, abandoned_child=0.5))
    assert reused_or_refreshed(3, how).result(60) == 60
    assert (lost, computed(ran)) == ([death], [0, 1, 2])
    forget(inline)
    assert scaled.map(range(3)).results(60) == [0, 20, 40]
    assert computed(ran) == [0, 1, 2]


@task(reuse=True)
def fails_once(mark: str) -> str:
    if not os.path.exists(mark):
        Path(mark).touch()
        raise RuntimeError(mark)
    return mark


@workflow(retry=Retry(1, on=[RuntimeError]))
def restarted(mark: str) -> list[str]:
    return [fails_once(mark).result()]


def test_the_next_attempt_of_a_workflow_submits_a_failed_call_anew(inline: InlineCluster, tmp_path: Path) -> None:
    mark = str(tmp_path / "mark")
    job = restarted(mark)
    assert job.result(60) == [mark]
    assert "that this attempt does not use" not in job.logs()


def test_a_child_that_was_recorded_and_never_submitted_is_submitted_anew(
    inline: InlineCluster, ran: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the workflow's node had died there: the directory of the child is not made in the first attempt."""
    create, lost = Place.create, list[str]()

    def die(place: Place, new: NewSubmission) -> None:
        if new.submission.task == "scaled" and not lost:
            lost.append(new.submission.key)
            raise RuntimeError("the node is gone")
        create(place, new)

    monkeypatch.setattr(Place, "create", die)
    monkeypatch.setattr(Place, "timings", Place.timings._replace(abandoned_claim=0.5, abandoned_child=0.5))
    assert pipeline_again(3).result(60) == 60
    assert computed(ran) == [0, 1, 2]
    assert len(lost) == 1


@workflow(retry=Retry(1, on=[RuntimeError]))
def pipeline_again(n: int) -> int:
    return sum(scaled.map(range(n)).results())


def test_a_plan_says_that_known_calls_are_left_out(inline: InlineCluster, ran: Path) -> None:
    first = scaled(3)
    first.result()
    plan = scaled.plan(3)
    assert [note for note in plan.notes if "known at the submission are left out" in note]
    assert plan.submit() == first
    assert computed(ran) == [3]
    assert not any("reuse" in note for note in fixed.plan().notes)
