"""The contract of a scheduler's commands and parsers, checked as text: no scheduler is needed."""

from __future__ import annotations

import re
import shlex
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - pytest evaluates the annotations of fixtures
from typing import TYPE_CHECKING, ClassVar

import pytest

from slurm.options import NONE, Options
from slurm.protocol import Block
from slurm.protocol.states import JobState
from slurm.schedulers.base import Dependency, Failure, Request, Scheduler, Site, Target
from slurm.schedulers.marks import belongs, tag

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY = "a/20261127T093012Z-1a2b3c4d"
"""The key of the submission that the tests submit."""
OTHER_KEY = "a/20260101T000000Z-00000000"
ODD_NAME = 'it\'s "a" \\ #name; $HOME'


@dataclass(frozen=True)
class SchedulerSamples:
    """Output of a scheduler's commands, copied from real ones."""

    id: str
    """The id of an array."""
    submit_output: str
    """Output of the submit command, with this id."""
    status_output: str
    """Output of the status command about elements with this id, which belong to the submission `KEY`."""
    states: Mapping[int, JobState]
    """The states of the elements that `status_output` lists."""
    unknown_state_output: str
    """Output of the status command with one element whose state the scheduler does not document."""
    refusal: str
    """An error of the submit command after which nothing is queued."""
    unknown_id_message: str
    """The error of the status command for an unknown id; "" if the command succeeds and leaves the id out."""


class SchedulerCommandsContract:
    """The contract of a scheduler's commands and parsers. Needs no scheduler, only a shell.

    Subclasses set `scheduler_class` and `samples`.
    """

    scheduler_class: ClassVar[type[Scheduler]]
    samples: ClassVar[SchedulerSamples]

    @pytest.fixture
    def scheduler(self) -> Scheduler:
        """The scheduler under test."""
        return self.scheduler_class(Site(python="/usr/bin/python3", runner="/jobs/runner.zip"))

    def request(self, block: Block, options: Options = NONE, after: tuple[Dependency, ...] = ()) -> Request:
        """Return a request for a block of the submission `KEY`."""
        return Request(
            script=f"/my jobs/{KEY}/script.sh",
            comment=tag(KEY, block),
            log=f"/my jobs/{KEY}/logs/%a.log",
            block=block,
            options=options,
            dependencies=after,
        )

    def test_id_form_matches_the_sample_in_python_and_sed(self, scheduler: Scheduler) -> None:
        """The client finds ids in the output by this form, in a shell and in Python."""
        id_ = self.samples.id
        assert re.fullmatch(scheduler.id_form, id_)
        pattern = scheduler.id_form.replace("/", r"\/")
        assert _shell(f"printf '%s\\n' {shlex.quote(id_)} | sed -n -E 's/^({pattern})$/found/p'") == "found\n"

    def test_parse_submit_finds_the_id_among_other_output(self, scheduler: Scheduler) -> None:
        """Sites print banners, and error messages are not ids."""
        output = self.samples.submit_output
        assert scheduler.parse_submit(output) == [self.samples.id]
        assert scheduler.parse_submit(f"Welcome to the cluster\n\n{output}") == [self.samples.id]
        assert scheduler.parse_submit(self.samples.refusal) == []

    def test_submit_command_names_the_script(self, scheduler: Scheduler) -> None:
        """The command is an argument list; no shell parses its elements."""
        command = scheduler.submit_command(self.request(Block(first=0, count=3)))
        assert all(isinstance(word, str) for word in command)
        assert any(f"/my jobs/{KEY}/script.sh" in word for word in command)

    @pytest.mark.parametrize(
        "block",
        [
            Block(first=1000, count=3),
            Block(first=0, count=3, attempts=2),
            Block(first=0, count=8, tasks=(1, 2, 7)),
            Block(first=0, count=1, array=False),
        ],
        ids=["later block", "later attempt", "some tasks", "plain job"],
    )
    def test_submit_command_tells_blocks_apart(self, scheduler: Scheduler, block: Block) -> None:
        """The command selects the elements: all blocks use the same script."""
        first = scheduler.submit_command(self.request(Block(first=0, count=3)))
        assert scheduler.submit_command(self.request(block)) != first

    def test_options_of_a_named_block_are_in_the_submit_command(self, scheduler: Scheduler) -> None:
        """A named block uses the script of another block with other options."""
        short, long = (Options.parse({"time": time}) for time in ("10", "3-00:00:00"))
        block = Block(first=0, count=3, name="again")
        commands = [scheduler.submit_command(self.request(block, options)) for options in (short, long)]
        assert commands[0] != commands[1]

    @pytest.mark.parametrize("kind", ["afterok", "afternotok", "afterany", "aftercorr"])
    def test_submit_command_names_the_jobs_to_wait_for(self, scheduler: Scheduler, kind: str) -> None:
        """Every kind of dependency waits for the job, even if the scheduler has no equivalent."""
        id_, _ = scheduler.split_id(self.samples.id)
        after = (Dependency(kind, (self.samples.id,)),)
        command = scheduler.submit_command(self.request(Block(first=0, count=3), after=after))
        assert any(id_ in word for word in command)

    def test_max_concurrent_is_in_directives_or_command(self, scheduler: Scheduler) -> None:
        """The scheduler must limit how many elements of an array run at the same time."""
        block = Block(first=0, count=8)
        texts = []
        for options in (Options.parse({"max_concurrent": 3}), Options.parse({"max_concurrent": 4})):
            lines = scheduler.directives(options, tag=KEY, log="/logs/%a.log", block=block)
            texts.append([*lines, *scheduler.submit_command(self.request(block, options))])
        assert texts[0] != texts[1]

    def test_directives_keep_the_script_valid(self, scheduler: Scheduler, tmp_path: Path) -> None:
        """Values of options with quotes, dollars and blanks neither end a line nor break the shell."""
        options = Options.parse({"job_name": ODD_NAME, "time": "10", "mem": "2G", "cpus_per_task": 2})
        lines = scheduler.directives(options, tag=KEY, log="/my logs/%a.log", block=Block(first=0, count=3))
        assert not [line for line in lines if "\n" in line]
        script = tmp_path / "script.sh"
        script.write_text("\n".join(["#!/bin/bash", *lines, "true", ""]))
        subprocess.run(["bash", "-n", str(script)], check=True)

    def test_the_key_reaches_the_scheduler(self, scheduler: Scheduler) -> None:
        """A client that did not get the id finds the job by the key."""
        block = Block(first=0, count=3)
        lines = scheduler.directives(NONE, tag=KEY, log="/logs/%a.log", block=block)
        assert KEY in "\n".join([*lines, *scheduler.submit_command(self.request(block))])

    def test_element_ids_differ_and_keep_the_cluster(self, scheduler: Scheduler) -> None:
        """An element's id names the element and the cluster of the array."""
        ids = [scheduler.element_id(self.samples.id, task) for task in range(3)]
        assert len({self.samples.id, *ids}) == 4
        clusters = {scheduler.split_id(id_)[1] for id_ in (self.samples.id, *ids)}
        assert len(clusters) == 1

    def test_status_command_names_every_id(self, scheduler: Scheduler) -> None:
        """One command queries all ids."""
        ids = [scheduler.split_id(self.samples.id)[0], "1" + scheduler.split_id(self.samples.id)[0]]
        words = " ".join(scheduler.status_command(ids))
        assert [id_ for id_ in ids if id_ not in words] == []
        assert scheduler.status_command([])

    def test_parse_status_reports_every_element(self, scheduler: Scheduler) -> None:
        """Reports have the id of the array, without its cluster, and the marks of the submission."""
        reports = list(scheduler.parse_status(self.samples.status_output) or ())
        assert {report.id for report in reports} == {scheduler.split_id(self.samples.id)[0]}
        states = {task: report.state for report in reports for task in report.tasks or ()}
        assert states == self.samples.states
        assert all(belongs(report, KEY, created=time.time()) for report in reports)
        assert not any(belongs(report, OTHER_KEY, created=time.time()) for report in reports)

    def test_parse_status_never_takes_an_unknown_state_for_final(self, scheduler: Scheduler) -> None:
        """A newer release may have other states; a job that may still run must not count as failed."""
        reports = list(scheduler.parse_status(self.samples.unknown_state_output) or ())
        assert JobState.UNKNOWN in {report.state for report in reports}

    def test_parse_status_makes_no_reports_from_other_output(self, scheduler: Scheduler) -> None:
        """An error message is not an answer about jobs."""
        assert not list(scheduler.parse_status("cannot connect to server: connection refused\n") or ())

    def test_parse_find_gives_ids_with_marks(self, scheduler: Scheduler) -> None:
        """The default reads the status. A scheduler with another find command needs its own test."""
        if self.scheduler_class.parse_find is not Scheduler.parse_find:
            pytest.skip("has a find command of its own")
        found = list(scheduler.parse_find(self.samples.status_output) or ())
        assert (self.samples.id, KEY) in {(id_, mark.partition(" ")[0]) for id_, mark in found}

    def test_parse_failure_knows_a_refusal_from_silence(self, scheduler: Scheduler) -> None:
        """After an unknown message the job may be queued."""
        assert scheduler.parse_failure(self.samples.refusal) is Failure.REFUSED
        assert scheduler.parse_failure("a message of another program") is Failure.UNKNOWN
        assert scheduler.parse_failure("") is Failure.UNKNOWN

    def test_ids_unknown_only_for_its_message(self, scheduler: Scheduler) -> None:
        """After any other failure the states of the jobs are unknown."""
        assert scheduler.ids_unknown(self.samples.unknown_id_message) is bool(self.samples.unknown_id_message)
        assert not scheduler.ids_unknown("cannot connect to server: connection refused")
        assert not scheduler.ids_unknown("")

    def test_cancel_script_is_valid_and_names_key_and_elements(self, scheduler: Scheduler) -> None:
        """The script compares the key before it cancels, because ids may be assigned again."""
        bare = scheduler.split_id(self.samples.id)[0]
        script = scheduler.cancel_script([Target(bare, None, KEY), Target(bare, [1, 2], OTHER_KEY)])
        subprocess.run(["sh", "-n"], input=script, text=True, check=True)
        assert [word for word in (bare, KEY, OTHER_KEY) if word not in script] == []
        assert bare in " ".join(scheduler.cancel_command([bare]))

    def test_hold_script_is_valid_and_names_key_and_elements(self, scheduler: Scheduler) -> None:
        """The script compares the key before it holds; a scheduler that cannot hold single elements has no script."""
        bare = scheduler.split_id(self.samples.id)[0]
        for release in (False, True):
            script = scheduler.hold_script([Target(bare, [1, 2], KEY)], release=release)
            assert bool(script) is bool(scheduler.hold_command([bare], release=release))
            subprocess.run(["sh", "-n"], input=script, text=True, check=True)
            assert not script or [word for word in (bare, KEY) if word not in script] == []

    def test_optional_commands_parse_empty_output(self, scheduler: Scheduler) -> None:
        """Parsers accept the empty output of a command that is not supported."""
        assert list(scheduler.parse_accounting("")) == []
        assert scheduler.parse_max_array_size("") >= 0
        assert scheduler.parse_origin("") is None
        assert list(scheduler.parse_clusters("", NONE)) == []
        assert scheduler.parse_submit_limits("", NONE) is None

    def test_survey_script_is_valid_and_other_output_is_trouble(self, scheduler: Scheduler) -> None:
        """The doctor reports unexpected output as trouble."""
        subprocess.run(["sh", "-n"], input=scheduler.survey_script(), text=True, check=True)
        assert scheduler.parse_survey("an answer of another program").trouble


def _shell(line: str) -> str:
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True).stdout
