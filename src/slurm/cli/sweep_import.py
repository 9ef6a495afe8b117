"""`slurm sweep import`: convert files of HPC Sweep Manager to a sweep and a Slurmfile."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from slurm.cli import output
from slurm.cli.output import json_option, show_json
from slurm.errors import ConfigurationError
from slurm.sweeps.config import SweepConfig
from slurm.sweeps.hsm.project import NAMES, files_of, read_project

_CONFIGS = {Path(name).name for name in NAMES}


@click.command("import")
@click.argument("path", default=".", type=click.Path(exists=True, path_type=Path))
@click.option("--output", "to", default=".", metavar="DIR", type=click.Path(path_type=Path), help="Where to write.")
@click.option("--dry-run", is_flag=True, help="Print what would be written, and write nothing.")
@json_option
def import_(path: Path, to: Path, dry_run: bool, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Import the sweep and the configuration of a project of HPC Sweep Manager in PATH, a directory or a file.

    Writes sweep.yaml and a Slurmfile. Settings that have no counterpart are listed with their lines. Existing files are
    not changed.
    """
    texts, notes = _imported(path)
    if not dry_run:
        _write(to, texts)
    if as_json:
        show_json({"files": texts, "notes": notes, "written": not dry_run})
        return
    for name, text in texts.items():
        output.show(f"# {to / name}\n{text}" if dry_run else f"{to / name} is written")
    for note in notes:
        output.show(f"note: {note}", err=True)


def _imported(path: Path) -> tuple[dict[str, str], list[str]]:
    """The texts of the new files by their names, and a line for each thing that has no counterpart."""
    found = list(files_of(path))
    if not found:
        raise ConfigurationError(f"{path} has no file of HPC Sweep Manager: name a sweep.yaml or an hsm_config.yaml")
    project, notes = None, list[str]()
    for file in found:
        if file.name in _CONFIGS:
            project = read_project(file)
            notes = project.notes
    sweep = next((SweepConfig.load(file) for file in found if file.name not in _CONFIGS), None)
    texts: dict[str, str] = {}
    if sweep is not None:
        values = project.completed(sweep) if project else dict(sweep.values)
        notes += sweep.notes
        if isinstance(values.get("defaults"), list):
            del values["defaults"]
            notes.append("defaults: this list is for Hydra, and is left out: your program composes its own config")
        texts["sweep.yaml"] = _yaml(values)
    if project is not None:
        texts["Slurmfile"] = _yaml({"default": list(project.clusters)[-1], "clusters": project.clusters})
        sources = " ".join(f"--on {name}:{project.slots[name]}" for name in project.slots)
        notes.append(f"compute.max_concurrent_…: name slots at each run: slurm sweep run sweep.yaml {sources}".strip())
    return texts, notes


def _write(to: Path, texts: Mapping[str, str]) -> None:
    """Write new files. If one of them exists, raises ConfigurationError before any file is written."""
    if existing := [str(to / name) for name in texts if (to / name).exists()]:
        raise ConfigurationError(
            f"{', '.join(existing)} exists and is not changed: choose another --output, or --dry-run"
        )
    to.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (to / name).write_text(text, encoding="utf-8")


def _yaml(values: Mapping[str, Any]) -> str:
    import yaml  # noqa: PLC0415 - few commands write YAML

    return str(yaml.safe_dump(_plain(values), sort_keys=False, allow_unicode=True))


def _plain(value: Any) -> Any:
    return {name: _plain(each) for name, each in value.items()} if isinstance(value, Mapping) else value
