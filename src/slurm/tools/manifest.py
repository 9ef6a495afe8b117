"""Manifest: `manifest.json` of a run directory. It is written once, after all other files, and never changes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from slurm.tools.errors import ManifestError
from slurm.tools.run_directory import MANIFEST
from slurm.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class ManifestBase:
    """The inputs of the preparation of a run. A tool may add fields, with defaults, in a subclass."""

    tool: str
    run_id: str
    taxonomy: dict[str, str]
    created_utc: str
    """The time of the preparation, as ISO 8601 in UTC."""
    url: str
    """The URL of the cluster for which the run was prepared, with its root."""
    cluster: str | None = None
    """The name of the cluster in the Slurmfile, if the cluster was given by name."""
    template: str | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The options, products and command of each stage, by its name."""
    files: dict[str, str] = field(default_factory=dict)
    """The SHA-256 of each prepared file, by its path in the run directory."""
    run_dir: str | None = None
    """The path of the run directory at the time of the preparation."""
    declared_in: str | None = None
    """The tool as FILE.py:CLASS or MODULE:CLASS, if no installed package registers it."""
    format: int = FORMAT
    written_by: str = f"slurm-tasks {__version__}"


def write_manifest(manifest: ManifestBase, run_dir: str | os.PathLike[str]) -> Path:
    """Write `manifest.json`, atomically and read-only. Raises ManifestError if the file exists."""
    path = Path(run_dir) / MANIFEST
    text = json.dumps(asdict(manifest), indent=2, ensure_ascii=False) + "\n"
    draft = path.with_name(f".{MANIFEST}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.chmod(0o444)
    try:
        os.link(draft, path)
    except FileExistsError:
        raise ManifestError(f"{path} is there already, and a manifest never changes") from None
    finally:
        draft.unlink()
    return path


def load_manifest(run_dir: str | os.PathLike[str], kind: type[Any] = ManifestBase) -> Any:
    """Read the manifest of a run directory as an instance of `kind`. Raises ManifestError; see `validate_manifest`."""
    path = Path(run_dir) / MANIFEST
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ManifestError(f"there is no {path}: the run directory is not prepared") from None
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path} cannot be read: {error}") from error
    return validate_manifest(data, kind, path)


def validate_manifest(data: object, kind: type[Any] = ManifestBase, path: str | os.PathLike[str] = MANIFEST) -> Any:
    """Make a manifest from the values of a file. Unknown fields are ignored.

    Raises ManifestError for a missing field, a field of a wrong type, and a newer format. The error names the file, the
    field, and the version that wrote the file.
    """
    if not isinstance(data, Mapping):
        raise ManifestError(f"{path}: expected a JSON object, found {type(data).__name__}")
    by = f" (written by {data['written_by']})" if isinstance(data.get("written_by"), str) else ""
    newest = data.get("format", FORMAT)
    if isinstance(newest, int) and newest > FORMAT:
        raise ManifestError(
            f"{path}: format {newest}{by} is newer than this version, {__version__}, reads ({FORMAT}): "
            "upgrade slurm-tasks"
        )
    hints, values = _hints(kind), {}
    for each in fields(kind):
        if each.name in data:
            if not _is(data[each.name], hints[each.name]):
                kinds = str(hints[each.name]).removeprefix("<class '").removesuffix("'>")
                raise ManifestError(f"{path}: {each.name}{by} is {data[each.name]!r:.80}, expected {kinds}")
            values[each.name] = data[each.name]
        elif each.default is MISSING and each.default_factory is MISSING:
            raise ManifestError(
                f"{path}: {each.name} is missing{by}: prepare the run again, or read it with the tool's own class"
            )
    return kind(**values)


_hints: Callable[[Any], dict[str, Any]] = cache(get_type_hints)
"""The cached types of the fields of a class: finding them takes longer than reading a manifest."""


def _is(value: object, hint: Any) -> bool:
    """Whether a value from a JSON file has the type `hint`."""
    origin = get_origin(hint)
    if origin is dict:
        inner = get_args(hint)[1]
        return isinstance(value, dict) and all(_is(each, inner) for each in value.values())
    if origin is not None:  # a union
        return any(_is(value, each) for each in get_args(hint))
    if hint is Any:
        return True
    return isinstance(value, hint) and not (hint is int and isinstance(value, bool))
