"""Sweeps on a cluster in this process: what is submitted, what counts, and what is refused."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm import Cluster, JobContext, command, task, workflow
from slurm.errors import ConfigurationError, NoSuchJob, ProtocolError, SlurmError, SubmissionRefused, TransportError
from slurm.protocol.states import JobState
from slurm.sweeps import collecting
from slurm.sweeps.engine import SweepEngine
from slurm.sweeps.health import Health, SweepStopped
from slurm.sweeps.rebalancing import moves
from slurm.sweeps.records import Collected, Ended, Shard
from slurm.sweeps.snapshot import Point, Snapshot, State
from slurm.sweeps.sources import Source
from slurm.sweeps.spreading import STRATEGIES, Share, room, spread
from slurm.sweeps.sweep import Sweep
from slurm.testing import Answer, InlineCluster
from waiting import remove

if TYPE_CHECKING:
    from pathlib import Path


@task
def square(x: int) -> dict[str, int]:
    return {"square": x * x}


@task
def fails_at_three(x: int) -> int:
    if x == 3:
        raise ValueError(f"bad number {x}")
    return x


def points(count: int) -> list[dict[str, int]]:
    return [{"x": x} for x in range(count)]


def test_a_script_that_is_run_twice_computes_once(inline: InlineCluster, tmp_path: Path) -> None:
    for _ in range(2):
        sweep = Sweep(square, points(4), name="twice", directory=tmp_path).run(on=inline)
        assert sorted(point.result()["square"] for point in sweep.as_completed()) == [0, 1, 4, 9]
    assert list(sweep.directory.shards()) == [1]


def test_the_constructor_writes_nothing(tmp_path: Path) -> None:
    Sweep(square, points(4), name="none", directory=tmp_path / "sweeps")
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_that_was_not_run_has_no_points_yet(tmp_path: Path) -> None:
    sweep = Sweep(square, points(4), name="planned", directory=tmp_path)
    with pytest.raises(ConfigurationError, match="'planned' has no points yet"):
        _ = sweep.points


def test_new_points_under_a_known_name_are_an_error_until_they_extend_the_sweep(
    inline: InlineCluster, tmp_path: Path
) -> None:
    Sweep(square, points(2), name="more", directory=tmp_path).run(on=inline).drive()
    with pytest.raises(ConfigurationError, match=r"2 of these 4 points are not of it, such as \{'x': 2\}.*\.extend"):
        Sweep(square, points(4), name="more", directory=tmp_path)
    sweep = Sweep.open("more", square, directory=tmp_path).extend(points(4))
    assert Sweep.open("more", directory=tmp_path).snapshot().counts == {State.DONE: 2, State.MISSING: 2}
    assert sweep.complete(on=inline).drive().counts == {State.DONE: 4}
    assert [point.attempts for point in sweep.snapshot().points] == [1] * 4
    again = Sweep(square, points(4), name="more", directory=tmp_path)
    assert [point.params for point in again.points] == points(4)


def test_failed_points_are_computed_again_if_asked(inline: InlineCluster, tmp_path: Path) -> None:
    sweep = Sweep(fails_at_three, points(5), name="failed", directory=tmp_path).run(on=inline)
    assert sweep.drive().counts == {State.DONE: 4, State.FAILED: 1}
    failed = sweep.points[3]
    assert isinstance(failed.exception(), ValueError)
    with pytest.raises(ValueError, match="bad number 3"):
        failed.result()
    assert failed.known.ended is not None
    assert failed.known.ended.error == "ValueError"
    sweep.complete(on=inline)
    assert len(sweep.directory.shards()) == 1
    snapshot = sweep.complete(on=inline, failed=True).drive()
    assert snapshot.counts == {State.DONE: 4, State.FAILED: 1}
    assert [shard.numbers for shard in snapshot.shards.values()] == [range(5), range(3, 4)]
    assert snapshot.points[3].attempts == 2


def test_opened_sweep_needs_no_source_of_its_function(inline: InlineCluster, tmp_path: Path) -> None:
    def local_function(x: int, *, factor: int = 2) -> int:
        return x * factor

    Sweep(task(local_function), points(2), name="code", directory=tmp_path).run(on=inline).drive()
    sweep = Sweep.open("code", directory=tmp_path).extend(points(4)).complete(on=inline)
    assert sorted(point.result() for point in sweep.as_completed()) == [0, 2, 4, 6]
    assert len({shard.code for shard in sweep.directory.shards().values()}) == 1


def test_collected_results_outlive_the_place(inline: InlineCluster, tmp_path: Path) -> None:
    Sweep(square, points(3), name="kept", directory=tmp_path).run(on=inline).drive()
    sweep = Sweep.open("kept", directory=tmp_path)
    (gone,) = sweep.cleanup()
    assert sweep.cleanup(execute=True) == [gone]
    remove(inline.place.store.root)
    opened = Sweep.open("kept", directory=tmp_path)
    assert [point.result() for point in opened.points] == [{"square": 0}, {"square": 1}, {"square": 4}]
    assert [point.metrics for point in opened.points] == [{"square": 0}, {"square": 1}, {"square": 4}]


@task
def leave_files(x: int, size: int, ctx: JobContext | None = None) -> int:
    assert ctx is not None
    print(f"computing {x}")
    here = ctx.output_directory()
    (here / "plots").mkdir()
    (here / "plots" / "loss.txt").write_text(f"loss of {x}")
    (here / "model.bin").write_bytes(bytes(size))
    os.link(here / "model.bin", here / "best.bin")
    if x == 2:
        raise ValueError("two")
    return x


@task
def large(x: int, size: int) -> bytes:
    return bytes([x]) * size


def test_files_and_logs_of_points_come_home_and_outlive_the_place(local: Cluster, tmp_path: Path) -> None:
    space = [{"x": x, "size": 5_000_000 if x == 3 else 10} for x in range(4)]
    sweep = Sweep(leave_files, space, name="files", directory=tmp_path / "sweeps").run(on=local, chunk=2)
    assert sweep.drive().counts == {State.DONE: 3, State.FAILED: 1}
    (tar,) = (tmp_path / "sweeps" / "files" / "collected").glob("*.tar")
    assert tar.with_suffix(".jsonl").exists()
    assert sweep.cleanup() == []  # one element has a call that failed; the files of another are too large
    large = Sweep.open("files", directory=tmp_path / "sweeps").points[3]
    assert {file.name: file.size for file in large.files()}["model.bin"] == 5_000_000
    remove(local.place.store.root)
    points = Sweep.open("files", directory=tmp_path / "sweeps").points
    names = ["best.bin", "model.bin", "plots/loss.txt"]
    assert [[file.name for file in point.files()] for point in points[:3]] == [names] * 3
    assert [file.size for file in points[0].files()] == [10, 10, 9]
    for point in points:
        assert f"computing {point.number}\n" in point.logs()
    (copied,) = points[2].fetch("plots/*", to=tmp_path / "here")
    assert copied == tmp_path / "here" / "plots" / "loss.txt"
    assert copied.read_text() == "loss of 2"
    assert len(points[1].fetch(to=tmp_path / "all")) == 3
    with pytest.raises(TransportError, match=r"no file that matches '\*.h5'; it has best.bin, model.bin"):
        points[0].fetch("*.h5", to=tmp_path)


def test_what_programs_print_and_write_comes_home(
    inline: InlineCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input.bin").write_bytes(bytes(20_000_000))  # what was sent does not come back
    unit = command("sh -c 'echo of {x}; echo warned >&2; echo {x} > out.txt'", files=["input.bin"])
    sweep = Sweep(unit, points(2), name="programs", directory=tmp_path).run(on=inline)
    sweep.drive()
    before = [point.logs() for point in sweep.points]
    assert sweep.cleanup(execute=True)
    remove(inline.place.store.root)
    opened = Sweep.open("programs", directory=tmp_path).points
    assert [point.logs() for point in opened] == before
    assert "of 1\n" in opened[1].logs()
    assert "warned" in opened[1].logs()
    assert [file.name for file in opened[1].files()] == [
        f"attempt-1/{name}" for name in ("out.txt", "stderr.log", "stdout.log")
    ]
    (copied,) = opened[1].fetch("**/out.txt", to=tmp_path / "here")
    assert copied.read_text() == "1\n"
    with pytest.raises(NoSuchJob, match=r"its files came home, where fetch\(\)"):
        opened[1].result()


def test_what_a_silent_source_has_kept_comes_home_by_collect(inline: InlineCluster, tmp_path: Path) -> None:
    space = [{"x": x, "size": 10} for x in range(10, 13)]
    sweep = Sweep(leave_files, space, name="silent", directory=tmp_path).run(on=inline)
    inline.jobs()[0].results()  # type: ignore[union-attr]
    sweep.snapshot()
    silent = [shard.url for shard in sweep.directory.shards().values()]
    assert sum(collecting.collect(sweep.directory, sweep.places, sweep.reader.fresh, silent=silent)) == 3
    assert not list((tmp_path / "silent" / "collected").glob("*.tar"))
    opened = Sweep.open("silent", directory=tmp_path)
    assert opened.points[0].result() == 10  # at its source
    assert opened.collect() == 0  # all outcomes are home
    assert Sweep.open("silent", directory=tmp_path).collect() == 0
    assert len(list((tmp_path / "silent" / "collected").glob("*.tar"))) == 1
    remove(inline.place.store.root)
    points = Sweep.open("silent", directory=tmp_path).points
    assert [len(point.files()) for point in points] == [3] * 3
    assert [point.logs() for point in points] == [f"computing {x}\n" for x in range(10, 13)]


def test_a_result_that_is_damaged_stays_at_its_source_until_it_is_in_order(
    inline: InlineCluster, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "_MOST_BYTES", 6 << 20)  # so that a file holds the results of one element
    sweep = Sweep(large, [{"x": x, "size": 3 << 20} for x in range(6)], name="large", directory=tmp_path)
    sweep.run(on=inline, chunk=2)
    inline.jobs()[0].results()  # type: ignore[union-attr]
    source = Path(sweep.points[2].job.directory) / "results" / "1.pkl"
    saved = source.read_bytes()
    source.write_bytes(saved[:-9] + bytes(9))
    assert sweep.collect() == 6
    collected = tmp_path / "large" / "collected"
    assert "its SHA-256 differs" in caplog.text
    assert sorted(path.stat().st_size > 3 << 20 for path in collected.glob("*.pkl")) == [True, True]
    assert not list(collected.glob(".*"))
    source.write_bytes(saved)
    assert Sweep.open("large", directory=tmp_path).collect() == 0  # all outcomes are home
    remove(inline.place.store.root)
    assert [point.result() for point in Sweep.open("large", directory=tmp_path).points] == [
        bytes([x]) * (3 << 20) for x in range(6)
    ]


def test_files_are_split_when_they_do_not_fit_into_one_tar(
    inline: InlineCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "_MOST_BYTES", 10_000)
    space = [{"x": x, "size": 3000} for x in range(10, 15)]
    sweep = Sweep(leave_files, space, name="split", directory=tmp_path).run(on=inline)
    assert sweep.drive().counts == {State.DONE: 5}
    tars = sorted((tmp_path / "split" / "collected").glob("*.tar"))
    assert len(tars) == 5
    assert all(tar.stat().st_size < 30_000 for tar in tars)
    assert [len(point.files()) for point in Sweep.open("split", directory=tmp_path).points] == [3] * 5


@pytest.mark.parametrize(
    ("sizes", "parts"),
    [
        ([], []),
        ([4, 6], [[4, 6]]),
        ([4, 6, 1, 9, 1], [[4, 6], [1, 9], [1]]),
        ([11, 3, 12, 4], [[11], [3], [12], [4]]),
    ],
)
def test_parts_are_filled_up_to_their_limit(
    sizes: list[int], parts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "_MOST_BYTES", 10)
    assert list(collecting._parts(sizes, int)) == parts


def test_files_of_one_collector_never_stand_beside_outcomes_of_another(inline: InlineCluster, tmp_path: Path) -> None:
    sweep = Sweep(leave_files, [{"x": 1, "size": 9}], name="two", directory=tmp_path).run(on=inline)
    collected = tmp_path / "two" / "collected"
    (collected / "1.jsonl").write_text("")  # another process was faster
    (collected / "2.tar").write_bytes(b"")  # another has died between its two files
    sweep.drive()
    assert sorted(path.name for path in collected.iterdir() if path.suffix != ".pkl") == [
        "1.jsonl",
        "2.tar",
        "3.jsonl",
        "3.tar",
    ]


def test_a_snapshot_writes_nothing(inline: InlineCluster, tmp_path: Path) -> None:
    sweep = Sweep(fails_at_three, points(5), name="look", directory=tmp_path).run(on=inline)
    for array in inline.jobs():
        array.exception() if not hasattr(array, "exceptions") else array.exceptions()
    before = tree(tmp_path), tree(inline.place.store.root)
    assert Sweep.open("look", directory=tmp_path).snapshot().counts == {State.DONE: 4, State.FAILED: 1}
    assert sweep.snapshot().counts == {State.DONE: 4, State.FAILED: 1}
    assert (tree(tmp_path), tree(inline.place.store.root)) == before
    assert sweep.collect() == 5
    assert sweep.collect() == 0


def tree(directory: Any) -> dict[str, str]:
    files = [path for path in Path(directory).rglob("*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_points_of_other_code_are_told_and_computed_again_if_asked(
    inline: InlineCluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def first(x: int) -> int:
        return x + 1

    def second(x: int) -> int:
        return x + 2

    Sweep(task(first), points(3), name="edited", directory=tmp_path).run(on=inline).drive()
    sweep = Sweep.open("edited", task(second), directory=tmp_path)
    with caplog.at_level(logging.WARNING):
        sweep.complete(on=inline)
    assert "3 of 3 points were computed by other code" in caplog.text
    assert [point.result() for point in sweep.points] == [1, 2, 3]
    sweep.complete(on=inline, redo="changed").drive()
    assert [point.result() for point in Sweep.open("edited", directory=tmp_path).points] == [2, 3, 4]
    before = len(sweep.directory.shards())
    assert len(sweep.complete(on=inline, redo="changed").directory.shards()) == before


def test_the_first_points_tell_how_many_go_into_an_element(inline: InlineCluster, tmp_path: Path) -> None:
    sweep = Sweep(square, points(100), name="auto", directory=tmp_path).run(on=inline, chunk="auto")
    assert sweep.drive().counts == {State.DONE: 100}
    canary, rest = sweep.directory.shards().values()
    assert (len(canary.numbers), canary.chunk, len(rest.numbers)) == (20, 1, 80)
    assert rest.chunk > 1
    assert [point.attempts for point in sweep.snapshot().points] == [1] * 100


def test_points_that_wait_for_the_first_are_told_when_the_driver_leaves(
    inline: InlineCluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sweep = Sweep(square, points(100), name="left", directory=tmp_path).run(on=inline, chunk="auto")
    following = sweep.as_completed()
    next(following)
    following.close()
    assert "80 points were not submitted" in caplog.text
    opened = Sweep.open("left", directory=tmp_path)
    assert opened.snapshot().counts[State.MISSING] == 80
    assert opened.complete(on=inline, chunk=20).drive().counts == {State.DONE: 100}


def test_many_points_without_a_word_on_chunks_are_refused(inline: InlineCluster, tmp_path: Path) -> None:
    sweep = Sweep(square, points(2001), name="flood", directory=tmp_path)
    with pytest.raises(ConfigurationError, match="chunk=, or how long one takes with seconds="):
        sweep.run(on=inline)
    assert sweep.run(on=inline, seconds=1.0).directory.shards()[1].chunk == 300


def test_failures_that_are_alike_stop_the_sweep(inline: InlineCluster, tmp_path: Path) -> None:
    @task
    def always(x: int) -> int:
        raise OSError(f"no file /data/{x}.npy")

    sweep = Sweep(always, points(30), name="stop", directory=tmp_path).run(on=inline)
    with pytest.raises(SweepStopped, match="OSError: no file /…"):
        sweep.drive(stop_after=5)
    assert sweep.snapshot().counts.keys() <= {State.FAILED, State.MISSING}


def test_a_command_is_a_unit(inline: InlineCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.sh").write_text('echo "{\\"loss\\": $1}" > metrics.json\n')
    train = command("sh train.sh {x}")
    sweep = Sweep(train, points(3), name="program", directory=tmp_path / "sweeps").run(on=inline)
    assert sweep.drive().counts == {State.DONE: 3}
    assert [point.metrics for point in sweep.points] == [{"loss": 0}, {"loss": 1}, {"loss": 2}]
    (tmp_path / "train.sh").unlink()
    opened = Sweep.open("program", directory=tmp_path / "sweeps").extend(points(4)).complete(on=inline)
    assert opened.drive().counts == {State.DONE: 4}


def test_a_source_that_is_moved_in_the_slurmfile_and_a_sweep_that_is_moved_keep_their_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file, sweeps = tmp_path / "Slurmfile", tmp_path / "sweeps"
    file.write_text(f"clusters: {{cpu: {{url: 'local://{tmp_path}/old'}}}}\n")
    Sweep(square, points(2), name="moved", directory=sweeps).run(on=["cpu:2"])
    file.write_text(f"clusters: {{cpu: {{url: 'local://{tmp_path}/new'}}}}\n")
    sweeps.rename(tmp_path / "elsewhere")
    sweep = Sweep.open("moved", square, directory=tmp_path / "elsewhere")
    assert sweep.drive().counts == {State.DONE: 2}
    assert sweep.extend(points(3)).complete(on="cpu").drive().counts == {State.DONE: 3}
    roots = [shard.url for shard in sweep.directory.shards().values()]
    assert roots == [f"local://{tmp_path}/old", f"local://{tmp_path}/new"]


def test_a_source_whose_environment_cannot_be_made_is_named_and_the_others_go_on(
    inline: InlineCluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Cluster("local", root=tmp_path / "broken", python="/no/such/python")
    sweep = Sweep(square, points(4), name="broken", directory=tmp_path).run(on=[(broken, 2), (inline, 2)])
    assert f"{broken.url} is left out: " in caplog.text
    assert sweep.drive().counts == {State.DONE: 4}
    assert {shard.source for shard in sweep.directory.shards().values()} == {inline.url}
    alone = Sweep(square, points(4), name="alone", directory=tmp_path)
    with pytest.raises(SlurmError, match="/no/such/python"):
        alone.run(on=[(broken, 2)])
    assert alone.snapshot().counts == {State.MISSING: 4}


def test_points_that_a_source_refuses_go_to_the_others(
    inline: InlineCluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with InlineCluster() as strict:  # they share a queue
        inline.queue.answer(Answer.REFUSED)
        sweep = Sweep(square, points(6), name="refused", directory=tmp_path).run(on=[(strict, 2), (inline, 1)])
        assert f"4 points go to {inline.url}, because {strict.url} refused them" in caplog.text
        assert [source.name for source in sweep.running.sources] == [inline.url]
        assert sweep.drive().counts == {State.DONE: 6}
        assert {point.source for point in sweep.snapshot().points} == {inline.url}


def test_points_that_all_sources_refuse_are_an_error_and_can_be_completed(
    inline: InlineCluster, tmp_path: Path
) -> None:
    with InlineCluster() as other:
        inline.queue.answer(Answer.REFUSED, times=2)
        sweep = Sweep(square, points(6), name="refused", directory=tmp_path)
        with pytest.raises(SubmissionRefused, match="on request"):
            sweep.run(on=[other, inline])
        assert sweep.snapshot().counts == {State.MISSING: 6}
        assert sweep.complete(on=inline).drive().counts == {State.DONE: 6}


def test_points_that_move_to_a_source_that_refuses_them_go_back(inline: InlineCluster, tmp_path: Path) -> None:
    with InlineCluster() as idle:
        sweep = Sweep(square, points(2), name="back", directory=tmp_path).run(on=[inline, idle]).extend(points(6))
        inline.queue.answer(Answer.REFUSED)
        assert sweep.running.resubmit(range(2, 6), why="moved", sources=[sweep.running.sources[1]]) == 4
        assert [source.name for source in sweep.running.sources] == [inline.url]
        assert sweep.drive().counts == {State.DONE: 6}


def test_a_directory_that_cannot_be_written_is_one_clear_error(inline: InlineCluster, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"cannot write the sweep .*file/x: Not a directory"):
        Sweep(square, points(1), name="x", directory=tmp_path / "file").run(on=inline)
    Sweep(square, points(1), name="y", directory=tmp_path).run(on=inline).drive()
    shutil.rmtree(tmp_path / "y" / "collected")
    (tmp_path / "y" / "collected").write_text("")
    with pytest.raises(ProtocolError, match=r"cannot read .*collected: Not a directory"):
        Sweep.open("y", directory=tmp_path).collect()
    (tmp_path / "y" / "points.jsonl").unlink()
    with pytest.raises(ProtocolError, match=r"cannot read .*points.jsonl: No such file"):
        Sweep.open("y", directory=tmp_path).status()


# What is refused.


@workflow
def steps(x: int) -> int:
    return x


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((square, [{"x": 1}, {"x": 1}]), "the same point twice"),
        ((square, [{"y": 1}]), "'y' is not a parameter of square; known names: x"),
        ((steps, [{"x": 1}]), "is a workflow"),
        ((square.after("123"), [{"x": 1}]), "waits for no job"),
    ],
)
def test_what_cannot_be_a_sweep_is_refused_at_once(arguments: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Sweep(*arguments, name="wrong", directory=tmp_path)


@pytest.mark.parametrize(
    ("on", "message"),
    [
        ([], "name the clusters"),
        (["nowhere"], "nowhere"),
        (["local:0"], "no room"),
        (["local:2", "local:3"], "named twice"),
        ([3], "expected a name"),
    ],
)
def test_sources_that_cannot_be_are_refused_together(on: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Sweep(square, points(1), name="where", directory=tmp_path).run(on=on)


@pytest.mark.parametrize("name", ["", "a/b", ".hidden", "a\nb"])
def test_names_that_cannot_be_directories_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="directory"):
        Sweep.open(name, directory=tmp_path)


def test_sweep_that_is_not_there_names_those_that_are(inline: InlineCluster, tmp_path: Path) -> None:
    Sweep(square, points(1), name="depths", directory=tmp_path).run(on=inline)
    with pytest.raises(ConfigurationError, match=r"there is no sweep 'depth' in .*; there are depths"):
        Sweep.open("depth", directory=tmp_path)


def test_damaged_files_are_named(inline: InlineCluster, tmp_path: Path) -> None:
    Sweep(square, points(3), name="torn", directory=tmp_path).run(on=inline)
    file = tmp_path / "torn" / "points.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[:-4])
    with pytest.raises(ProtocolError, match=r"points.jsonl is cut off"):
        Sweep.open("torn", directory=tmp_path).snapshot()
    file.write_bytes(whole.replace(b'"x":1', b'"x":?'))
    with pytest.raises(ProtocolError, match=r"points.jsonl:2 is not valid"):
        Sweep.open("torn", directory=tmp_path).snapshot()
    (tmp_path / "torn" / "sweep.json").write_text('{"protocol": 99}')
    with pytest.raises(ProtocolError, match="newer slurm-tasks"):
        Sweep.open("torn", directory=tmp_path)


# Spreading, and the health of sources.

SHARES = st.lists(
    st.builds(Share, slots=st.none() | st.integers(1, 50), load=st.integers(0, 20)), min_size=1, max_size=5
)


@given(st.integers(0, 300), SHARES, st.sampled_from(sorted(STRATEGIES)), st.integers(1, 7))
def test_every_point_goes_to_one_source(count: int, shares: list[Share], strategy: str, chunk: int) -> None:
    parts = spread(range(count), shares, strategy=strategy, chunk=chunk)
    assert len(parts) == len(shares)
    assert sorted(number for part in parts for number in part) == list(range(count))


def test_points_go_by_slots_or_by_the_named_strategy() -> None:
    shares = [Share(3), Share(1)]
    assert spread(range(8), shares) == [[0, 1, 2, 3, 4, 5], [6, 7]]
    assert spread(range(4), shares, strategy="round_robin") == [[0, 2], [1, 3]]
    assert spread(range(4), [Share(1, load=3), Share(1)], strategy="least_loaded") == [[3], [0, 1, 2]]
    assert spread(range(3), shares, strategy="priority") == [[0, 1, 2], []]
    with pytest.raises(ConfigurationError, match="did you mean 'random'"):
        spread(range(3), shares, strategy="randm")


def test_slots_bound_the_shards_of_a_source_together() -> None:
    shard = Shard(
        cluster={"url": "local"}, source="local", slots=3, key="f/20260101T000000Z-00000000", points=(), code=""
    )
    assert room(None, {1: (shard, 5)}) == (None, None)
    assert room(4, {}) == (4, None)
    assert room(4, {1: (shard, 5)}) == (1, None)
    assert room(4, {1: (shard, 2)}) == (2, None)
    assert room(3, {1: (shard, 5), 2: (shard, 5)}) == (3, 1)


def ended(state: JobState, phase: str = "run", source: str = "a", message: str = "") -> Point:
    how = Ended(state is JobState.COMPLETED, state, phase=phase, error="ValueError", message=message)
    return Point(0, {}, State.DONE if how.succeeded else State.FAILED, state, 1, source, 0, how)


def test_only_faults_of_the_place_switch_a_source_off() -> None:
    health = Health(probe_after=0.0)
    for _ in range(9):
        health.note(ended(JobState.FAILED))
        health.note(ended(JobState.FAILED, "setup"))
    assert not health.is_off("a")
    for _ in range(2):
        health.note(ended(JobState.NODE_FAIL))
    health.note(ended(JobState.COMPLETED))
    for _ in range(3):
        assert not health.is_off("a")
        health.note(ended(JobState.LOST))
    assert health.is_off("a")
    assert health.probe_is_due("a")
    health.note(ended(JobState.COMPLETED))
    assert not health.is_off("a")
    for _ in range(3):
        health.note(ended(JobState.FAILED, "setup", source="b"))
    assert health.is_off("b")  # the same code has run elsewhere


ENDED = st.builds(
    Ended,
    succeeded=st.booleans(),
    state=st.sampled_from(JobState),
    metrics=st.none() | st.dictionaries(st.text(max_size=3), st.floats(allow_nan=False) | st.integers(), max_size=3),
    message=st.none() | st.text(max_size=9),
    bases=st.lists(st.text(max_size=3), max_size=2).map(tuple),
)


@given(ENDED, st.none() | st.just(("a.pkl", 3, 5)))
def test_collected_lines_come_back(how: Ended, result: tuple[str, int, int] | None) -> None:
    import json

    line = Collected(3, 2, 1, how, result)
    assert Collected.from_json(json.loads(json.dumps(line.to_json(), allow_nan=False))) == line


def test_a_plan_shows_shares_and_scripts_and_writes_nothing(tmp_path: Path) -> None:
    with InlineCluster(options={"time": "30"}) as first, InlineCluster(root=tmp_path / "second") as second:
        sweep = Sweep(square, points(12), name="plan", directory=tmp_path / "sweeps")
        plan = sweep.plan(on=[(first, 2), (second, 1)], chunk=2)
        assert [(each.points, each.elements, each.slots) for each in plan.sources] == [(8, 4, 2), (4, 2, 1)]
        assert [each.cpu_hours for each in plan.sources] == [2.0, None]
        assert "12 points" in str(plan)
        assert plan.sources[0].plan is not None
        assert plan.sources[0].plan.labels == {"sweep": "plan"}
        assert not (tmp_path / "sweeps").exists()
        assert tree(tmp_path) == {}


def test_the_engine_runs_sweeps_in_an_event_loop(inline: InlineCluster, tmp_path: Path) -> None:
    async def main() -> None:
        engine = SweepEngine(tmp_path)
        name = await engine.run_sweep(fails_at_three, points(5), on=inline)
        assert (await engine.monitor_sweep(name)).counts == {State.DONE: 4, State.FAILED: 1}
        assert (await engine.complete_sweep(name, on=inline, failed=True)).shards.keys() == {1, 2}
        assert (await engine.monitor_sweep(name)).counts == {State.DONE: 4, State.FAILED: 1}
        assert await engine.cancel_sweep(name) == 0

    asyncio.run(main())


def test_what_waits_at_a_source_that_is_off_goes_to_the_others(inline: InlineCluster) -> None:
    sources = [Source(name, inline, slots) for name, slots in (("a", 1), ("b", 2), ("c", 2))]
    shards = {
        number: Shard(
            cluster={"url": name}, source=name, key="f/20260101T000000Z-00000000", points=(0, 9), chunk=2, code=""
        )
        for number, name in ((1, "a"), (2, "b"))
    }
    busy = [Point(n, {}, State.ALIVE, JobState.RUNNING, 1 + n, "ab"[n], 0) for n in range(2)]
    snapshot = Snapshot(busy, shards, {}, {})
    waiting = {1: range(2, 10), 2: range(6, 10)}  # four elements at a, two at b
    health = Health(probe_after=0.0)
    assert [(m.of, m.to.name, m.most) for m in moves(snapshot, sources, waiting, health)] == [("a", "c", 2)]
    for _ in range(3):
        health.fault("a", "its nodes fail")
    found = [(m.of, m.to.name, m.most, m.why) for m in moves(snapshot, sources, waiting, health)]
    assert found == [
        ("a", "b", 2, "moved: the source is off"),
        ("a", "c", 2, "moved: the source is off"),
        ("b", "a", 1, "probe"),
        ("b", "c", 1, "moved: the source had nothing to do"),
    ]
