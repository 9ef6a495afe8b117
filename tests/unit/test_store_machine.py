"""Attempts of one element that are killed anywhere: what is visible is whole, is there once, and stays.

Each attempt is a process of its own that stops before every system call of the protocol. It is let go step by step, or
killed where it stands.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sys
import tempfile
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from slurm.protocol import OUTCOMES, RESULTS, RUN
from slurm.protocol.outcomes import Outcome
from slurm.runner.result_saver import ResultSaver
from unit.conftest import in_memory
from unit.job_directories import Directory, pickled

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS = ("open", "fsync", "link", "unlink")
LIVE = Bundle("live")


class Attempt(NamedTuple):
    """A process that writes the outcome of an element, and stops before each step until it is told."""

    pid: int
    commands: int
    reports: int

    def step(self) -> bool:
        """Let it go to its next step; False once it has ended."""
        os.write(self.commands, b"g")
        return self.waits()

    def waits(self) -> bool:
        return os.read(self.reports, 1) == b"s"

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self.bury()

    def bury(self) -> bytes:
        """Its last words."""
        with os.fdopen(self.reports, "rb") as reports:
            said = reports.read()
        os.close(self.commands)
        os.waitpid(self.pid, 0)
        return said


class Slow:
    """Half of its pickle is on the disk when the process stops in the middle of it."""

    def __init__(self, pause: Callable[[], object]) -> None:
        self.pause = pause

    def __reduce__(self) -> tuple[Any, ...]:
        self.pause()
        return int, ("7",)


def attempt(directory: Directory, number: int, *, fails: bool) -> Attempt:
    """Start an attempt in a process of its own, up to its first step."""
    heard, commands = os.pipe()
    reports, said = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other tests' threads: the child never needs them
        pid = os.fork()
    if pid == 0:
        os.close(commands)
        os.close(reports)
        _write(directory, number, fails=fails, heard=heard, said=said)
    os.close(heard)
    os.close(said)
    started = Attempt(pid, commands, reports)
    assert started.waits()
    return started


def _write(directory: Directory, number: int, *, fails: bool, heard: int, said: int) -> NoReturn:
    try:

        def pause() -> None:
            os.write(said, b"s")
            if os.read(heard, 1) != b"g":
                os._exit(1)

        def gated(function: Callable[..., Any]) -> Callable[..., Any]:
            def stopping(*args: Any, **kwargs: Any) -> Any:
                pause()
                return function(*args, **kwargs)

            return stopping

        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        for name in STEPS:
            setattr(os, name, gated(getattr(os, name)))
        saver = ResultSaver(directory.job(0, {"SLURM_RESTART_COUNT": str(number)}))
        outcome = saver.earlier()
        if outcome is None and fails:
            outcome = saver.failure(RUN, ValueError(number))
        elif outcome is None:
            outcome = saver.success([number, b"x" * 20_000, Slow(pause), b"y" * 20_000])
        else:
            pause()
        os.write(said, b"d" + outcome.dumps())
    finally:
        os._exit(0)


class Attempts(RuleBasedStateMachine):
    """Any interleaving of attempts, any of them killed at any step."""

    def __init__(self) -> None:
        super().__init__()
        self.root = tempfile.mkdtemp(prefix="slurm-tests-machine-", dir=in_memory())
        self.running: list[Attempt] = []
        self.seen: bytes | None = None
        self.number = 0

    @initialize()
    def submit(self) -> None:
        self.directory = Directory(self.root).create(pickled(int, ()))

    @rule(target=LIVE, fails=st.booleans())
    def start(self, fails: bool) -> Attempt:
        self.number += 1
        self.running.append(attempt(self.directory, self.number, fails=fails))
        return self.running[-1]

    @rule(target=LIVE, one=consumes(LIVE), steps=st.integers(1, 9))
    def go_on(self, one: Attempt, steps: int) -> Any:
        for _ in range(steps):
            if not one.step():
                self.ended(one)
                return multiple()
        return one

    @rule(one=consumes(LIVE))
    def kill(self, one: Attempt) -> None:
        self.running.remove(one)
        one.kill()

    def ended(self, one: Attempt) -> None:
        """An attempt that comes to its end knows what the truth is, whoever has written it."""
        self.running.remove(one)
        last = one.bury()
        assert Outcome.loads(last, where="its last words") == self.directory.outcome()

    @invariant()
    def what_is_visible_is_whole_and_stays(self) -> None:
        if not hasattr(self, "directory"):
            return
        done = self.directory.store.done([self.directory.key])[self.directory.key]
        names = [name for name in self.directory.names(OUTCOMES) if not name.startswith(".")]
        assert (done, names) == ((frozenset({0}), ["0.json"]) if done or self.seen else (frozenset(), []))
        if done:
            with open(f"{self.directory.path}/{OUTCOMES}/0.json", "rb") as file:
                data = file.read()
            assert self.seen in (None, data)
            self.seen = data
            self.whole(self.directory.outcome())

    def whole(self, outcome: Outcome) -> None:
        if not outcome.succeeded:
            assert outcome.error is not None
            assert outcome.error.message == str(outcome.attempt - 1)
            return
        assert outcome.result is not None
        with open(f"{self.directory.path}/{RESULTS}/{outcome.result.file}", "rb") as file:
            data = file.read()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (outcome.result.bytes, outcome.result.sha256)
        assert self.directory.result()[::2] == [outcome.attempt - 1, 7]

    def teardown(self) -> None:
        """Whatever the killed have left, an attempt that nobody disturbs brings the element to its end."""
        try:
            for one in self.running:
                one.kill()
            if hasattr(self, "directory"):
                self.undisturbed()
        finally:
            shutil.rmtree(self.root)

    def undisturbed(self) -> None:
        last = attempt(self.directory, 99, fails=False)
        while last.step():
            pass
        assert Outcome.loads(last.bury(), where="its last words") == self.directory.outcome()
        self.what_is_visible_is_whole_and_stays()


TestAttempts = Attempts.TestCase
TestAttempts.settings = settings(settings.get_profile("unit"), max_examples=10, stateful_step_count=20)
