"""The testbed itself: it comes up, takes its own limits and clock, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

import testbed.programs
import testbed.slurm
from testbed import CommandError, SlurmTestbed, SlurmTestbedError
from testbed.config import LOOPBACK, free_ports, slurm_conf
from testbed.fixtures import require
from testbed.generations import VARIABLE, activate
from testbed.programs import plugin_directory

pytestmark = pytest.mark.slurm

NewTestbed = Callable[..., SlurmTestbed]

# Owns a cluster with a running job whose child left its session; says where it is; waits to be killed.
OWNER = """
import time
from testbed import SlurmTestbed
cluster = SlurmTestbed()
cluster.start()
cluster.run("sbatch", "-N2", "-o", "/dev/null", "--wrap", "setsid sleep 1000 & srun -N2 sleep 1000")
while cluster.run("squeue", "-h", "-s", "-o", "%i").stdout.count(".") < 2:
    time.sleep(0.02)
time.sleep(0.3)
print(cluster.directory, flush=True)
time.sleep(1000)
"""


def wait_until(condition: Callable[[], object], seconds: float) -> None:
    """Wait until the condition holds; fail if that takes longer than given."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, "waited too long"
        time.sleep(0.02)


class Process(NamedTuple):
    """A process; its start time tells it from a later one with the same pid."""

    pid: int
    started: str
    name: str


def descendants(ancestor: int) -> set[Process]:
    """Return the processes below one, and itself."""
    parents: dict[int, int] = {}
    found: dict[int, Process] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            head, _, tail = stat.read_text().rpartition(")")
            pid, name = head.split(" (", 1)
            parents[int(pid)] = int(tail.split()[1])
            found[int(pid)] = Process(int(pid), tail.split()[19], name)
    below = {ancestor}
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
    return {found[pid] for pid in below if pid in found}


def is_alive(process: Process) -> bool:
    """Say whether it, and not another one with its pid, is there, be it as a zombie."""
    return process in descendants(process.pid)


def test_comes_up_quickly_and_runs_a_step_on_both_nodes(new_testbed: NewTestbed) -> None:
    begun = time.monotonic()
    cluster = new_testbed()
    assert time.monotonic() - begun < 2
    assert sorted(cluster.run("srun", "-N2", "printenv", "SLURMD_NODENAME").stdout.split()) == ["n1", "n2"]


def test_listens_on_loopback_only(slurm_testbed: SlurmTestbed) -> None:
    pids = [slurm_testbed.slurmctld.pid, *(daemon.pid for daemon in slurm_testbed.slurmd.values())]
    sockets = {str(each.readlink()) for pid in pids for each in Path(f"/proc/{pid}/fd").iterdir() if each.is_symlink()}
    rows = [row.split() for table in ("tcp", "tcp6") for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]]
    listening = [row[1].partition(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets]
    assert listening == ["0100007F"] * 3


def test_a_cluster_has_the_limits_it_was_given(new_testbed: NewTestbed) -> None:
    cluster = new_testbed(settings={"maxarraysize": "11"}, partitions={"night": "MaxTime=5 Nodes=n1"})
    cluster.run("sbatch", "-o", "/dev/null", "--array=0-10", "--wrap", "true")
    with pytest.raises(CommandError, match="Invalid job array specification"):
        cluster.run("sbatch", "-o", "/dev/null", "--array=0-11", "--wrap", "true")
    assert cluster.run("sinfo", "-h", "-p", "night", "-o", "%l %N").stdout == "5:00 n1\n"


def test_a_setting_replaces_its_line_whatever_its_case(tmp_path: Path) -> None:
    text = slurm_conf(
        tmp_path,
        port=1,
        nodes={"n1": 2},
        node_settings={"CPUs": "1"},
        settings={"KILLWAIT": "9", "MpiDefault": ""},
        partitions={},
    )
    keys = [line.partition("=")[0].lower() for line in text.splitlines()]
    assert len(keys) == len(set(keys))
    assert "KILLWAIT=9\n" in text
    assert "mpidefault" not in keys


def test_two_at_once_know_nothing_of_each_other(new_testbed: NewTestbed) -> None:
    one, two = new_testbed(nodes=1), new_testbed(nodes=3)
    one.run("sbatch", "-o", "/dev/null", "--wrap", "sleep 100")
    assert len(one.run("squeue", "-h").stdout.splitlines()) == 1
    assert two.run("squeue", "-h").stdout == ""
    assert two.run("sinfo", "-h", "-o", "%D").stdout.strip() == "3"
    one.stop()
    assert sorted(two.run("srun", "-N3", "printenv", "SLURMD_NODENAME").stdout.split()) == ["n1", "n2", "n3"]


def test_two_clusters_share_one_accounting(two_clusters: tuple[SlurmTestbed, SlurmTestbed]) -> None:
    first, second = two_clusters
    submit = ["sbatch", "--parsable", "--wait", "-o", "/dev/null", "--wrap", "true", "-M"]
    answers = [first.run(*submit, name).stdout.strip().split(";") for name in ("testbed", "other")]
    assert [name for _, name in answers] == ["testbed", "other"]
    assert answers[0][0] == answers[1][0]  # the same number twice
    assert first.run("sinfo", "-h", "-M", "other", "-o", "%N").stdout.splitlines()[-1] == "m1"
    assert second.run("sinfo", "-h", "-o", "%N").stdout == "m1\n"
    rows = ["sacct", "-nXP", "-j", answers[0][0], "-o", "cluster,nodelist", "-M"]
    wait_until(lambda: first.run(*rows, "other").stdout == "other|m1\n", 30)
    wait_until(lambda: first.run(*rows, "testbed").stdout == "testbed|n1\n", 30)


@pytest.mark.parametrize("lost", [0, 1], ids=["slurmctld", "slurmd"])
def test_a_port_that_another_took_is_given_up(
    new_testbed: NewTestbed, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        ports = free_ports(3)
        ports[lost] = taken.getsockname()[1]
        answers = [ports, free_ports(3)]
        monkeypatch.setattr(testbed.slurm, "free_ports", lambda count: answers.pop(0) if answers else free_ports(count))
        cluster = new_testbed()
    assert answers == []
    cluster.run("srun", "-N2", "true")


def test_a_cluster_that_cannot_come_up_says_why(new_testbed: NewTestbed) -> None:
    with pytest.raises(SlurmTestbedError, match="select/nonsense"):
        new_testbed(settings={"SelectType": "select/nonsense"})


def test_a_faster_clock_ends_a_job_of_a_minute_in_seconds(new_testbed: NewTestbed) -> None:
    cluster = new_testbed(speedup=20)
    job = cluster.run("sbatch", "--parsable", "-t", "1", "-o", "/dev/null", "--wrap", "sleep 300").stdout.strip()
    state = ["squeue", "-h", "-t", "all", "-j", job, "-o", "%T"]
    wait_until(lambda: cluster.run(*state).stdout == "TIMEOUT\n", 15)


def test_a_killed_slurmd_takes_its_node_down_and_brings_it_back(new_testbed: NewTestbed) -> None:
    cluster = new_testbed(speedup=20, settings={"SlurmdTimeout": "100"})
    before = cluster.slurmd["n1"].pid
    cluster.slurmd["n1"].kill()
    assert not cluster.slurmd["n1"].alive()
    node = ["sinfo", "-h", "-N", "-n", "n1", "-o", "%T"]
    wait_until(lambda: cluster.run(*node).stdout == "down*\n", 30)
    cluster.wait_ready()  # the other node is
    cluster.slurmd["n1"].start()
    cluster.wait_ready()
    assert cluster.slurmd["n1"].pid != before
    assert cluster.run("srun", "-w", "n1", "printenv", "SLURMD_NODENAME").stdout == "n1\n"


def test_a_job_outlives_a_restart_of_slurmctld(new_testbed: NewTestbed) -> None:
    cluster = new_testbed()
    job = cluster.run("sbatch", "--parsable", "-o", "/dev/null", "--wrap", "sleep 300").stdout.strip()
    state = ["squeue", "-h", "-j", job, "-o", "%T"]
    wait_until(lambda: cluster.run(*state).stdout == "RUNNING\n", 10)
    cluster.slurmctld.terminate()
    # Not its exit status: 20.11's is 0.
    assert " is DOWN" in cluster.run("scontrol", "ping", check=False).stdout
    cluster.slurmctld.start()
    cluster.wait_ready()
    assert cluster.run(*state).stdout == "RUNNING\n"
    cluster.cancel_all()
    assert cluster.run("squeue", "-h").stdout == ""


def test_a_paused_slurmctld_answers_after_it_is_resumed(new_testbed: NewTestbed) -> None:
    cluster = new_testbed(nodes=1)
    cluster.slurmctld.pause()
    with pytest.raises(subprocess.TimeoutExpired):
        cluster.run("squeue", timeout=0.5)
    assert cluster.slurmctld.alive()
    cluster.slurmctld.resume()
    cluster.run("squeue", timeout=5)


def test_stop_leaves_no_process_and_no_file() -> None:
    others = descendants(os.getpid())
    with SlurmTestbed() as cluster:
        cluster.run("sbatch", "-o", "/dev/null", "--wrap", "setsid sleep 1000 & sleep 1000")
        wait_until(
            lambda: {"slurmctld", "slurmd", "slurmstepd", "sleep"} <= {each.name for each in descendants(os.getpid())},
            10,
        )
        cluster.slurmd["n2"].pause()
        ours = descendants(os.getpid()) - others
    assert not any(is_alive(each) for each in ours)
    assert not cluster.directory.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_when_the_owner_dies(number: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen([sys.executable, "-c", OWNER], env=environment, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        directory = Path(owner.stdout.readline().strip())
        ours = descendants(owner.pid)
        owner.send_signal(number)
    assert directory.name.startswith("slurm-testbed-")
    assert {"slurmctld", "slurmd", "slurmstepd", "sleep"} <= {each.name for each in ours}
    wait_until(lambda: not any(is_alive(each) for each in ours), 10)
    wait_until(lambda: not directory.exists(), 5)


def test_the_command_line_runs_a_command_in_a_cluster() -> None:
    program = str(Path(__file__).with_name("testbed"))
    script = 'echo $SLURM_CONF; srun -n1 sh -c "exit 7"'
    done = subprocess.run(
        [sys.executable, program, "--nodes", "1", "--set", "MinJobAge=2", "--", "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 7
    conf = Path(done.stdout.strip())
    assert conf.name == "slurm.conf"
    assert not conf.parent.exists()


def test_the_command_line_brings_a_second_cluster() -> None:
    require(accounting=True)
    program = str(Path(__file__).with_name("testbed"))
    script = "srun printenv SLURM_CLUSTER_NAME; SLURM_CONF=$SECOND_SLURM_CONF srun printenv SLURM_CLUSTER_NAME"
    done = subprocess.run(
        [sys.executable, program, "--second-cluster", "--", "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == "testbed\nother\n"


@pytest.mark.skipif(VARIABLE not in os.environ, reason=f"{VARIABLE} names no release")
def test_the_release_that_was_asked_for_runs(slurm_env: SlurmTestbed) -> None:
    wanted = os.environ[VARIABLE]
    assert f" {wanted}." in slurm_env.run("sinfo", "-V").stdout
    assert f"= {wanted}." in next(
        line for line in slurm_env.run("scontrol", "show", "config").stdout.splitlines() if "SLURM_VERSION" in line
    )
    stepd = slurm_env.run("srun", "-n1", "sh", "-c", "readlink /proc/$PPID/exe").stdout
    assert Path(stepd.strip()).name.startswith("slurmstepd")
    assert (wanted in stepd) == (plugin_directory() is not None)  # the machine's would serve nobody else's slurmd


def test_a_missing_release_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(SlurmTestbedError, match=r"has no Slurm 9\.9: choose 20\.11, "):
        activate("9.9")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(testbed.programs, "_DAEMON_DIRECTORIES", ())
    with pytest.raises(SlurmTestbedError, match=r"\(no apt-get, dpkg-deb, patchelf\); install with: sudo"):
        activate("24.11")


def test_the_environment_of_a_test_names_the_shared_cluster(slurm_env: SlurmTestbed) -> None:
    assert os.environ["SLURM_CONF"] == str(slurm_env.conf)
    assert shutil.which("slurmd")
    subprocess.run(["srun", "true"], check=True, timeout=30)
