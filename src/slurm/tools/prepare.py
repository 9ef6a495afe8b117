"""Prepare a run: write the run directory once, with the manifest last."""

from __future__ import annotations

import hashlib
import os
import shutil
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.tools.clusters import cluster_of, name_of, place_url
from slurm.tools.config import stage_settings
from slurm.tools.errors import RunNotWritten, ToolError
from slurm.tools.manifest import ManifestBase, write_manifest
from slurm.tools.overrides import overridden
from slurm.tools.run import Run
from slurm.tools.run_directory import build_run_dir, check_free, ensure_run_dir, remove_empty_parents
from slurm.tools.scripts import scripts
from slurm.tools.stage import CONFIG, OUTPUT, STAGES
from slurm.tools.templates import get_template_path, template_files
from slurm.usage import near

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from slurm.clusters.cluster import Cluster
    from slurm.tools.declaration import Declaration


class Draft(NamedTuple):
    """A run that is not written yet: its files, by their paths in the run directory, and its manifest."""

    tool: type[Declaration]
    run_dir: Path
    files: Mapping[str, bytes]
    manifest: ManifestBase

    def write(self) -> Run:
        """Write the run directory, with the manifest last. Raises RunNotWritten; then all files of the run are removed.

        The directory is written under a hidden name beside its final path, and then renamed. So a process that is
        killed leaves no incomplete run, and if two processes write the same run, one of them fails.
        """
        before = next(parent for parent in self.run_dir.parents if parent.is_dir())
        hidden = self.run_dir.with_name(f".{self.run_dir.name}.{os.getpid()}-{os.urandom(4).hex()}")
        try:
            ensure_run_dir(hidden)
            for name, content in self.files.items():
                _write(hidden / name, content)
            write_manifest(self.manifest, hidden)
            hidden.rename(self.run_dir)
        except (OSError, RunNotWritten) as error:
            shutil.rmtree(hidden, ignore_errors=True)
            remove_empty_parents(self.run_dir, up_to=before)
            check_free(self.run_dir)  # another process may have prepared this run
            why = str(error) if isinstance(error, RunNotWritten) else f"{error.filename or ''}: {error.strerror}"
            raise RunNotWritten(f"{self.run_dir} cannot be written, and nothing of it is left: {why}") from error
        return Run(self.tool, self.run_dir)


def draft(
    tool: type[Declaration],
    run_id: str,
    taxonomy: Mapping[str, object],
    *,
    template: str | None,
    override: Mapping[str, Any],
    root: str | os.PathLike[str] | None,
    on: str | Cluster | None,
    unique: bool,
) -> Draft:
    """Return a draft of the run that `Tool.prepare` writes. Writes nothing."""
    named = _taxonomy(tool, taxonomy)
    run_dir = build_run_dir(root or ".", tool.name, named, run_id, unique=unique)
    while unique and run_dir.exists():
        run_dir = build_run_dir(root or ".", tool.name, named, run_id, unique=True)
    check_free(run_dir)
    _check_length(tool, run_dir)
    cluster = cluster_of(on)
    files = _config(tool, template, override)
    settings = stage_settings(tool, cluster)
    texts = scripts(tool, cluster, settings, run_id=run_id, taxonomy=named, run_dir=run_dir)
    files |= {f"{STAGES}/{name}.sh": text.encode() for name, text in texts.items()}
    manifest = ManifestBase(
        tool=tool.name,
        run_id=run_id,
        taxonomy=named,
        created_utc=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        url=place_url(cluster),
        cluster=name_of(on),
        template=template,
        overrides=dict(override),
        stages={name: _described(tool, name, settings[name].options.to_json()) for name in tool.stages},
        run_dir=str(run_dir),
        declared_in=tool.declared_in(),
        files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    )
    return Draft(tool, run_dir, files, manifest)


def _check_length(tool: type[Declaration], run_dir: Path) -> None:
    """Raise ToolError if the path of a product is too long, as the script of a stage or a link would use it."""
    below = [f"{OUTPUT}/{name}/{product}" for name in tool.stages for product in tool.stages[name].pattern_list]
    longest = max((f"{run_dir}/{path}" for path in ("", *below)), key=len)
    if len(longest) > tool.max_path:
        raise ToolError(
            f"{longest} has {len(longest)} characters, and {tool.name} takes paths of at most {tool.max_path}: "
            f"choose a root that is {len(longest) - tool.max_path} characters shorter"
        )


def _taxonomy(tool: type[Declaration], given: Mapping[str, object]) -> dict[str, str]:
    for name in given:
        if name not in tool.taxonomy:
            raise ToolError(f"{tool.name} has no {name!r} in its taxonomy{near(name, tool.taxonomy)}")
    missing = [name for name in tool.taxonomy if name not in given]
    if missing:
        raise ToolError(f"{tool.name} needs {', '.join(f'{name}=…' for name in missing)}")
    return {name: str(given[name]) for name in tool.taxonomy}


def _config(tool: type[Declaration], template: str | None, override: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the files of the template with the overrides, by their paths in the run directory. Raises ToolError."""
    if template is None:
        if tool.config or override:
            raise ToolError(f"{tool.name} needs a template, for its {tool.config or 'configuration'}: write template=…")
        return {}
    found = {
        name: path.read_bytes()
        for name, path in template_files(get_template_path(tool.templates_directory(), template))
    }
    if tool.config is not None and tool.config not in found:
        raise ToolError(f"template {template!r} has no {tool.config}{near(tool.config, found)}")
    if override:
        if tool.config is None:
            raise ToolError(f"{tool.name} declares no config, the file that overrides change")
        text = found[tool.config].decode()
        found[tool.config] = overridden(text, override, name=f"{template}/{tool.config}").encode()
    return {f"{CONFIG}/{name}": content for name, content in found.items()}


def _described(tool: type[Declaration], name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    stage = tool.stages[name]
    return {
        "command": stage.command,
        "products": stage.pattern_list,
        "after": list(stage.upstreams(tool.stages)),
        "options": dict(options),
    }


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o444)
