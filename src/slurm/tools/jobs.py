"""jobs.json: the submitted jobs of a run, for people and scripts. The file is derived from `submissions/`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from slurm.tools import submissions
from slurm.tools.errors import RunDirectoryError
from slurm.tools.run_directory import MANIFEST

JOBS = "jobs.json"


def write_jobs_json(run_dir: str | os.PathLike[str]) -> Path:
    """Write `jobs.json` from the records of the submissions, atomically; return its path.

    In the file, `jobs` has the last job of each stage, and `history` has the earlier ones, oldest first.
    """
    path = Path(run_dir) / JOBS
    records = submissions.read(path.parent)
    jobs: dict[str, Any] = {}
    history: list[dict[str, Any]] = []
    for number, record in enumerate(records, 1):
        for stage, key in record["stages"].items():
            queued = submissions.queued(path.parent, number, stage) or {}
            history += [{"stage": stage, **jobs[stage]}] if stage in jobs else []
            jobs[stage] = {
                "key": key,
                "job_id": queued.get("job_id"),
                "commands": queued.get("commands") or submissions.commands(path.parent, number, stage),
                "submitted_utc": record["submitted_utc"],
                "why": record.get("why", "submit"),
            }
    last = records[-1] if records else {}
    text = {
        "run_dir": str(path.parent.absolute()),
        "manifest": MANIFEST,
        "submitted_utc": last.get("submitted_utc"),
        "stage": list(last.get("stages", {})),
        "jobs": jobs,
        "history": history,
    }
    draft = path.with_name(f".{JOBS}.{os.getpid()}-{os.urandom(4).hex()}")
    draft.write_text(json.dumps(text, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(path)
    return path


def load_jobs_json(run_dir: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the content of `jobs.json`. Raises RunDirectoryError if the file is missing or damaged."""
    path = Path(run_dir) / JOBS
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict) or not isinstance(found.get("jobs"), dict):
            raise TypeError("expected an object with jobs")
    except FileNotFoundError:
        raise RunDirectoryError(
            f"there is no {path}: nothing was submitted, or write_jobs_json writes it anew"
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise RunDirectoryError(f"{path} cannot be read: {error}. write_jobs_json writes it anew") from error
    return found


def archive_jobs_json(run_dir: str | os.PathLike[str]) -> Path | None:
    """Rename `jobs.json` to `jobs.<n>.json`, read-only, with the first free n; return the path, None without a file."""
    path = Path(run_dir) / JOBS
    for number in range(1, 1 + len(os.listdir(path.parent)) + 1):
        target = path.with_name(f"jobs.{number}.json")
        try:
            os.link(path, target)
        except FileExistsError:
            continue
        except FileNotFoundError:
            return None
        path.unlink(missing_ok=True)
        target.chmod(0o444)
        return target
    return None


def has_submitted_stage(run_dir: str | os.PathLike[str], stage: str) -> bool:
    """Whether a submission of this stage was recorded."""
    return stage in submissions.keys(submissions.read(Path(run_dir)))
