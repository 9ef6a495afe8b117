"""Point: write the run directory of a point of a sweep, on the node, into the directory of the point's attempt.

The client sends this module with the call, so its top level imports only the standard library. The client finds the
position of each value in the configuration; the node writes the new values at these positions.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Any

RANKS = "stages/start-ranks.sh"
"""The script that starts the ranks of a stage in the way of the point's cluster. No stage can have this name."""
_START_RANKS = """\
#!/bin/sh
# Starts the ranks of a stage as this cluster does: start-ranks.sh NUMBER PROGRAM…; 0 is as many as the job has tasks.
number=$1
shift
if [ "$number" != 0 ] && [ "$number" -lt "${{SLURM_NTASKS:-1}}" ]; then
  export SLURM_NTASKS="$number" SLURM_NPROCS="$number"
fi
unset {variables}
exec {launcher} "$@"
"""
_WORDS = ("null", "true", "false", "yes", "no", "on", "off", "y", "n")
"""Words that YAML 1.1 or YAML 1.2 does not read as text."""


def words(script: str, /, **overrides: Any) -> list[str]:
    """Return the command line that runs a script in the run directory."""
    del overrides
    return ["sh", script]


def check_of_stage(checks: Mapping[str, Any], product: Path) -> object:
    """Check a product in `output/<stage>/` with the function of its stage."""
    run = next(parent for parent in product.parents if (parent / "manifest.json").is_file())
    check = checks.get(product.relative_to(run).parts[1])
    return check(product) if check else True


def diagnose_by_stage(diagnoses: Mapping[str, Any], log: str, exit_status: int) -> Any:
    """Name a failure with the `diagnose` function of the last stage that the log names."""
    names = [line.split()[2] for line in log.splitlines() if line.startswith("==> stage ")]
    diagnose = diagnoses.get(names[-1]) if names else None
    return diagnose(log, exit_status) if diagnose else None


def prepare(data: Mapping[str, Any], directory: str, /, **overrides: Any) -> None:
    """Write the run directory: configuration, scripts, and the manifest last."""
    files = dict(data["files"])
    if data["ranks"]:
        files[RANKS] = _start_ranks(directory)
    if data["config"]:
        files[data["config"]] = filled(files[data["config"]], data["spans"], overrides, name=data["config"])
    for name, text in files.items():
        _write(f"{directory}/{name}", text)
    digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
    manifest = {
        **data["manifest"],
        "created_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "overrides": {**data["manifest"]["overrides"], **overrides},
        "files": {**data["manifest"]["files"], **digests},
    }
    _write(f"{directory}/manifest.json", json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")


def _start_ranks(directory: str) -> str:
    """Return the script that starts ranks with the launcher of the submission. Raises RuntimeError in a container."""
    import shlex  # noqa: PLC0415 - few points use MPI

    from slurm.runner import launcher_variables, mpi  # noqa: PLC0415 - the client has no use for them
    from slurm.runner.job_context import current_job  # noqa: PLC0415

    if os.environ.get(launcher_variables.LAUNCHER):
        raise RuntimeError(
            "a point of several stages runs in its container, where nothing can start ranks of MPI: prepare and submit "
            "a run for each point, or have the container in the commands of the stages"
        )
    words = list(current_job().submission().launch or ())
    own = mpi.launched(words, (), directory) if words else []
    launcher = [
        f'"${{SLURM_NTASKS:-{word}}}"' if word.isdecimal() and before == "-n" else shlex.quote(word)
        for before, word in zip(["", *own], own)  # noqa: B905 - the first has one more
    ]
    return _START_RANKS.format(variables=" ".join(mpi.VARIABLES), launcher=" ".join(launcher))


def filled(text: str, spans: Mapping[str, Sequence[Any]], overrides: Mapping[str, Any], *, name: str) -> str:
    """Return the text of a file with new values at the positions `spans`. Raises ValueError, which names the key."""
    end = len(text) + 1
    for key, value in sorted(leaves(spans, overrides), key=lambda each: -spans[each[0]][0]):
        start, stop, before, after = spans[key]
        if stop > end:
            raise ValueError(f"{key} is within another key that is overridden, too")
        new = written(value, key, plain=not name.endswith(".json"))
        text, end = f"{text[:start]}{before}{new}{after}{text[stop:]}", start
    return text


def leaves(spans: Mapping[str, Sequence[Any]], values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the single values to write: a mapping that overrides a mapping changes only its keys. Raises KeyError."""
    for name, value in values.items():
        key = f"{above}{name}"
        if key not in spans:
            raise KeyError(key)
        if isinstance(value, dict) and value and any(other.startswith(f"{key}.") for other in spans):
            yield from leaves(spans, value, f"{key}.")
        else:
            yield key, value


def written(value: Any, key: str, *, plain: bool = True) -> str:
    """Return a value as YAML in one line: with `plain`, words have no quotes; without it, the value is JSON.

    Raises ValueError, which names the key, for a value that YAML cannot represent.
    """
    if isinstance(value, dict):
        pairs = [
            (written(str(name), key, plain=plain), written(each, key, plain=plain)) for name, each in value.items()
        ]
        return "{" + ", ".join(f"{name}: {each}" for name, each in pairs) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join([written(each, key, plain=plain) for each in value]) + "]"
    if isinstance(value, str):
        return _text(value, key, plain=plain)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"override {key}: {value} is not a finite number")
        digits, e, exponent = repr(value).partition("e")
        return f"{digits}.0{e}{exponent}" if e and "." not in digits else repr(value)
    if value is None or isinstance(value, (bool, int)):
        return json.dumps(value)
    raise ValueError(f"override {key}: expected text, a number, a bool, None or lists of them, not {value!r:.80}")


def _text(text: str, key: str, *, plain: bool) -> str:
    """Return a text: with `plain`, a simple word unchanged; any other text in double quotes. Raises ValueError."""
    if plain and text.isascii() and text.isidentifier() and text.lower() not in _WORDS:
        return text
    if not text.isprintable() and any("\ud800" <= each <= "\udfff" for each in text):
        raise ValueError(f"override {key}: {text!r:.80} is not text that a file can hold")
    quoted = json.dumps(text, ensure_ascii=not plain)
    return "".join(each if each.isprintable() else f"\\U{ord(each):08x}" for each in quoted)


def _write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "x", encoding="utf-8", newline="") as file:
        file.write(text)
    os.chmod(path, 0o444)
