"""Recorded: compare the overrides of a run with the values that its program has recorded as used."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.errors import TransportError
from slurm.tools.config import get_nested
from slurm.tools.errors import ToolError
from slurm.tools.stage import OUTPUT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from slurm.jobs.job import Job
    from slurm.runner.finished import Finished
    from slurm.tools.declaration import Declaration
    from slurm.tools.manifest import ManifestBase


class Ignored(NamedTuple):
    """A value of the manifest that a stage did not use."""

    stage: str
    key: str
    asked: Any
    used: Any

    def __str__(self) -> str:
        return f"stage {self.stage} used {self.key} = {self.used!r}, not {self.asked!r} as its configuration says"


def ignored(tool: type[Declaration], manifest: ManifestBase, stage: str, job: Job[Finished]) -> list[Ignored]:
    """Return the overrides that an ended stage did not use. Copies the small files with its record to this machine.

    Raises ToolError if these files cannot be read.
    """
    if not tool.records or not manifest.overrides:
        return []
    below = OUTPUT if job.labels.get("stage") == stage else f"{OUTPUT}/{OUTPUT}/{stage}"  # a point of several stages
    with tempfile.TemporaryDirectory(prefix="slurm-tool-") as here:
        try:
            job.fetch(*(f"{below}/{pattern}" for pattern in tool.records), to=here)
        except TransportError:  # the stage records nothing
            return []
        try:
            used = tool.recorded(Path(here, below))
        except Exception as error:  # the function belongs to the tool, and may raise anything
            what = f"{type(error).__name__}: {error}"
            raise ToolError(
                f"what stage {stage} recorded in {', '.join(tool.records)} cannot be read: {what}"
            ) from error
    return [] if used is None else list(differences(stage, manifest.overrides, used))


def differences(stage: str, asked: Mapping[str, Any], used: Mapping[str, Any]) -> Iterator[Ignored]:
    """Yield the keys whose recorded value differs. A program need not record all keys, and may nest them."""
    for key, value in _flat(asked).items():
        found = get_nested(used, *key.split("."), default=value)
        if not _same(value, found):
            yield Ignored(stage, key, value, found)


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return the values by the paths of their keys, such as `freq.Nfreqs`."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        below = _flat(value, f"{above}{name}.") if isinstance(value, dict) else {}
        flat |= below or {f"{above}{name}": value}
    return flat


def _same(asked: Any, used: Any) -> bool:
    """Whether two values are the same number or text in any notation, or lists of such values."""
    if isinstance(asked, list | tuple) and isinstance(used, list | tuple):
        return len(asked) == len(used) and all(map(_same, asked, used))
    try:
        return float(asked) == float(used)
    except (TypeError, ValueError):
        return bool(asked == used or str(asked) == str(used))
