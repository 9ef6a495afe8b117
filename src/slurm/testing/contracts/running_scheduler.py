"""The contract of a running scheduler, checked with jobs on this machine."""

from __future__ import annotations

import time
from pathlib import Path  # noqa: TC003 - pytest evaluates the annotations of fixtures
from typing import TYPE_CHECKING, ClassVar

import pytest

from slurm.errors import SubmissionRefused
from slurm.options import NONE, Options
from slurm.protocol import Block, Submitted
from slurm.protocol.states import JobState
from slurm.schedulers.base import Dependency, Request, Target
from slurm.schedulers.marks import belongs
from slurm.testing.contracts.scheduler_commands import KEY, ODD_NAME, OTHER_KEY
from slurm.transports.local import LocalTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from slurm.schedulers.client import SchedulerClient


class RunningSchedulerContract:
    """The contract of a running scheduler. Subclasses define the fixture `controller`; commands run on this machine.

    Jobs see this machine's files and run within seconds.
    """

    unknown_id: ClassVar[str] = "99999999"
    """An id that no job has."""

    @pytest.fixture
    def controller(self) -> SchedulerClient:
        """A client of the scheduler: `SchedulerClient(MyScheduler(Site(…)), LocalTransport())`."""
        raise NotImplementedError

    @pytest.fixture
    def directory(self, tmp_path: Path) -> Path:
        directory = tmp_path / "100% scripts"
        directory.mkdir()
        return directory

    def submit(
        self,
        controller: SchedulerClient,
        directory: Path,
        body: str,
        *,
        count: int = 1,
        options: Options = NONE,
        after: tuple[Dependency, ...] = (),
    ) -> str:
        """Queue a script with the given body. Returns the id of the job."""
        script = directory / f"script-{time.monotonic_ns()}.sh"
        log = f"{str(directory).replace('%', '%%')}/%a.log"
        lines = controller.scheduler.directives(options, tag=KEY, log=log, block=Block(first=0, count=count))
        script.write_text("\n".join(["#!/bin/bash", *lines, "i=$SLURM_ARRAY_TASK_ID", body, ""]))
        request = Request(
            script=str(script),
            comment=KEY,
            log=log,
            block=Block(first=0, count=count),
            options=options,
            dependencies=after,
        )
        submitted = controller.submit(f"{directory}/submitted.json", KEY, [request])
        assert Submitted.loads((directory / "submitted.json").read_bytes(), where="") == submitted
        return submitted.blocks[0].id

    def states(self, controller: SchedulerClient, id_: str) -> dict[int, JobState]:
        return {task: report.state for report in controller.query([id_]).reports for task in report.tasks or ()}

    def ended(self, controller: SchedulerClient, id_: str) -> dict[int, JobState]:
        """Return the states of all tasks after all have finished."""
        end = time.monotonic() + 120  # longer than a lost signal takes: Grid Engine sends it again after a minute
        while True:
            states = self.states(controller, id_)
            if states and all(state.final for state in states.values()):
                return states
            assert time.monotonic() < end, states
            time.sleep(0.05)

    def test_every_element_runs_once_with_its_number_log_and_script_argument(
        self, controller: SchedulerClient, directory: Path
    ) -> None:
        id_ = self.submit(controller, directory, 'echo "log $i of block $1"', count=3)
        assert self.ended(controller, id_) == dict.fromkeys(range(3), JobState.COMPLETED)
        for number in range(3):
            assert (directory / f"{number}.log").read_text() == f"log {number} of block 0\n"

    def test_survey_names_a_version(self, controller: SchedulerClient) -> None:
        done = LocalTransport().run(["sh", "-c", controller.scheduler.survey_script()])
        survey = controller.scheduler.parse_survey(done.stdout)
        assert (bool(survey.version), survey.trouble) == (True, "")
        assert controller.scheduler.parse_survey("an answer of another program").trouble

    def test_states_tell_success_from_failure(self, controller: SchedulerClient, directory: Path) -> None:
        id_ = self.submit(controller, directory, "exit $i", count=2)
        assert self.ended(controller, id_) == {0: JobState.COMPLETED, 1: JobState.FAILED}

    def test_blocks_start_their_elements_at_an_offset(self, controller: SchedulerClient, directory: Path) -> None:
        script = directory / "script.sh"
        script.write_text(f'#!/bin/bash\ntouch "{directory}/$(( $1 + SLURM_ARRAY_TASK_ID ))"\n')
        requests = [
            Request(
                script=str(script),
                comment=KEY,
                log="/dev/null",
                block=Block(first=first, count=2),
                options=NONE,
                dependencies=(),
            )
            for first in (0, 2)
        ]
        submitted = controller.submit(f"{directory}/submitted.json", KEY, requests)
        assert [(block.first, block.count) for block in submitted.blocks] == [(0, 2), (2, 2)]
        for block in submitted.blocks:
            self.ended(controller, block.id)
        assert {path.name for path in directory.iterdir()} >= {"0", "1", "2", "3"}

    def test_states_tell_pending_from_running(self, controller: SchedulerClient, directory: Path) -> None:
        options = Options.parse({"max_concurrent": 1})
        id_ = self.submit(controller, directory, f'touch "{directory}/started"; sleep 30', count=3, options=options)
        _until((directory / "started").exists)
        states = self.states(controller, id_)
        assert sorted(states.values()) == [JobState.PENDING, JobState.PENDING, JobState.RUNNING]
        controller.cancel([Target(id_, None, KEY)])
        assert set(self.ended(controller, id_).values()) == {JobState.CANCELLED}

    def test_cancel_ends_only_the_named_elements(self, controller: SchedulerClient, directory: Path) -> None:
        body = f'touch "{directory}/started-$i"; [ $i = 1 ] || sleep 30'
        id_ = self.submit(controller, directory, body, count=3)
        _until(lambda: all((directory / f"started-{number}").exists() for number in range(3)))
        controller.cancel([Target(id_, [0, 2], KEY)])
        cancelled, completed = JobState.CANCELLED, JobState.COMPLETED
        assert self.ended(controller, id_) == {0: cancelled, 1: completed, 2: cancelled}
        controller.cancel([Target(id_, None, KEY)])  # all have ended: no error

    def test_cancel_spares_jobs_of_other_submissions(self, controller: SchedulerClient, directory: Path) -> None:
        id_ = self.submit(controller, directory, f'touch "{directory}/started"; sleep 3')
        _until((directory / "started").exists)
        controller.cancel([Target(id_, None, OTHER_KEY), Target(self.unknown_id, None, KEY)])
        assert self.ended(controller, id_) == {0: JobState.COMPLETED}

    def test_hold_keeps_only_the_named_elements_from_starting(
        self, controller: SchedulerClient, directory: Path
    ) -> None:
        if not controller.scheduler.hold_command(["1"]):
            pytest.skip("this scheduler cannot hold single elements of an array")
        go = directory / "go"
        body = f'touch "{directory}/began-$i"; until [ -e "{go}" ]; do sleep 0.05; done'
        id_ = self.submit(controller, directory, body, count=6, options=Options.parse({"max_concurrent": 1}))
        _until((directory / "began-0").exists)
        controller.hold([Target(id_, [0, 2, 3, 5], KEY), Target(self.unknown_id, None, KEY)])
        controller.hold([Target(id_, [1], OTHER_KEY)])  # of another submission
        running, pending = JobState.RUNNING, JobState.PENDING
        assert self.states(controller, id_) == {0: running} | dict.fromkeys(range(1, 6), pending)
        go.touch()
        _until(lambda: [self.states(controller, id_)[task] for task in (0, 1, 4)] == [JobState.COMPLETED] * 3)
        assert [self.states(controller, id_)[task] for task in (2, 3, 5)] == [pending] * 3
        controller.hold([Target(id_, [0, 2, 3], KEY)], release=True)
        _until(lambda: [self.states(controller, id_)[task] for task in (2, 3)] == [JobState.COMPLETED] * 2)
        assert not (directory / "began-5").exists()
        controller.cancel([Target(id_, [5], KEY)])
        assert self.ended(controller, id_) == dict.fromkeys(range(5), JobState.COMPLETED) | {5: JobState.CANCELLED}
        controller.hold([Target(id_, None, KEY)])  # all have ended: no error
        assert controller.calls["hold"] == 3
        assert controller.calls["release"] == 1

    def test_reports_carry_the_marks_of_their_submission(self, controller: SchedulerClient, directory: Path) -> None:
        id_ = self.submit(controller, directory, "true", options=Options.parse({"comment": "for ann|bob"}))
        (report,) = controller.query([id_]).reports
        assert report.comment == f"{KEY} for ann|bob"
        assert belongs(report, KEY, created=time.time())
        assert not belongs(report, OTHER_KEY, created=time.time())

    @pytest.mark.parametrize(
        ("kind", "status", "runs"),
        [
            ("afterok", 0, True),
            ("afterok", 1, False),
            ("afternotok", 1, True),
            ("afternotok", 0, False),
            ("afterany", 1, True),
        ],
    )
    def test_dependency_runs_or_cancels_the_dependent(
        self, controller: SchedulerClient, directory: Path, kind: str, status: int, runs: bool
    ) -> None:
        mark = directory / "ended"
        first = self.submit(controller, directory, f'sleep 0.3; touch "{mark}"; exit {status}')
        body = f'[ -e "{mark}" ]'
        second = self.submit(controller, directory, body, after=(Dependency(kind, (first,)),))
        assert self.ended(controller, second) == {0: JobState.COMPLETED if runs else JobState.CANCELLED}

    def test_dependency_on_one_element_ignores_the_others(self, controller: SchedulerClient, directory: Path) -> None:
        first = self.submit(controller, directory, "exit $i", count=2)
        id_of = controller.scheduler.element_id
        good = self.submit(controller, directory, "true", after=(Dependency("afterok", (id_of(first, 0),)),))
        bad = self.submit(controller, directory, "true", after=(Dependency("afterok", (id_of(first, 1),)),))
        assert self.ended(controller, good) == {0: JobState.COMPLETED}
        assert self.ended(controller, bad) == {0: JobState.CANCELLED}

    def test_aftercorr_pairs_elements(self, controller: SchedulerClient, directory: Path) -> None:
        first = self.submit(controller, directory, "sleep 0.2; exit $(( i == 1 ))", count=3)
        second = self.submit(controller, directory, "true", count=3, after=(Dependency("aftercorr", (first,)),))
        ok = JobState.COMPLETED
        assert self.ended(controller, second) == {0: ok, 1: JobState.CANCELLED, 2: ok}

    def test_query_leaves_out_unknown_ids(self, controller: SchedulerClient, directory: Path) -> None:
        known = self.submit(controller, directory, "true")
        self.ended(controller, known)
        assert controller.query([self.unknown_id]) == ([], set(), None)
        assert {report.id for report in controller.query([self.unknown_id, known]).reports} == {known}

    def test_option_values_survive_quoting(self, controller: SchedulerClient, directory: Path) -> None:
        options = Options.parse({"job_name": ODD_NAME, "cpus_per_task": 2, "time": "10"})
        id_ = self.submit(
            controller, directory, 'printf "%s|%s" "$SLURM_JOB_NAME" "$SLURM_CPUS_PER_TASK"', options=options
        )
        self.ended(controller, id_)
        assert (directory / "0.log").read_text() == f"{ODD_NAME}|2"

    def test_missing_script_is_refused_with_the_schedulers_message(
        self, controller: SchedulerClient, directory: Path
    ) -> None:
        gone = Request(
            script=f"{directory}/gone.sh",
            comment=KEY,
            log="/dev/null",
            block=Block(first=0, count=1),
            options=NONE,
            dependencies=(),
        )
        with pytest.raises(SubmissionRefused, match=r"gone\.sh") as caught:
            controller.submit(f"{directory}/submitted.json", KEY, [gone])
        assert caught.value.script == gone.script
        assert caught.value.certain
        assert not (directory / "submitted.json").exists()

    def test_commands_are_counted(self, controller: SchedulerClient, directory: Path) -> None:
        id_ = self.submit(controller, directory, "true")
        controller.query([id_])
        controller.cancel([Target(id_, None, KEY)])
        assert controller.max_array_size() > 1
        assert controller.calls == {"submit": 1, "query": 1, "cancel": 1, "limits": 1}


def _until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
