"""Points: use a tool as the task of a sweep, and open the runs of its points."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from slurm.errors import CommandFailed
from slurm.tasks.command import CommandTask, command
from slurm.tools import point_stages
from slurm.tools.config import get_tool_config, merged
from slurm.tools.errors import RunDirectoryError, ToolError
from slurm.tools.point import filled, prepare, words
from slurm.tools.prepare import draft
from slurm.tools.run import Run
from slurm.tools.run_directory import MANIFEST
from slurm.tools.stage import CONFIG, IN_A_JOB, STAGES
from slurm.tools.templates import get_template_path, template_files
from slurm.usage import near

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

    from slurm.jobs.job import Job
    from slurm.runner.command import Command
    from slurm.runner.finished import Finished
    from slurm.serialization.pickling import Arguments
    from slurm.storage.uploads import Uploads
    from slurm.submission.status import JobStatus
    from slurm.tasks.settings import Settings
    from slurm.tools.declaration import Declaration

RUN_ID = "point"


class PointTask(CommandTask):
    """Stages of a tool as a task. Its parameters are overrides, such as `freq.Nfreqs`."""

    def to_send(self, uploads: Uploads) -> Command:
        """Return the program with its files. A script of several stages is one process, which starts the MPI ranks."""
        sent, data = super().to_send(uploads), self._data
        return sent.replace(mpi=False) if data["ranks"] else sent

    @property
    def _data(self) -> Mapping[str, Any]:
        """The data from which the node prepares points."""
        found: Mapping[str, Any] = cast("partial[None]", self.unwrapped.prepare).args[0]
        return found

    def _bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Arguments:
        data = self._data
        name = data["config"].removeprefix(f"{CONFIG}/")
        if args:
            raise TypeError(f"{self.name} takes overrides by their keys, such as **{{'freq.Nfreqs': 4}}")
        try:
            filled(data["files"].get(data["config"], ""), data["spans"], kwargs, name=name)
        except KeyError as error:
            key = error.args[0]
            raise TypeError(f"{name or self.name} has no key {key!r}{near(key, data['spans'])}") from None
        except ValueError as error:
            raise TypeError(str(error)) from None
        return (), kwargs


def unit(
    tool: type[Declaration],
    taxonomy: Mapping[str, object],
    *,
    stage: str | None,
    template: str | None,
    override: Mapping[str, Any],
) -> PointTask:
    """Return stages of a tool as a task; see `Tool.at`. Raises ToolError."""
    if stage is not None and stage not in tool.stages:
        raise ToolError(f"{tool.name} has no stage {stage!r}{near(stage, tool.stages)}")
    chosen = point_stages.chosen(tool, stage)
    for each in chosen:
        fields = tool.stages[each].template.fields
        if lacks := [name for name in tool.taxonomy if name in fields and name not in taxonomy]:
            raise ToolError(f"stage {each} of {tool.name} needs {', '.join(f'{name}=…' for name in lacks)}")
    config = get_tool_config(tool)
    settings = {each: merged(config.layers(tool, each, None, {})) for each in chosen}
    runs = _of_one(tool, chosen[0], settings[chosen[0]]) if len(chosen) == 1 else _of_several(tool, chosen, settings)
    named = {**dict.fromkeys(tool.taxonomy, RUN_ID), **taxonomy}  # a point has no such folders
    made = draft(tool, RUN_ID, named, template=template, override=override, root="/", on="local", unique=False)
    file = f"{CONFIG}/{tool.config}" if tool.config else ""
    own = {name: text for name, text in made.files.items() if name in {file, *(f"{STAGES}/{e}.sh" for e in chosen)}}
    others = {f"{STAGES}/{name}.sh" for name in tool.stages if name not in chosen}
    data = {
        "files": {**{name: content.decode() for name, content in own.items()}, **runs.scripts},
        "config": file,
        "ranks": len(chosen) > 1 and runs.settings.options.get("launch") == "mpi",
        "spans": _spans(own[file].decode(), f"{template}/{tool.config}") if file else {},
        "manifest": {
            **asdict(made.manifest),
            "run_dir": None,  # the node chooses a directory for each point
            "files": {name: digest for name, digest in made.manifest.files.items() if name not in others},
            "taxonomy": {name: text for name, text in made.manifest.taxonomy.items() if name in taxonomy},
            "stages": {name: made.manifest.stages[name] for name in chosen},
        },
    }
    files: dict[str, str | os.PathLike[str]] = {}
    if template is not None:
        every = template_files(get_template_path(tool.templates_directory(), template))
        files = {f"{CONFIG}/{name}": path for name, path in every if f"{CONFIG}/{name}" != file}
    base = command("true", files=files, products=runs.products, check=runs.check, diagnose=runs.diagnose, env=runs.env)
    program = cast("Command", base.unwrapped).replace(
        name=runs.name, function=partial(words, f"{STAGES}/{runs.script}.sh"), prepare=partial(prepare, data)
    )
    labels = {"tool": tool.name, **runs.labels}
    return cast("PointTask", PointTask(program, base.terms.merged(runs.settings)).with_options(labels=labels))


class _Runs(NamedTuple):
    """The script that a point runs, and the settings of its job."""

    name: str
    script: str
    products: Sequence[str]
    check: Any
    diagnose: Any
    settings: Settings
    env: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}
    scripts: Mapping[str, str] = {}


def _of_one(tool: type[Declaration], name: str, settings: Settings) -> _Runs:
    """Return the script and settings for a point of one stage, which runs in the directory of the point."""
    stage = tool.stages[name]
    env, labels, products = {IN_A_JOB: name}, {"stage": name}, stage.pattern_list
    return _Runs(f"{tool.name}.{name}", name, products, stage.check, stage.diagnose, settings, env, labels)


def _of_several(tool: type[Declaration], stages: Sequence[str], settings: Mapping[str, Settings]) -> _Runs:
    """Return the script and settings for several stages, each in its own directory below the point's directory."""
    return _Runs(
        tool.name,
        point_stages.DRIVER,
        point_stages.products(tool, stages),
        point_stages.check(tool, stages),
        point_stages.diagnose(tool, stages),
        point_stages.together(tool, settings),
        scripts={f"{STAGES}/{point_stages.DRIVER}.sh": point_stages.driver(tool, stages, settings)},
    )


def _spans(text: str, name: str) -> dict[str, Any]:
    from slurm.tools.overrides import spans  # noqa: PLC0415 - it imports yaml

    return spans(text, name=name)


class PointRun(Run):
    """The run of a point of a sweep: a view of the directory of the point's attempt."""

    def __init__(self, tool: type[Declaration], job: Job[Finished]) -> None:
        """Wait for the job, which may fail. Raises RunDirectoryError if the job's directory is on another machine."""
        error = job.exception()
        failed = error.directory if isinstance(error, CommandFailed) else None
        directory = Path(failed) if failed else job.result().directory
        if not (directory / MANIFEST).is_file():
            raise RunDirectoryError(f"{directory} is not on this machine: copy it by job.fetch(to=…), and open that")
        self._job = job
        super().__init__(tool, directory)

    @property
    def jobs(self) -> dict[str, Job[Finished]]:
        """The job of the point, once for each of its stages."""
        return dict.fromkeys(self.manifest.stages, self._job)

    def status(self) -> dict[str, JobStatus | None]:
        """Return the state of the job of the point, by stage."""
        return dict.fromkeys(self.manifest.stages, self._job.status())

    def job(self, stage: str) -> Job[Finished]:
        """Return the job of the point. Raises ToolError for a stage that the point does not run."""
        self._chosen([stage])
        return self._job

    def _chosen(self, stages: Sequence[str]) -> list[str]:
        """Return the stages of the point. Raises ToolError for other stages."""
        own = list(self.manifest.stages)
        if others := [name for name in stages if name not in own]:
            raise ToolError(f"a point of this sweep has the stage {', '.join(own)} only, and not {', '.join(others)}")
        return [name for name in own if not stages or name in stages]

    def submit(self, *stages: str, **options: Any) -> NoReturn:
        """Raise ToolError: the sweep submits its points."""
        del stages, options
        raise ToolError("a point of a sweep is submitted by the sweep: sweep.complete(failed=True)")
