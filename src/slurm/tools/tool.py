"""Tool: an external program, declared by its stages, its configuration and the folders of its runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slurm.tools.declaration import Declaration, refuse_while_importing

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from typing import Protocol

    from slurm.clusters.cluster import Cluster
    from slurm.jobs.job import Job
    from slurm.tools.points import PointTask
    from slurm.tools.run import Run

    class PointOfSweep(Protocol):
        """A point, as `sweep.points` gives it."""

        @property
        def job(self) -> Job[Any]:
            """The job of its call."""


class Tool(Declaration, abstract=True):
    """An external tool. A subclass declares it:

        class Pyuvsim(Tool):
            name, taxonomy = "pyuvsim", ("telescope", "observation_id")
            config = "obsparam.yaml"
            simulate = Stage("run_pyuvsim --param {config}", products=["*.uvh5"], launch="mpi", ntasks=4)

        run = Pyuvsim.prepare("ref1", telescope="HERA", observation_id="2458098", template="small")
        jobs = run.submit()

    `name` names the folder of its runs, `taxonomy` the folders below it. `config` is the main configuration file of a
    template, which overrides change. `templates` is the directory of templates: by default `templates` beside the
    module of the class. `max_path` is the longest path that the program takes, of a product in the run directory.
    """

    @classmethod
    def prepare(
        cls,
        run_id: str,
        *,
        template: str | None = None,
        override: Mapping[str, Any] | None = None,
        root: str | os.PathLike[str] | None = None,
        on: str | Cluster | None = None,
        unique: bool = False,
        **taxonomy: object,
    ) -> Run:
        """Write the run directory `<root>/<name>/<taxonomy…>/<run_id>`, and return the run. Submits nothing.

        `template` is one of the tool's, or a directory with a / in its path; `override` changes values of its
        configuration, such as {"freq.Nfreqs": 4}. `root` is by default the working directory. `on` is the cluster, by
        its name in the Slurmfile, or its URL; its default is that of the command `slurm`. With `unique`, the directory
        is one below, named by the time. Raises ToolError; then nothing that counts as a run was written.
        """
        from slurm.tools.prepare import draft  # noqa: PLC0415 - it imports yaml

        refuse_while_importing()
        found = draft(
            cls, run_id, taxonomy, template=template, override=override or {}, root=root, on=on, unique=unique
        )
        return found.write()

    @classmethod
    def at(
        cls,
        *,
        stage: str | None = None,
        template: str | None = None,
        override: Mapping[str, Any] | None = None,
        **taxonomy: object,
    ) -> PointTask:
        """The stages as the unit of a sweep, whose points are overrides of the configuration:

            Sweep(Pyuvsim.at(telescope="HERA", template="small"), grid(**{"freq.Nfreqs": [2, 4]}))

        The element of a point prepares its run directory on the node, from the template and the point, and runs all
        stages in order; with `stage`, this one after those that it needs. Names of the taxonomy may be left out if no
        command uses them. Raises ToolError.
        """
        from slurm.tools.points import unit  # noqa: PLC0415 - it imports yaml

        return unit(cls, taxonomy, stage=stage, template=template, override=override or {})

    @classmethod
    def open(cls, run_dir: str | os.PathLike[str] | PointOfSweep) -> Run:
        """The run of a prepared directory, or of a point of a sweep, which has ended.

        Raises RunDirectoryError, ManifestError; ToolError for another tool.
        """
        if not isinstance(run_dir, str) and hasattr(run_dir, "job"):
            from slurm.tools.points import PointRun  # noqa: PLC0415 - few runs are points

            return PointRun(cls, run_dir.job)
        from slurm.tools.run import Run  # noqa: PLC0415 - this module names it only

        return Run(cls, run_dir)
