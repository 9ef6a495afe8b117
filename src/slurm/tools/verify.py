"""Verify: check that a run is complete, by its manifest and the products of its stages. Ids of jobs do not count."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from slurm.protocol.digests import directory_digest, file_digest
from slurm.protocol.outcomes import Product
from slurm.protocol.states import JobState
from slurm.storage.work_files import digests
from slurm.tools import submissions
from slurm.tools.attempts import ATTEMPTS
from slurm.tools.recorded import ignored
from slurm.tools.run_directory import MANIFEST
from slurm.views.status import error_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from slurm.jobs.job import Job
    from slurm.runner.finished import Finished
    from slurm.submission.status import JobStatus
    from slurm.tools.declaration import Declaration
    from slurm.tools.manifest import ManifestBase

OK, MOVED = "ok", "moved"
IGNORED = "ignored"
UNFINISHED, NOT_SUBMITTED = "unfinished", "not submitted"


class Health(NamedTuple):
    """The health of a stage, or with stage None the health of the prepared files.

    `word` is ok, moved, edited or missing for the prepared files. For a stage, it is ok, missing, changed, stale,
    ignored (its program did not use a value of the configuration), failed, unfinished, gone or not submitted.
    """

    stage: str | None
    word: str
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Whether no problem was found; a moved run is ok."""
        return self.word in (OK, MOVED)


def verify(
    tool: type[Declaration],
    manifest: ManifestBase,
    run_dir: Path,
    jobs: Mapping[str, Job[Finished]],
    states: Mapping[str, JobStatus | None],
    stages: Sequence[str],
    *,
    checksums: bool,
) -> list[Health]:
    """Return the health of the prepared files and of each stage."""
    records = submissions.read(run_dir)
    keys = submissions.keys(records)
    found = list(flaws(manifest, run_dir)) or [_place(manifest, run_dir)]
    for stage in stages:
        if stage not in keys and stage not in jobs:
            found.append(Health(stage, NOT_SUBMITTED))
            continue
        stale = _stale(stage, records, keys) if stage in keys else ""
        if stage in jobs and (status := states[stage]):
            health = _of_job(stage, jobs[stage], status, checksums=checksums)
            if health.ok and (others := ignored(tool, manifest, stage, jobs[stage])):
                health = Health(stage, IGNORED, "; ".join(map(str, others)))
        else:
            health = _of_copy(run_dir, stage, submissions.count(records, stage), checksums=checksums)
        found.append(Health(stage, "stale", stale) if stale and health.ok else health)
    return found


def brief(status: JobStatus) -> str:
    """Return the error of a stage in one line, without the end of its log."""
    kind, _, rest = error_of(status).partition(": ")
    error = rest if kind.startswith("slurm.errors.Command") else error_of(status)
    return error.partition("\n")[0].partition(". Its standard ")[0] or (status.reason or "")


def flaws(manifest: ManifestBase, run_dir: Path) -> Iterator[Health]:
    """Yield the files of the manifest that are missing, or differ from the written ones."""
    for name, digest in manifest.files.items():
        path = run_dir / name
        if not path.is_file():
            yield Health(None, "missing", f"{name} is missing")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            yield Health(None, "edited", f"{name} is not as `prepare` wrote it, as {MANIFEST} says")


def _place(manifest: ManifestBase, run_dir: Path) -> Health:
    before = manifest.run_dir
    if before and before != str(run_dir):
        return Health(None, MOVED, f"it was prepared as {before}")
    return Health(None, OK)


def _stale(stage: str, records: Sequence[Mapping[str, Any]], keys: Mapping[str, str]) -> str:
    """Return why the products of a stage are not made from the last products of earlier stages; empty if they are."""
    record = records[submissions.last(records, stage) - 1]
    upstreams = record.get("upstreams", {}).get(stage, {})
    newer = [name for name, key in upstreams.items() if keys.get(name) != key]
    return f"{', '.join(newer)} was submitted again later: submit {stage} again, too" if newer else ""


def _of_job(stage: str, job: Job[Finished], status: JobStatus, *, checksums: bool) -> Health:
    if not status.state.final:
        return Health(stage, UNFINISHED, status.state.value)
    if status.state is not JobState.COMPLETED or not status.outcome or not status.outcome.outputs:
        return Health(stage, "failed", brief(status) or status.state.value)
    output = status.outcome.outputs[0]
    below = f"{output.directory}/"
    files = {file.name.removeprefix(below): file for file in job.files() if file.name.startswith(below)}
    sizes = {name: file.size for name, file in files.items()}
    problem = _differs(output.products, sizes)
    if checksums and problem is None:
        found = digests(job.part.place.transport, [file.path for file in files.values()])
        problem = _other_content(output.products, {name: found[file.path] for name, file in files.items()})
    return Health(stage, *(problem or (OK,)))


def _of_copy(run_dir: Path, stage: str, number: int, *, checksums: bool) -> Health:
    """Return the health of a stage whose job's directory was removed, from the files that were fetched before."""
    try:
        record = json.loads((run_dir / ATTEMPTS / f"{stage}.{number}.json").read_text(encoding="utf-8"))
        products = [Product.from_json(each) for each in record["products"]]
        directory = run_dir / ATTEMPTS / f"{stage}.{number}" / record["directory"]
    except (OSError, ValueError, KeyError, TypeError):
        return Health(stage, "gone", "its job's directory was removed and not fetched before, or it was never queued")
    for product in products:
        path = f"{directory}/{product.path}"
        if not os.path.exists(path):
            return Health(stage, "missing", f"{path} is missing")
        if checksums or not os.path.isdir(path):
            digest = (os.path.getsize(path), product.sha256)
            if checksums:
                digest = directory_digest(path) if os.path.isdir(path) else file_digest(path)
            if digest != (product.bytes, product.sha256):
                return Health(stage, "changed", f"{path} is not as its program wrote it")
    return Health(stage, OK)


def _differs(products: Sequence[Product], sizes: Mapping[str, int]) -> tuple[str, str] | None:
    """Return what is wrong with the sizes of products: a word and a sentence; None if all sizes are right."""
    for product in products:
        own = [size for name, size in sizes.items() if _belongs(name, product)]
        if not own and product.bytes:
            return "missing", f"{product.path} is missing"
        if sum(own) != product.bytes:
            return "changed", f"{product.path} has {sum(own)} bytes, and its program wrote {product.bytes}"
    return None


def _other_content(products: Sequence[Product], found: Mapping[str, str]) -> tuple[str, str] | None:
    """Return what is wrong with the digests of products, as `_differs`; see `directory_digest` for directories."""
    for product in products:
        digest = found.get(product.path)
        if digest is None:
            names = sorted(name for name in found if _belongs(name, product))
            names.sort(key=lambda name: [os.fsencode(part) for part in name.split("/")])
            lines = [f"{found[name]} {name[len(product.path) + 1 :]}\n" for name in names]
            digest = hashlib.sha256(b"".join(map(os.fsencode, lines))).hexdigest()
        if digest != product.sha256:
            return "changed", f"{product.path} has another SHA-256 than its program wrote"
    return None


def _belongs(name: str, product: Product) -> bool:
    return name == product.path or name.startswith(f"{product.path}/")
