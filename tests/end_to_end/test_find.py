"""Jobs are found by what people have at hand: a job id, the beginning of a key, a label, "last"."""

from __future__ import annotations

import contextlib

import pytest
from click.testing import CliRunner

from slurm import Cluster, Job, JobArray, Retry, current_job, task
from slurm.cli.main import slurm
from slurm.errors import NoSuchJob
from slurm.testing import InlineCluster
from waiting import until


@task(time="5", labels={"sweep": "depths"})
def square(x: int) -> int:
    return x * x


@task(time="5", retry=Retry(times=1, on=ValueError, time="x2"))
def second(x: int) -> str | None:
    """Fails once for odd numbers; returns the id of its last job."""
    if x % 2 and current_job().attempt == 1:
        raise ValueError(x)
    return current_job().job_id


def test_jobs_are_found_by_what_people_have_at_hand(cluster: Cluster) -> None:
    one = square.with_options(labels={"sweep": "one"})(3)
    many = square.map(range(5), chunk_size=2)
    assert many.results(90) == [0, 1, 4, 9, 16]
    fresh = Cluster(cluster.url)
    assert one.job_id is not None
    assert many[4].job_id is not None
    array, _, _ = many[4].job_id.partition("_")
    assert fresh.job(one.job_id) == fresh.job(one.job_id.removesuffix("_0")) == one
    assert isinstance(fresh.job(one.job_id), Job)
    assert fresh.job(array) == many
    assert fresh.job(many[4].job_id) == many[4]
    assert fresh.job(f"{array}_1") == many[2:4]
    assert fresh.job("last") == many
    assert fresh.job("last[3]") == many[3]
    assert fresh.job("sweep=one") == one
    assert fresh.job("sweep=depths[1]") == many[1]
    word = one.key.rpartition("-")[2]
    assert fresh.job(one.key[:-1]) == fresh.job(word) == fresh.job(word[:7]) == one
    for text in ("square", "square/20", "sq"):
        with pytest.raises(NoSuchJob, match=f"^'{text}' names several jobs: .*. Write more of the key") as caught:
            fresh.job(text)
        assert many.key in str(caught.value)
        assert one.key in str(caught.value)


NOTHING = ("", "nothing", "nothing/at-all", "99999999", "99999999_1", "sweep=no", "=", "a=b=c", "[", "[0]", "no\nnews")


@pytest.mark.parametrize("text", NOTHING)
def test_a_text_that_names_no_job_is_one_clear_error(local: Cluster, text: str) -> None:
    square(1)
    with pytest.raises(NoSuchJob, match=r"there is no job .*: write its key, the beginning of one, an id like 1234"):
        local.job(text)


def test_a_label_of_several_jobs_is_called_a_label(inline: InlineCluster) -> None:
    square.with_options(labels={"run": "ref 2"})(1)
    square.with_options(labels={"run": "ref 2"})(2)
    with pytest.raises(NoSuchJob, match=r"several jobs have the label 'run=ref 2': .*`slurm jobs --label 'run=ref 2'`"):
        inline.job("run=ref 2")


def test_there_is_no_last_job_without_jobs(local: Cluster) -> None:
    with pytest.raises(NoSuchJob, match="there is no last job"):
        local.job("last")


def test_the_id_of_a_later_attempt_finds_its_call(cluster: Cluster) -> None:
    jobs = second.map(range(4))
    ids = jobs.results(120)
    fresh = Cluster(cluster.url)

    def found() -> list[Job[str | None] | JobArray[str | None]] | None:
        with contextlib.suppress(NoSuchJob):  # a quick call may end before the process that queued it records its id
            return [fresh.job(str(id_)) for id_ in ids]
        return None

    until(found)
    assert found() == list(jobs)


def test_the_command_takes_all_names(local: Cluster) -> None:
    job = square(4)
    assert job.result(60) == 16
    assert job.job_id is not None
    for name in (job.job_id, "last", "sweep=depths", job.key.rpartition("-")[2]):
        done = CliRunner().invoke(slurm, ["show", name, "--on", local.url])
        assert done.exit_code == 0, done.output
        assert job.key in done.output


def test_an_array_is_found_as_an_array(local: Cluster) -> None:
    square.map([1, 2])
    assert isinstance(local.job("last"), JobArray)
