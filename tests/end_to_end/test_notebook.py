"""In a real Jupyter kernel: changed cells, interrupts, restarts, the running event loop, and displays."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from kernel import Cell, Kernel
from testbed import SlurmTestbed, SSHTestbed
from testbed.programs import without_slurm
from waiting import until

SETUP = """
import asyncio, os, subprocess, sys, threading, time
from slurm import Cluster, as_completed, current_job, gather, task, wait
from slurm.callbacks import ProgressCallback

def say_once_it_waits():
    '''Print, from a thread, once the main thread has left this function and waits.'''
    def calls():
        frame = sys._current_frames()[main]
        while frame:
            yield frame.f_code.co_name
            frame = frame.f_back
    def watch():
        while (names := list(calls()))[0] not in ("wait", "as_they_end", "select") or "say_once_it_waits" in names:
            time.sleep(0.01)
        print("it waits", flush=True)
    main = threading.get_ident()
    threading.Thread(target=watch).start()

@task
def nap(seconds):
    time.sleep(seconds)
    return seconds

@task
def train(gate, fails):
    current_job().progress(40, 100, loss=0.25)
    while not os.path.exists(gate): time.sleep(0.02)
    if fails: raise ValueError(gate)
"""


class Session:
    """A kernel, and the directory of its notebook."""

    def __init__(self, kernel: Kernel, directory: Path) -> None:
        self.kernel, self.directory = kernel, directory
        self.run(SETUP)

    def restart(self) -> None:
        """Restart the kernel."""
        self.kernel.restart()
        self.run(SETUP)

    def run(self, code: str) -> Cell:
        """Run a cell, which must not fail."""
        cell = self.kernel.run(dedent(code))
        assert cell.error is None, cell.error[2]
        return cell

    def interrupted(self, code: str) -> tuple[str, str]:
        """Run a cell and interrupt it once it waits; the name and the message of its error."""
        cell = self.kernel.run(f"say_once_it_waits()\n{code}", interrupt_after="it waits")
        assert cell.error is not None
        return cell.error[:2]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A kernel for all tests here."""
    directory = tmp_path_factory.mktemp("notebook")
    environment = {**without_slurm(os.environ), "HOME": str(directory)}
    # Short, for sockets.
    with tempfile.TemporaryDirectory() as place, Kernel(Path(place), directory, environment) as kernel:
        yield Session(kernel, directory)


@pytest.fixture
def here(session: Session) -> Session:
    """The kernel, with this machine as the active cluster."""
    session.run("cluster = Cluster('local').activate()")
    return session


@pytest.fixture
def far(session: Session, slurm_env: SlurmTestbed, ssh_env: SSHTestbed, root: Path) -> Session:
    """The kernel, with a Slurm behind SSH as the active cluster."""
    session.run(f"""
        os.environ["SLURMTASKS_SSH_CONFIG"] = {str(ssh_env.config)!r}
        cluster = Cluster("slurm+ssh://box", root={str(root)!r}).activate()
        """)
    return session


def test_a_cell_that_was_changed_and_run_again_counts(here: Session) -> None:
    here.run("""
        factor = 2
        class Point:
            def __init__(self, x): self.x = x
        def scaled(x): return Point(factor * x)
        def closed_over(offset):
            @task
            def shifted(x): return scaled(x).x + offset
            return shifted
        @task
        def scale(x): return scaled(x)
        before, first = scale(1), closed_over(100)(1)
        """)
    assert here.run("type(before.result()) is Point, before.result().x, first.result()").text == "(True, 2, 102)"
    here.run("""
        factor = 3
        class Point:
            def __init__(self, x): self.x = x
            def negative(self): return -self.x
        def scaled(x): return Point(factor * x + 1)
        """)
    assert here.run("after = scale(1).result(); type(after) is Point, after.negative()").text == "(True, -4)"
    assert here.run("closed_over(100)(1).result()").text == "104"


def test_a_class_that_comes_back_stays_this_notebooks_own(here: Session) -> None:
    here.run("""
        class Counter:
            step = 1
            def count(self): return stepped(self.step)
        class Empty(Exception): pass
        def stepped(x): return x + 1
        @task
        def counter():
            return Counter()
        @task
        def empty():
            raise Empty
        own, error = counter().result(), empty().exception()
        def stepped(x): return x + 100
        Counter.step = 2
        """)
    assert here.run("isinstance(own, Counter), isinstance(error, Empty)").text == "(True, True)"
    assert here.run("counter().result().count(), own.count(), Counter.step").text == "(102, 102, 2)"


def test_a_module_that_was_edited_and_reloaded_counts(here: Session) -> None:
    module = here.directory / "loose.py"
    module.write_text("from slurm import task\ndef helper(x): return x + 1\n@task\ndef call(x): return helper(x)\n")
    here.run("%load_ext autoreload\n%autoreload 2\nimport loose")
    assert here.run("loose.call(1).result()").text == "2"
    module.write_text("from slurm import task\ndef helper(x): return x + 10\n@task\ndef call(x): return -helper(x)\n")
    assert here.run("loose.call(1).result()").text == "-11"


def test_the_running_event_loop_goes_on_while_a_cell_awaits(here: Session) -> None:
    cell = here.run("""
        async def tick():
            while True:
                ticks.append(1)
                await asyncio.sleep(0.01)
        ticks = []
        ticking = asyncio.ensure_future(tick())
        array = nap.map([0.3, 0.2])
        both = await asyncio.gather(*array)
        ticking.cancel()
        both, len(ticks) > 5, await asyncio.wait_for(array[0], 30)
        """)
    assert cell.text == "([0.3, 0.2], True, 0.3)"


def test_a_traceback_shows_the_lines_of_cells_which_the_node_never_saw(here: Session) -> None:
    here.run("""
        @task
        def split(text):
            first, second = text.split()  # two words
            return first
        failed = split("one")
        """)
    cell = here.kernel.run("failed.result()")
    assert cell.error is not None
    told, _, raised = cell.error[2].partition("direct cause")
    assert (cell.error[0], told.count("# two words")) == ("ValueError", 1)
    assert "in job split/" in raised
    shown = here.run("failed").html
    assert ("# two words" in shown, ">ValueError: not enough" in shown, "FAILED" in shown) == (True, True, True)


def test_progress_is_a_live_output_while_tasks_run_fail_and_end(here: Session, tmp_path: Path) -> None:
    def open_the_gate(shown: Mapping[str, str]) -> None:
        if shown["text/html"].count(">40/100 loss=0.25<") == 3:  # while the cell waits
            (tmp_path / "gate").touch()

    code = f"""
        with Cluster(callbacks=[ProgressCallback()]):
            train.map([{str(tmp_path / "gate")!r}] * 3, [0, 1, 0]).exceptions()
        """
    cell = here.kernel.run(dedent(code), meanwhile=open_the_gate)
    assert (cell.error, len(cell.shown)) == (None, 1)
    (shown,) = (shown for shown in here.kernel.live.values() if shown[0] == cell.shown[0])
    assert (shown[0]["text/plain"], len(shown) > 2) == ("train: 0/3, 3 pending", True)
    assert re.fullmatch(r"train: 3/3, 1 failed, .*, in 0:00:\d\d", shown[-1]["text/plain"])
    assert ('<progress value="3" max="3">' in shown[-1]["text/html"], "40/100" in shown[-1]["text/html"]) == (
        True,
        False,
    )


def test_cell_ends_once_progress_shows_the_end_of_its_jobs(here: Session) -> None:
    cell = here.run("""
        class Slow(ProgressCallback):
            def on_state(self, event):
                time.sleep(0.5)
                super().on_state(event)
        nap.on(Cluster(callbacks=[Slow()])).map([0, 0]).results()
        """)
    (shown,) = (shown for shown in here.kernel.live.values() if shown[0] == cell.shown[0])
    assert re.fullmatch(r"nap: 2/2, .*in 0:00:\d\d", shown[-1]["text/plain"])


def test_progress_stays_live_when_its_cell_is_interrupted(here: Session, tmp_path: Path) -> None:
    cell = here.run(f"""
        with Cluster(callbacks=[ProgressCallback()]):
            array = train.map([{str(tmp_path / "gate")!r}] * 2, [0, 0])
        """)
    (shown,) = (shown for shown in here.kernel.live.values() if shown[0] == cell.shown[0])
    assert here.interrupted("array.results()")[0] == "KeyboardInterrupt"
    (tmp_path / "gate").touch()
    here.run("array.results()")
    until(lambda: here.run("pass") and shown[-1]["text/plain"].startswith("train: 2/2, "))
    assert " in 0:00:" in shown[-1]["text/plain"]


INTERRUPTED = {
    "array.results()": ("KeyboardInterrupt", "The jobs go on; come back to them with "),
    "array[1].result()": ("KeyboardInterrupt", "The job goes on; come back to it with "),
    "wait(array)": ("KeyboardInterrupt", "2 of 2 jobs have not ended; they go on; come back to them with "),
    "gather(array)": ("KeyboardInterrupt", "2 of 2 jobs have not ended; they go on; come back to them with "),
    "await array[0]": ("CancelledError", "The job goes on; come back to it with "),
}


@pytest.mark.slurm
def test_to_interrupt_a_cell_that_waits_ends_nothing_else(far: Session, tmp_path: Path) -> None:
    far.run(f"""
        @task
        def held(number):
            while not os.path.exists({str(tmp_path / "go")!r}): time.sleep(0.05)
            return number
        def master():
            ssh = cluster.place.transport
            return subprocess.run([*ssh._ssh(), "-O", "check", "--", "box"], capture_output=True, text=True).stderr
        array = held.map([1, 2])
        """)
    connection = far.run("master()").text
    assert "Master running" in connection
    for code, (name, message) in INTERRUPTED.items():
        told = far.interrupted(code)
        assert (told[0], told[1].startswith(message), "\n" in told[1]) == (name, True, False), told
    assert far.run("master()").text == connection
    (tmp_path / "go").touch()
    assert far.run("array.results()").text == "[1, 2]"


@pytest.mark.slurm
def test_to_interrupt_a_command_over_ssh_ends_it_at_once(far: Session) -> None:
    far.run("""
        def sleep():
            threading.Thread(target=lambda: (time.sleep(1), print("it waits", flush=True))).start()
            cluster.place.transport.run(["sleep", "50"])
        """)
    assert far.kernel.run("sleep()", interrupt_after="it waits").error is not None
    assert far.run("nap(0).result()").text == "0"


@pytest.mark.slurm
def test_jobs_outlive_the_kernel_and_another_comes_back_to_them(far: Session) -> None:
    array, job = far.run("array, last = nap.map([0, 2]), nap(0); print(array.key, last.key)").printed.split()
    place = far.run("cluster.url, os.environ['SLURMTASKS_SSH_CONFIG']").text
    far.restart()
    far.run(f"url, os.environ['SLURMTASKS_SSH_CONFIG'] = {place}; cluster = Cluster(url)")
    listed = far.run("cluster.jobs()")
    assert [key in text for key in (array, job) for text in (listed.html, listed.text)] == [True] * 4
    assert far.run(f"cluster.job({array!r}).results(), cluster.job({job!r}).result()").text == "([0, 2], 0)"
    shown = re.sub("<[^>]*>", " ", far.run(f"cluster.job({array!r})").html)
    assert "2 ● COMPLETED" in " ".join(shown.split())
