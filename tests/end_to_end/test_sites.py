"""Kinds of sites, on real clusters of that kind: plugins, prologs, GPUs, reservations, what nodes do not share."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from accounts import NEEDS_ROOT, two_users
from slurm import Cluster, JobState, Retry, task, workflow
from slurm.doctor import examine
from slurm.errors import JobCancelled, OptionError, SubmissionRefused, TaskExited
from testbed import SlurmTestbed
from testbed.fixtures import require
from testbed.programs import slurm_release
from timing import set_timings
from waiting import remove, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from testbed.configless import ConfiglessMachine

pytestmark = pytest.mark.slurm

PLUGINS_SINCE = (21, 8)
"""The first release that reads job_submit.lua beside slurm.conf, and has job_container/tmpfs."""
LUA = """\
function slurm_job_submit(job, partitions, user)
    if job.partition == "closed" then
        slurm.log_user("closed until Monday")
        return slurm.ERROR
    elseif job.partition == "silent" then
        return slurm.ERROR
    elseif job.partition == "rewriting" then
        job.comment, job.name, job.time_limit = "paid by zoo", "renamed", 7
    elseif job.partition == "holding" then
        job.priority = 0
    elseif job.partition == "moving" then
        job.std_out = "@DIRECTORY@/%A_%a.out"
    end
    return slurm.SUCCESS
end
function slurm_job_modify(job, record, partitions, user)
    return slurm.SUCCESS
end
"""
PARTITIONS = ("closed", "silent", "rewriting", "holding", "moving")


@task
def variables(*names: str) -> list[str | None]:
    print("printed")
    return [os.environ.get(name) for name in names]


@workflow
def flow() -> list[str | None]:
    return variables("SLURM_JOB_ID").result()


@task(retry=Retry(times=1, on=(ValueError,)))
def second_time(mark: Path) -> str:
    if not mark.exists():
        mark.touch()
        raise ValueError("the first time")
    return "done"


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="slurm-test-site-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def site(directory: Path) -> Iterator[SlurmTestbed]:
    """One cluster with a submit plugin, a prolog that prints, GPUs and two kinds of nodes, which forgets jobs soon."""
    require()
    prolog = directory / "prolog"
    prolog.write_text("#!/bin/sh\necho print printed by the prolog\necho export FROM_PROLOG=1\n")
    prolog.chmod(0o755)
    settings = {"JobRequeue": "0", "MinJobAge": "2", "TaskProlog": str(prolog)}
    settings |= {"JobSubmitPlugins": "lua"} if slurm_release() >= PLUGINS_SINCE else {}
    with SlurmTestbed(
        settings={**settings, "GresTypes": "gpu"},
        partitions=dict.fromkeys(PARTITIONS, ""),
        node_settings={"Gres": "gpu:2"},
        kinds={"n2": {"Feature": "fat", "RealMemory": "4000"}},
        files={
            "job_submit.lua": LUA.replace("@DIRECTORY@", str(directory)),
            "gres.conf": "AutoDetect=off\nName=gpu File=/dev/null\nName=gpu File=/dev/zero\n",
        },
    ) as testbed:
        yield testbed


@pytest.fixture
def cluster_there(site: SlurmTestbed, root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    for name, value in site.env.items():
        monkeypatch.setenv(name, value)
    with Cluster("slurm", root=root) as cluster:
        yield cluster
    site.cancel_all()


def require_plugins() -> None:
    """Skip a test of plugins that the oldest release lacks, or reads from a place that a test must not write."""
    if slurm_release() < PLUGINS_SINCE:
        pytest.skip("Slurm before 21.08 reads job_submit.lua from /etc/slurm only, and has no job_container/tmpfs")


@pytest.mark.usefixtures("cluster_there")
def test_a_submit_plugin_rejects_with_words_or_without() -> None:
    require_plugins()
    for partition, words in (("closed", "closed until Monday"), ("silent", "Unspecified error")):
        with pytest.raises(SubmissionRefused, match=words) as refused:
            variables.with_options(partition=partition)()
        assert refused.value.certain


@pytest.mark.usefixtures("cluster_there")
def test_a_submit_plugin_rewrites_holds_and_moves(site: SlurmTestbed, directory: Path) -> None:
    require_plugins()
    rewritten = variables.with_options(partition="rewriting").starmap([("SLURM_JOB_PARTITION",)] * 2)
    moved = variables.with_options(partition="moving")("SLURM_JOB_ID")
    held = variables.with_options(partition="holding")()
    assert rewritten.results(60) == [["rewriting"]] * 2
    (id_,) = moved.result(60)
    assert (directory / f"{moved.job_id}.out").read_text() == "printed by the prolog\nprinted\n", id_
    assert f"writes the output of this job to {directory}/{moved.job_id}.out on " in moved.logs()
    until(lambda: held.status().reason == "JobHeldUser")
    held.cancel()
    with pytest.raises(JobCancelled):
        held.result(60)
    released = variables.with_options(partition="holding")("FROM_PROLOG")
    site.run("scontrol", "release", str(released.job_id))
    assert released.result(60) == ["1"]


def test_a_prolog_prints_and_jobs_are_forgotten_soon(
    cluster_there: Cluster, site: SlurmTestbed, tmp_path: Path
) -> None:
    job, again = variables("FROM_PROLOG"), second_time(tmp_path / "mark")
    assert again.result(60) == "done"
    until(lambda: not site.run("squeue", "-h", "-t", "all").stdout)
    later = cluster_there.job(job.key)
    assert later.result(60) == ["1"]  # type: ignore[union-attr]
    assert later.status().state is JobState.COMPLETED  # type: ignore[union-attr]
    assert job.logs() == "printed by the prolog\nprinted\n"


@pytest.mark.usefixtures("cluster_there")
def test_gpus_ranks_kinds_of_nodes_and_reservations(site: SlurmTestbed) -> None:
    which = ("SLURMD_NODENAME", "CUDA_VISIBLE_DEVICES")
    user = site.run("id", "-un").stdout.strip()
    site.run(
        *("scontrol", "create", "reservation", "reservationname=course", f"users={user}", "nodes=n1"),
        *("starttime=now", "duration=10"),
    )
    jobs = [
        variables.with_options(gres="gpu:2")("CUDA_VISIBLE_DEVICES"),
        variables.with_options(ntasks=2, gpus_per_task=1, gather=True, srun={"gpu_bind": "single:1"})(which[1]),
        variables.with_options(constraint="fat", mem="3G", gpus=1)(*which),
        variables.with_options(reservation="course")(which[0]),
    ]
    assert [job.result(60) for job in jobs] == [["0,1"], [["0"], ["1"]], ["n2", "0"], ["n1"]]
    site.run("scontrol", "delete", "reservationname=course")
    gone: list[tuple[dict[str, Any], str]] = [
        ({"reservation": "course"}, "Reservations: none"),
        ({"constraint": "slim"}, "Features: fat"),
    ]
    for wanted, instead in gone:
        with pytest.raises(SubmissionRefused) as refused:
            variables.with_options(**wanted)()
        assert instead in refused.value.offers


def test_options_of_heterogeneous_jobs_are_refused_with_words() -> None:
    options: dict[str, Any]
    for options in ({"sbatch": {"--het-group": "1"}}, {"srun": {"het_group": 1}}):
        with pytest.raises(OptionError, match="a job has one component here"):
            variables.with_options(**options)


# What users may not see.

ORDINARY = """
import sys
from slurm import Cluster, task

@task
def double(number):
    return 2 * number

with Cluster("slurm", root=sys.argv[1]) as cluster:
    print("RESULTS", double.map(range(3)).results(60))
    held = double.with_options(hold=True)(1)
    print("REASON", held.status().reason)
    held.cancel()
    for call in (lambda: held.result(60), lambda: double.with_options(partition="nope")(1)):
        try:
            call()
        except Exception as error:
            print("ERROR", type(error).__name__)
"""


@NEEDS_ROOT
def test_an_ordinary_user_where_everything_is_private(
    new_testbed: Callable[..., SlurmTestbed], directory: Path
) -> None:
    private = "accounts,events,jobs,nodes,partitions,reservations,usage,users"
    directory.chmod(0o755)
    with two_users(directory / "users") as (ann, _):
        testbed = new_testbed(nodes=1, settings={"PrivateData": private})
        testbed.directory.chmod(0o755)
        done = ann.python(ORDINARY, ann.home / "jobs", **testbed.env)
        expected = ["RESULTS [0, 2, 4]", "REASON JobHeldUser", "ERROR JobCancelled", "ERROR SubmissionRefused"]
        assert done.stdout.splitlines() == expected, done.stderr
        testbed.stop()


# What nodes do not share.


def started(monkeypatch: pytest.MonkeyPatch, testbed: SlurmTestbed) -> SlurmTestbed:
    set_timings(monkeypatch, unexplained_grace=2.0)
    for name, value in testbed.env.items():
        monkeypatch.setenv(name, value)
    return testbed


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount other directories on the nodes")
def test_nodes_with_another_home(
    new_testbed: Callable[..., SlurmTestbed], root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("SCRATCH", "WORK"):
        monkeypatch.delenv(name, raising=False)
    own_mounts = ("/usr/bin/unshare", "-m", "--propagation", "private")
    command = (*own_mounts, "/bin/sh", "-c", 'mount -t tmpfs none "$HOME" && exec "$@"', "sh")
    started(monkeypatch, new_testbed(nodes=1, node_command=command))
    with Cluster("slurm"):
        lost = variables("HOME")
    with Cluster("slurm", root=root):
        assert flow().result(60) != []
        assert variables("HOME").result(60) == [str(home)]
    with pytest.raises(TaskExited, match=r"which is empty\. Perhaps its node does not see this directory"):
        lost.result(60)


@pytest.fixture
def on_disk() -> Iterator[Path]:
    """A directory outside of /tmp, without the mounts that Slurm leaves there."""
    directory = Path(tempfile.mkdtemp(prefix="slurm-test-", dir="/var/tmp"))
    yield directory
    mounted = (line.split()[1] for line in Path("/proc/mounts").read_text().splitlines())
    for path in sorted((path for path in mounted if path.startswith(f"{directory}/")), reverse=True):
        subprocess.run(["umount", "--lazy", path], check=True)
    remove(directory)


@pytest.mark.usefixtures("cluster_there")
def test_the_doctor_says_that_comments_are_changed(root: Path) -> None:
    require_plugins()
    cluster = Cluster("slurm", root=root, options={"partition": "rewriting"})
    found = [each.found for each in examine(cluster, run_job=True, timeout=60) if each.check == "comment"]
    assert found == [
        "the site changes the comments of jobs, here to 'paid by zoo': jobs are known by their scripts instead"
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give each job a private /tmp")
def test_each_job_has_a_private_tmp(
    new_testbed: Callable[..., SlurmTestbed], on_disk: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_plugins()
    (on_disk / "spool/n1").mkdir(parents=True)
    settings = {"JobContainerType": "job_container/tmpfs", "PrologFlags": "Contain"}
    testbed = new_testbed(
        nodes=1,
        settings={**settings, "SlurmdSpoolDir": f"{on_disk}/spool/%n"},
        files={"job_container.conf": f"AutoBasePath=true\nBasePath={on_disk}/private\n"},
    )
    started(monkeypatch, testbed)
    with Cluster("slurm", root=directory / "jobs"):
        lost = variables()
    with Cluster("slurm", root=on_disk / "jobs"):
        assert variables("NONE").result(60) == [None]
    with pytest.raises(TaskExited, match=r"does not see .*/jobs/variables/.*\. Choose a root that all nodes see"):
        lost.result(60)
    testbed.stop()


# Machines without a slurm.conf.

CONFIGLESS = """
import sys
from pathlib import Path
from slurm import Cluster, Retry, task, workflow

@task
def double(number):
    print("doubles", number)
    return 2 * number

@workflow
def flow():
    return double(4).result()

@task(retry=Retry(times=1, on=(ValueError,)))
def second_time(mark):
    if not mark.exists():
        mark.touch()
        raise ValueError("the first time")
    return "done"

with Cluster("slurm", root=sys.argv[1]) as cluster:
    again = second_time(Path(sys.argv[1], "mark"))
    jobs = double.map(range(3))
    print(jobs.results(60), {job.status().state.value for job in jobs}, jobs[1].logs())
    held = double.with_options(hold=True)(1)
    print(held.status().state.value, held.status().reason)
    held.cancel()
    print(type(held.exception(60)).__name__, flow().result(60), again.result(60))
"""


@pytest.mark.parametrize("place", ["node", "login node"])
def test_no_machine_has_a_slurm_conf(
    configless_cluster: tuple[ConfiglessMachine, SlurmTestbed], root: Path, tmp_path: Path, place: str
) -> None:
    machine, testbed = configless_cluster
    hidden = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /run/slurm && exec "$@"', "sh")
    server = (*hidden, "env", f"SLURM_CONF_SERVER={testbed.conf_server}")  # no slurmd made a copy of slurm.conf there
    inside = (*machine.inside, *(server if place == "login node" else ()))
    program = tmp_path / "program.py"
    program.write_text(CONFIGLESS)
    done = testbed.run(*inside, sys.executable, str(program), str(root), timeout=300)
    assert done.stdout.splitlines() == [
        "[0, 2, 4] {'COMPLETED'} doubles 1",
        "",
        "PENDING JobHeldUser",
        "JobCancelled 8 done",
    ]
    doctor = (sys.executable, "-m", "slurm", "doctor", f"slurm://{root}", "--run-job")
    lines = testbed.run(*inside, *doctor, timeout=300).stdout.splitlines()
    levels = {words[1]: words[0] for line in lines if len(words := line.split()) > 1}
    assert (levels["scheduler"], levels["partition"], levels["job"]) == ("ok", "ok", "ok"), lines
    assert not [line for line in lines if line.startswith("error")]
    without = testbed.run(*machine.inside, *hidden, *doctor, check=False, timeout=300).stdout
    assert "or SLURM_CONF_SERVER=host:port if machines get" in without
    assert "error    job         slurm refused" in without  # nothing was queued, for sure
