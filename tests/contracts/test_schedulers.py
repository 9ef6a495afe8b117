"""The scheduler seam: what every scheduler does with shell scripts. A new one is a subclass with a `controller`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slurm.errors import SubmissionRefused
from slurm.options import NONE, Options
from slurm.protocol import Block, Submitted
from slurm.protocol.states import JobState
from slurm.schedulers.base import Dependency, Request, Site, Target
from slurm.schedulers.client import SchedulerClient
from slurm.schedulers.local import LocalScheduler
from slurm.schedulers.marks import belongs
from slurm.schedulers.slurm import SlurmScheduler
from slurm.storage.runner_zip import bundle
from slurm.transports.local import LocalTransport
from waiting import until

if TYPE_CHECKING:
    from slurm import Cluster
    from testbed import SlurmTestbed


KEY = "a/20261127T093012Z-1a2b3c4d"


class SchedulerContract:
    """Subclasses give `controller`, whose commands run here."""

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
        """Queue a script with this body; returns its id."""
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
        """The states of all tasks once all have ended."""
        end = time.monotonic() + 60
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

    def test_it_tells_the_doctor_what_it_is(self, controller: SchedulerClient) -> None:
        done = LocalTransport().run(["sh", "-c", controller.scheduler.survey_script()])
        survey = controller.scheduler.parse_survey(done.stdout)
        assert (bool(survey.version), survey.trouble) == (True, "")
        assert controller.scheduler.parse_survey("such a thing was never heard of").trouble

    def test_the_exit_status_tells_success_from_failure(self, controller: SchedulerClient, directory: Path) -> None:
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

    def test_pending_and_running_are_told_apart(self, controller: SchedulerClient, directory: Path) -> None:
        options = Options.parse({"max_concurrent": 1})
        id_ = self.submit(controller, directory, f'touch "{directory}/started"; sleep 30', count=3, options=options)
        until((directory / "started").exists)
        states = self.states(controller, id_)
        assert sorted(states.values()) == [JobState.PENDING, JobState.PENDING, JobState.RUNNING]
        controller.cancel([Target(id_, None, KEY)])
        assert set(self.ended(controller, id_).values()) == {JobState.CANCELLED}

    def test_some_elements_can_be_cancelled(self, controller: SchedulerClient, directory: Path) -> None:
        body = f'touch "{directory}/started-$i"; [ $i = 1 ] || sleep 30'
        id_ = self.submit(controller, directory, body, count=3)
        until(lambda: all((directory / f"started-{number}").exists() for number in range(3)))
        controller.cancel([Target(id_, [0, 2], KEY)])
        cancelled, completed = JobState.CANCELLED, JobState.COMPLETED
        assert self.ended(controller, id_) == {0: cancelled, 1: completed, 2: cancelled}
        controller.cancel([Target(id_, None, KEY)])  # all have ended: no error

    def test_a_job_of_another_submission_is_not_cancelled(self, controller: SchedulerClient, directory: Path) -> None:
        id_ = self.submit(controller, directory, f'touch "{directory}/started"; sleep 3')
        until((directory / "started").exists)
        controller.cancel([Target(id_, None, "a/20260101T000000Z-00000000"), Target("99999999", None, KEY)])
        assert self.ended(controller, id_) == {0: JobState.COMPLETED}

    def test_what_tells_whose_job_it_is_comes_with_its_state(
        self, controller: SchedulerClient, directory: Path
    ) -> None:
        id_ = self.submit(controller, directory, "true", options=Options.parse({"comment": "for ann|bob"}))
        (report,) = controller.query([id_]).reports
        assert report.comment == f"{KEY} for ann|bob"
        assert belongs(report, KEY, created=time.time())
        assert not belongs(report, "a/20260101T000000Z-00000000", created=time.time())

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
    def test_dependencies_hold_and_release(
        self, controller: SchedulerClient, directory: Path, kind: str, status: int, runs: bool
    ) -> None:
        mark = directory / "ended"
        first = self.submit(controller, directory, f'sleep 0.3; touch "{mark}"; exit {status}')
        body = f'[ -e "{mark}" ]'
        second = self.submit(controller, directory, body, after=(Dependency(kind, (first,)),))
        assert self.ended(controller, second) == {0: JobState.COMPLETED if runs else JobState.CANCELLED}

    def test_one_element_can_be_waited_for(self, controller: SchedulerClient, directory: Path) -> None:
        first = self.submit(controller, directory, "exit $i", count=2)
        good = self.submit(controller, directory, "true", after=(Dependency("afterok", (f"{first}_0",)),))
        bad = self.submit(controller, directory, "true", after=(Dependency("afterok", (f"{first}_1",)),))
        assert self.ended(controller, good) == {0: JobState.COMPLETED}
        assert self.ended(controller, bad) == {0: JobState.CANCELLED}

    def test_elements_wait_for_their_own_counterpart(self, controller: SchedulerClient, directory: Path) -> None:
        first = self.submit(controller, directory, "sleep 0.2; exit $(( i == 1 ))", count=3)
        second = self.submit(controller, directory, "true", count=3, after=(Dependency("aftercorr", (first,)),))
        ok = JobState.COMPLETED
        assert self.ended(controller, second) == {0: ok, 1: JobState.CANCELLED, 2: ok}

    def test_an_unknown_id_is_not_in_the_answer(self, controller: SchedulerClient, directory: Path) -> None:
        known = self.submit(controller, directory, "true")
        self.ended(controller, known)
        assert controller.query(["99999999"]) == ([], set(), None)
        assert {report.id for report in controller.query(["99999999", known]).reports} == {known}

    def test_options_with_odd_values_arrive(self, controller: SchedulerClient, directory: Path) -> None:
        name = 'it\'s "a" \\ #name; $HOME'
        options = Options.parse({"job_name": name, "cpus_per_task": 2, "time": "10"})
        id_ = self.submit(
            controller, directory, 'printf "%s|%s" "$SLURM_JOB_NAME" "$SLURM_CPUS_PER_TASK"', options=options
        )
        self.ended(controller, id_)
        assert (directory / "0.log").read_text() == f"{name}|2"

    def test_a_script_that_is_not_there_is_refused_in_the_schedulers_words(
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


class TestLocal(SchedulerContract):
    @pytest.fixture
    def controller(self, local: Cluster) -> SchedulerClient:
        backend = local._backend
        backend.store.put_blob(bundle())
        scheduler = LocalScheduler(Site(python=backend.current.python, runner=backend.runner))
        return SchedulerClient(scheduler, LocalTransport())


@pytest.mark.slurm
class TestSlurm(SchedulerContract):
    @pytest.fixture
    def controller(self, slurm_env: SlurmTestbed) -> SchedulerClient:
        return SchedulerClient(SlurmScheduler(Site(python="python3", runner="")), LocalTransport())
