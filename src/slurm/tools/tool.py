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
        """A point of a sweep, such as an entry of `sweep.points`."""

        @property
        def job(self) -> Job[Any]:
            """The job of the point's call."""


class Tool(Declaration, abstract=True):
    """An external tool. A subclass declares the tool:

        class Pyuvsim(Tool):
            name, taxonomy = "pyuvsim", ("telescope", "observation_id")
            config = "obsparam.yaml"
            simulate = Stage("run_pyuvsim --param {config}", products=["*.uvh5"], launch="mpi", ntasks=4)

        run = Pyuvsim.prepare("ref1", telescope="HERA", observation_id="2458098", template="small")
        jobs = run.submit()

    `name` is the name of the folder of the tool's runs, `taxonomy` has the names of the folders below it. `config` is
    the main configuration file of a template, which overrides change. `templates` is the directory of templates, by
    default `templates` beside the module of the class. `max_path` is the most characters that the program accepts in a
    path of a product in the run directory.
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

        `template` is the name of a template of the tool, or the path of a directory, with a /. `override` changes
        values of its configuration, such as {"freq.Nfreqs": 4}. `root` is by default the working directory. `on` is
        the cluster: its name in the Slurmfile, or its URL; the default is the same as for the command `slurm`. With
        `unique`, the run directory is a folder below, named by the time. Raises ToolError; then no run was written.
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
        """Return the stages as the task of a sweep, whose points are overrides of the configuration:

            Sweep(Pyuvsim.at(telescope="HERA", template="small"), grid(**{"freq.Nfreqs": [2, 4]}))

        The element of a point prepares the run directory on the node, from the template and the point, and runs all
        stages in order; with `stage`, only this stage and the stages that it needs. Names of the taxonomy may be left
        out if no command uses them. Raises ToolError.
        """
        from slurm.tools.points import unit  # noqa: PLC0415 - it imports yaml

        return unit(cls, taxonomy, stage=stage, template=template, override=override or {})

    @classmethod
    def open(cls, run_dir: str | os.PathLike[str] | PointOfSweep) -> Run:
        """Open the run in a prepared directory, or the run of an ended point of a sweep.

        Raises RunDirectoryError or ManifestError; ToolError if it is a run of another tool.
        """
        if not isinstance(run_dir, str) and hasattr(run_dir, "job"):
            from slurm.tools.points import PointRun  # noqa: PLC0415 - few runs are points

            return PointRun(cls, run_dir.job)
        from slurm.tools.run import Run  # noqa: PLC0415 - this module names it only

        return Run(cls, run_dir)
