"""Scripts: write the scripts that start the programs of the stages at a cluster, for people and for jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurm.tools.attempts import replace_link
from slurm.tools.errors import RunNotWritten
from slurm.tools.stage import CONFIG, LAST, STAGES, Alone

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from slurm.clusters.cluster import Cluster
    from slurm.tasks.settings import Settings
    from slurm.tools.declaration import Declaration


def scripts(
    tool: type[Declaration],
    cluster: Cluster,
    settings: Mapping[str, Settings],
    *,
    run_id: str,
    taxonomy: Mapping[str, str],
    run_dir: Path,
    moved: bool = False,
) -> dict[str, str]:
    """Return the text of the script of each stage at a cluster. `moved` is as for `Stage.script`."""
    values = {**taxonomy, "run_id": run_id, **({CONFIG: f"{CONFIG}/{tool.config}"} if tool.config else {})}
    return {
        name: stage.script(
            tool.stages,
            values,
            title=f"Stage {name} of {tool.name}, run {run_id}" + (f", at {cluster.url}" if moved else ""),
            directory=run_dir,
            alone=_alone(cluster, settings[name]),
            moved=moved,
        )
        for name, stage in tool.stages.items()
    }


def script_of(run_dir: Path, stage: str) -> Path:
    """Return the path of the script of a stage for the cluster where the run is now."""
    last = run_dir / STAGES / f"{stage}.{LAST}.sh"
    return last if last.exists() else run_dir / STAGES / f"{stage}.sh"


def write_moved(run_dir: Path, number: int, texts: Mapping[str, str]) -> None:
    """Write the scripts of a run that submission `number` moves to another cluster, beside the prepared scripts.

    The scripts are `stages/<stage>.<number>.sh`; `stages/<stage>.last.sh` is a link to the script. Raises
    RunNotWritten.
    """
    for name, text in texts.items():
        path = run_dir / STAGES / f"{name}.{number}.sh"
        try:
            path.write_text(text, encoding="utf-8")
            path.chmod(0o444)
            replace_link(run_dir / STAGES / f"{name}.{LAST}.sh", path.name)
        except OSError as error:
            raise RunNotWritten(f"{path} cannot be written: {error.strerror}") from error


def _alone(cluster: Cluster, settings: Settings) -> Alone:
    options, launch = settings.options, ()
    if options.get("launch") == "mpi":
        ranks, kind = int(options.get("ntasks") or 1), str(options.get("mpi") or "")
        launch = tuple(cluster.place.scheduler_class.launch(ranks, kind))
    own = options.get("setup")
    setup = (*cluster.place.spec.setup, *([str(own)] if own else []))
    return Alone(options, setup, settings.environment or (), launch)
