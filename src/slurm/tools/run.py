"""Run: a prepared run directory of a tool. Its jobs are calls of `command`; their directories decide their states."""

from __future__ import annotations

import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from slurm.errors import NoSuchJob
from slurm.storage.keys import new_key
from slurm.tasks.command import CommandTask, command
from slurm.tools import recorded, submissions
from slurm.tools.attempts import left_by
from slurm.tools.clusters import cluster_at, cluster_of, name_of, place_url
from slurm.tools.config import stage_settings
from slurm.tools.declaration import refuse_while_importing
from slurm.tools.errors import ToolError
from slurm.tools.jobs import archive_jobs_json, write_jobs_json
from slurm.tools.manifest import load_manifest
from slurm.tools.run_directory import validate_run_dir
from slurm.tools.scripts import script_of, scripts, write_moved
from slurm.tools.stage import CONFIG, IN_A_JOB, STAGES, program_of
from slurm.tools.submitted import (
    check_move,
    job_of,
    new_record,
    record_queued,
    refuse_submitted,
    states_of,
    tell_differences,
    upstream_job,
    upstream_keys,
)
from slurm.usage import near

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from slurm.clusters.cluster import Cluster
    from slurm.jobs.job import Job
    from slurm.jobs.plan import Plan
    from slurm.runner.command import Command
    from slurm.runner.finished import Finished
    from slurm.submission.status import JobStatus
    from slurm.tasks.settings import Settings
    from slurm.tools.attempts import Left
    from slurm.tools.cleanup import Leftover, Verb
    from slurm.tools.declaration import Declaration
    from slurm.tools.manifest import ManifestBase
    from slurm.tools.recorded import Ignored
    from slurm.tools.verify import Health


_log = logging.getLogger("slurm.tools")


class _Wanted(NamedTuple):
    """What `submit` submits: stages in order, the cluster, settings, earlier records, directories to resume from."""

    stages: list[str]
    cluster: Cluster
    settings: Mapping[str, Settings]
    records: list[dict[str, Any]]
    left: dict[str, Left]


class Run:
    """A prepared run of a tool. `Tool.prepare` makes a run, `Tool.open` opens one. The prepared files never change."""

    def __init__(self, tool: type[Declaration], run_dir: str | os.PathLike[str]) -> None:
        """Open a prepared directory. Raises RunDirectoryError, ManifestError; ToolError for a run of another tool."""
        self.tool, self.directory = tool, validate_run_dir(run_dir)
        self.manifest: ManifestBase = load_manifest(self.directory)
        if self.manifest.tool != tool.name:
            raise ToolError(f"{self.directory} is a run of {self.manifest.tool}, not of {tool.name}")

    def __repr__(self) -> str:
        return f"<Run {self.manifest.run_id} of {self.tool.name} in {self.directory}>"

    def plan(
        self,
        *stages: str,
        on: str | Cluster | None = None,
        again: bool = False,
        resume: bool = False,
        depend_afterok: Sequence[str | int] = (),
        options: Mapping[str, Any] | None = None,
    ) -> dict[str, Plan[Job[Finished]]]:
        """Return what `submit` would submit, by stage: scripts, commands and files. Writes nothing, on any machine.

        A plan does not name the jobs of this run that its stage waits for, because they have no ids yet. Raises the
        errors that `submit` raises before it submits.
        """
        chosen, cluster, settings, records, left = self._wanted(
            stages, on, options, again=again, resume=resume, dry=True
        )
        upstreams = upstream_keys(self.tool, chosen, {**submissions.keys(records), **dict.fromkeys(chosen, "")})
        plans = {}
        for name in chosen:
            task = self._task(name, {}, settings[name], left.get(name)).on(cluster)
            task = task.after(*depend_afterok) if depend_afterok and not upstreams[name] else task
            plan = task.plan(**dict.fromkeys(self.tool.stages[name].used(self.tool.stages), ""))
            plan.program = self._program(name, plan.launch)
            plans[name] = plan
        return plans

    def _program(self, name: str, launch: str) -> str:
        """Return the command line of a stage's program, as in the script of the stage."""
        words = program_of(script_of(self.directory, name).read_text(encoding="utf-8")) or f"sh {STAGES}/{name}.sh"
        used = self.tool.stages[name].used(self.tool.stages)
        where = ", ".join(f"${each} is the output directory of stage {each}" for each in used)
        return " ".join(filter(None, [launch, words, where and f" # {where}"]))

    def resumable(self) -> list[str]:
        """Return the resumable stages whose last job has ended without success."""
        return [
            name
            for name, status in self.status().items()
            if self.tool.stages[name].resumable and status and status.state.final and status.state.value != "COMPLETED"
        ]

    def submit(
        self,
        *stages: str,
        on: str | Cluster | None = None,
        again: bool = False,
        resume: bool = False,
        depend_afterok: Sequence[str | int] = (),
        options: Mapping[str, Any] | None = None,
    ) -> dict[str, Job[Finished]]:
        """Submit the given stages, or all, in order; return their jobs by stage. Does not wait for the jobs.

        A stage waits for the stages that it names, from this or an earlier `submit`. The first stages wait for the jobs
        of other programs whose ids are in `depend_afterok`. `options` override all other options of the jobs. A stage
        that was submitted before is refused, unless `again` is given: then the new job counts, and all stages may go
        to another place, `on`. With `resume`, the given stages, or all resumable stages that ended without success,
        begin with the files of their last attempt; stages that waited for them and did not run are submitted again.
        Raises ToolError, and the errors of a submission.
        """
        refuse_while_importing()
        self._warn_of_edits()
        wanted = self._wanted(stages, on, options, again=again, resume=resume)
        chosen, cluster, _, records, left = wanted
        before = {name: key for name, key in submissions.keys(records).items() if name not in chosen}
        keys = {name: new_key(f"{self.tool.name}.{name}") for name in chosen}
        upstreams = upstream_keys(self.tool, chosen, {**before, **keys})
        named = dict.fromkeys(name for names in upstreams.values() for name in names if name in before)
        jobs = {name: upstream_job(self.directory, cluster, name, before[name]) for name in named}
        at = name_of(on) if on else submissions.place(records, self.manifest)[1]
        record = new_record(keys, upstreams, cluster, name=at, again=again, left=left, depend_afterok=depend_afterok)
        with submissions.queueing(keys.values()):
            if not submissions.add(self.directory, len(records), record):
                return self.submit(
                    *stages, on=on, again=again, resume=resume, depend_afterok=depend_afterok, options=options
                )
            if again or resume:
                archive_jobs_json(self.directory)
            try:
                self._write_scripts(wanted)
                self._queue(wanted, record, jobs)
            finally:
                new = {name: jobs[name] for name in chosen if name in jobs}
                record_queued(self.directory, [*records, record], new)
                write_jobs_json(self.directory)
        tell_differences(cluster, left, submissions.keys(records), keys)
        return {name: jobs[name] for name in chosen}

    def _write_scripts(self, wanted: _Wanted) -> None:
        """Write the scripts of the stages again if the cluster has changed. Raises RunNotWritten."""
        cluster, records = wanted.cluster, wanted.records
        if place_url(cluster) != submissions.place(records, self.manifest)[0]:
            texts = scripts(
                self.tool,
                cluster,
                stage_settings(self.tool, cluster),
                run_id=self.manifest.run_id,
                taxonomy=self.manifest.taxonomy,
                run_dir=self.directory,
                moved=True,
            )
            write_moved(self.directory, len(records) + 1, texts)

    def _queue(self, wanted: _Wanted, record: Mapping[str, Any], jobs: dict[str, Job[Finished]]) -> None:
        """Queue the stages of a record, and add their jobs to `jobs`, which holds the jobs that they wait for."""
        chain, outside = wanted.cluster.chain(), record["depend_afterok"]
        for name, key in record["stages"].items():
            after = {each: jobs[each] for each in record["upstreams"][name]}
            task = self._task(name, after, wanted.settings[name], wanted.left.get(name)).on(wanted.cluster)
            task = task.after(*outside) if outside and not after else task
            used = {each: jobs[each] for each in self.tool.stages[name].used(self.tool.stages)}
            before = partial(submissions.add_commands, self.directory, len(wanted.records) + 1, name)
            jobs[name] = chain.add(key, task, task.bound_item(used), record=before)
        chain.submit()

    def _wanted(
        self,
        stages: Sequence[str],
        on: str | Cluster | None,
        options: Mapping[str, Any] | None,
        *,
        again: bool,
        resume: bool,
        dry: bool = False,
    ) -> _Wanted:
        """Return what `submit` submits. Raises AlreadySubmitted, ToolError."""
        records = submissions.read(self.directory)
        cluster = cluster_of(on) if on and again else self._cluster(on)
        resumed, anew = self._resumed(stages) if resume else ([], [])
        chosen = self._chosen([*resumed, *anew] if resume else stages)
        if place_url(cluster) != submissions.place(records, self.manifest)[0]:
            check_move(self.directory, self._cluster(), records, chosen)
        settings = stage_settings(self.tool, cluster, options)
        left = self._left(resumed, cluster, records)
        if not again and not resume:
            refuse_submitted(self.directory, chosen, cluster, records, dry=dry)
        return _Wanted(chosen, cluster, settings, records, left)

    def _resumed(self, stages: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return the stages to resume (`stages`, or all resumable ones), and the stages to start again that waited for
        these. Raises ToolError if there is no stage to resume.
        """
        chosen = self._chosen(stages) if stages else self.resumable()
        if not chosen:
            raise ToolError(
                f"no stage of {self.directory} that has failed is resumable, so there is nothing to resume: again=True "
                "starts stages anew"
            )
        states, resumed, anew = self.status(), list[str](), list[str]()
        for name in self.tool.order:
            state, before = states[name], self.tool.stages[name].upstreams(self.tool.stages)
            unsuccessful = state is not None and state.state.final and state.state.value != "COMPLETED"
            if unsuccessful and {*resumed, *anew} & {*before}:
                anew.append(name)
            elif name in chosen:
                resumed.append(name)
        return resumed, anew

    def _left(self, chosen: Sequence[str], cluster: Cluster, records: Sequence[Mapping[str, Any]]) -> dict[str, Left]:
        """Return the directories of the last attempts of stages. Raises ToolError if a stage cannot be resumed."""
        keys = submissions.keys(records)
        for name in chosen:
            if not self.tool.stages[name].resumable:
                resumable = [each for each, stage in self.tool.stages.items() if stage.resumable]
                raise ToolError(
                    f"stage {name} of {self.tool.name} is not resumable; "
                    f"{', '.join(resumable) + ' are' if resumable else 'none is'}. again=True starts a stage anew"
                )
            if name not in keys:
                raise ToolError(f"stage {name} of {self.directory} was not submitted, so there is nothing to resume")
        return {name: left_by(name, upstream_job(self.directory, cluster, name, keys[name])) for name in chosen}

    @property
    def jobs(self) -> dict[str, Job[Finished]]:
        """The job of the last submission of each stage, without stages whose job was removed or never queued."""
        cluster = self._cluster()
        found = {}
        for name, key in submissions.keys(submissions.read(self.directory)).items():
            with contextlib.suppress(NoSuchJob):
                found[name] = job_of(cluster, key)
        return found

    def status(self) -> dict[str, JobStatus | None]:
        """Return the state of each stage's job; None if it was not submitted. A job that succeeded has all products.

        A job that the scheduler has forgotten, and that could not run because an earlier stage failed, is CANCELLED.
        """
        records = submissions.read(self.directory)
        keys, found = submissions.keys(records), states_of(self._cluster().place, records)
        return {name: found.get(keys.get(name, "")) for name in self.tool.stages}

    def verify(self, *stages: str, checksums: bool = False) -> list[Health]:
        """Check the prepared files and the products of the given stages, or all; return the health of each.

        A product is compared by its size, or with `checksums` by its SHA-256, which is computed at the cluster. If the
        directory of a stage's job was removed, the files that were fetched before are checked.
        """
        from slurm.tools.verify import verify  # noqa: PLC0415 - it imports what only this needs

        found, jobs = self._chosen(stages), self.jobs
        states = self.status()
        return verify(self.tool, self.manifest, self.directory, jobs, states, found, checksums=checksums)

    def logs(self, stage: str) -> str:
        """Return the output of a stage so far, with the output of the script around its program. Raises ToolError."""
        return self.job(stage).logs()

    def job(self, stage: str) -> Job[Finished]:
        """Return the last job of a stage. Raises ToolError if it was not submitted, or its directory was removed."""
        keys = submissions.keys(submissions.read(self.directory))
        if self._chosen([stage]) and stage not in keys:
            raise ToolError(f"stage {stage} of {self.directory} was not submitted")
        return upstream_job(self.directory, self._cluster(), stage, keys[stage])

    def fetch(self, stage: str, *patterns: str) -> list[Path]:
        """Copy the files of the last job of a stage, by default all, to `attempts/` on this machine; return the paths.

        Patterns are as for `Job.fetch`, such as "output/*.h5". If the stage has succeeded, `output/<stage>` becomes a
        link to the copies. If this machine can see the job's directory, `attempts/` has a link to it, and a copy is
        needed only before the job is removed.
        """
        from slurm.tools.attempts import fetch  # noqa: PLC0415 - as above

        number = submissions.count(submissions.read(self.directory), stage)
        return fetch(self.directory, stage, number, self.job(stage), patterns)

    def leftovers(self, *stages: str) -> list[Leftover]:
        """Return the files of earlier and failed attempts of the given stages, or all, that are not the output."""
        return self.cleanup(*stages, dry_run=True)

    def cleanup(self, *stages: str, verb: Verb = "trash", dry_run: bool = False) -> list[Leftover]:
        """Move `leftovers` to a trash beside them; return the leftovers that were moved.

        The verb "restore" brings them back; "empty" removes the files in the trash. A dry run changes nothing, and
        returns the same. The output of a stage, and attempts that may still run, are never touched.
        """
        from slurm.tools.cleanup import clean, leftovers  # noqa: PLC0415 - as above

        cluster = self._cluster()
        return clean(cluster, leftovers(cluster, self.directory, self._chosen(stages)), verb, dry_run=dry_run)

    def ignored(self) -> list[Ignored]:
        """Return the overrides that a program did not use, by its record: see `Tool.recorded`. Waits for the stages.

        Raises ToolError if the record cannot be read.
        """
        found = self.jobs.items()
        return [each for name, job in found for each in recorded.ignored(self.tool, self.manifest, name, job)]

    def _task(
        self, name: str, upstreams: Mapping[str, Job[Finished]], settings: Settings, left: Left | None = None
    ) -> Any:
        """Return the command of a stage, with the files of the run."""
        stage = self.tool.stages[name]
        script = f"{STAGES}/{name}.sh"
        files: dict[str, str | os.PathLike[str]] = {script: script_of(self.directory, name)}
        if (self.directory / CONFIG).is_dir():
            files[CONFIG] = self.directory / CONFIG
        used = stage.used(self.tool.stages)
        labels = {"tool": self.tool.name, "run": self.manifest.run_id, "stage": name}
        env = {IN_A_JOB: name} | {upstream: f"{{{upstream}.directory}}" for upstream in used}
        made = command(
            f"sh {script}",
            files=files,
            products=stage.products,
            check=stage.check,
            diagnose=stage.diagnose,
            env=env,
        )
        named = cast("Command", made.unwrapped).replace(name=f"{self.tool.name}.{name}")
        named = named.replace(resumes=left.path, copies=left.copied) if left else named
        task = CommandTask(named, made.terms.merged(settings)).with_options(labels=labels)
        others = [job for upstream, job in upstreams.items() if upstream not in used]
        return task.after(*others) if others else task

    def _warn_of_edits(self) -> None:
        """Log a warning for each prepared file that differs from the manifest."""
        from slurm.tools.verify import flaws  # noqa: PLC0415 - it imports what only this needs

        for flaw in flaws(self.manifest, self.directory):
            _log.warning("%s: %s, and it is submitted as it is", self.directory, flaw.problem)

    def _chosen(self, stages: Sequence[str]) -> list[str]:
        """Return the given stages, or all, in the order of their dependencies. Raises ToolError for an unknown one."""
        for name in stages:
            if name not in self.tool.stages:
                raise ToolError(f"{self.tool.name} has no stage {name!r}{near(name, self.tool.stages)}")
        return [name for name in self.tool.order if not stages or name in stages]

    def _cluster(self, on: str | Cluster | None = None) -> Cluster:
        """Return the cluster of the run. Raises ToolError if `on` is another place."""
        url, name = submissions.place(submissions.read(self.directory), self.manifest)
        cluster = cluster_of(on) if on else cluster_at(url, name)
        if place_url(cluster) != url:
            raise ToolError(
                f"{self.directory} is a run at {url}, and {place_url(cluster)} is another place: prepare another run "
                "with on=…, or submit all its stages there with again=True and on=…"
            )
        return cluster
