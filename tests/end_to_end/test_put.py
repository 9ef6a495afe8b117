"""What is sent once and used by many calls."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from slurm import Cluster, command, task, workflow
from slurm.errors import NotPicklable, SubmissionError


class Table:
    """A class of the script, which goes by value."""

    def __init__(self, rows: list[int]) -> None:
        self.rows = rows


@task
def lookup(table: Table, at: int) -> tuple[int, int]:
    return table.rows[at], id(table)


@task
def read(path: Path) -> tuple[str, int]:
    return path.read_text(), path.stat().st_mode & 0o777


@task
def listing(path: Path) -> list[str]:
    return sorted(str(found.relative_to(path)) for found in path.rglob("*"))


@workflow
def within(table: Table, path: Path) -> tuple[int, str]:
    return lookup(table, 0).result()[0], read(Cluster.current().put(path)).result()[0]


def test_an_object_is_sent_once_and_loaded_once_in_a_process(cluster: Cluster, root: Path) -> None:
    table = cluster.put(Table([3, 1, 2]))
    array = lookup.starmap([(table, at) for at in range(3)], chunk_size=3)
    results = array.results(90)
    assert [value for value, _ in results] == [3, 1, 2]
    assert len({address for _, address in results}) == 1
    before = set(os.listdir(root / "blobs"))
    again = cluster.put(Table([3, 1, 2]))
    assert lookup(pickle.loads(pickle.dumps(again)), 1).result(90)[0] == 1
    assert set(os.listdir(root / "blobs")) == before


@task
def mapped(data: dict[str, Any], at: int) -> tuple[float, bool, bool, int]:
    array, maps = data["array"], Path("/proc/self/maps").read_text()
    return float(array[at]), array.flags.writeable, data["blob"] in maps, data["empty"].size


def test_arrays_are_mapped_into_memory_and_read_only(cluster: Cluster, root: Path) -> None:
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(3000.0)
    data = cluster.put({"odd": numpy.ones(3, "u1"), "array": array, "blob": "-file", "empty": numpy.ones((0, 2))})
    assert mapped(data, 2999).result(90) == (2999.0, False, True, 0)
    columns = array.reshape(30, 100).T
    assert total.map([cluster.put(columns), cluster.put(columns[::2])]).results(90) == [
        columns.sum(),
        columns[::2].sum(),
    ]
    assert total(cluster.put(numpy.array([1, None], dtype=object)[:1])).result(90) == 1
    for wrong in (data, cluster.put(columns)):
        with pytest.raises(ValueError, match="read-only"):
            overwrite(wrong).result(90)


@task
def total(array: Any) -> float:
    return float(array.sum())


@task
def overwrite(data: Any) -> None:
    (data["array"] if isinstance(data, dict) else data)[0] = 1


def test_a_file_and_a_directory_are_read_only_paths(cluster: Cluster, tmp_path: Path) -> None:
    data = tmp_path / "däta"
    (data / "sub").mkdir(parents=True)
    (data / "a.csv").write_text("1,2")
    (data / "sub" / "b").write_text("b")
    (data / ".env").write_text("secret")
    put = cluster.put(data)
    assert listing(put).result(90) == ["a.csv", "sub", "sub/b"]
    file = cluster.put(data / "a.csv")
    assert read(file).result(90) == ("1,2", 0o444)
    done = command("cat {file}")(file).result(90)
    assert (done.directory / "stdout.log").read_text() == "1,2"


def test_a_workflow_takes_and_makes_them(local: Cluster, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("text")
    assert within(local.put(Table([7])), tmp_path / "f").result(90) == (7, "text")


def test_a_file_that_a_task_changes_in_place_is_an_error_at_the_next_use(local: Cluster, tmp_path: Path) -> None:
    @task
    def change(path: Path) -> None:
        path.chmod(0o600)
        path.write_text("other")
        path.chmod(0o444)

    (tmp_path / "f").write_text("right")
    put = local.put(tmp_path / "f")
    change(put).result(60)
    with pytest.raises(Exception, match="is not the file that was sent"):
        read(put).result(60)


def test_what_cannot_be_put_is_an_error(local: Cluster, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"for a file or directory, write put\(Path\('data.csv'\)\)"):
        local.put("data.csv")
    with pytest.raises(SubmissionError, match=r"which does not exist"):
        local.put(tmp_path / "nothing")
    with pytest.raises(NotPicklable):
        local.put(number for number in [1])
    with pytest.raises(NotPicklable, match="takes no jobs"):
        local.put([read(tmp_path)])


def test_what_was_put_on_another_cluster_is_an_error(local: Cluster, tmp_path: Path) -> None:
    other = Cluster("local", root=tmp_path / "other")
    with pytest.raises(SubmissionError, match=r"what was put object/.* is on local"):
        lookup(other.put(Table([1])), 0)
