"""Synonyms: words that people expect as commands, with the commands that do this. Loaded only for an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurm.usage import near

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


def _each(words: str, *commands: str) -> dict[str, tuple[str, ...]]:
    return dict.fromkeys(words.split(), commands)


SYNONYMS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "slurm": {
        **_each("status state stat", "jobs", "show"),
        **_each("queue squeue ps list history sacct top", "jobs", "watch"),
        **_each("info describe inspect", "show"),
        **_each("submit sbatch srun start call exec launch", "run"),
        **_each("kill scancel stop abort terminate", "cancel"),
        **_each("log output stdout stderr tail", "logs"),
        **_each("rm remove delete clean cleanup prune purge", "gc"),
        **_each("monitor follow", "watch"),
        **_each("rerun resubmit requeue resume", "retry"),
        **_each("seff usage stats", "efficiency"),
        **_each("why", "explain"),
        **_each("check diagnose test sinfo", "doctor"),
        **_each("ssh shell attach", "connect"),
        **_each("download get pull cp", "fetch"),
        **_each("df disk", "du"),
        **_each("dag tree", "graph"),
        **_each("message", "send"),
        **_each("env environments", "envs"),
        **_each("init validate", "config"),
        **_each("server web ui dashboard", "serve"),
    },
    "sweep": {
        **_each("start submit launch", "run"),
        **_each("list ls show jobs", "status"),
        **_each("resume continue retry rerun", "complete"),
        **_each("stop kill abort", "cancel"),
        **_each("rm remove delete clean gc", "cleanup"),
        **_each("results result", "table"),
        **_each("failures failed", "errors"),
        **_each("check", "validate"),
        **_each("explain", "why"),
        **_each("new create", "init"),
        **_each("download get", "fetch"),
        **_each("add", "extend"),
        **_each("diff", "compare"),
        **_each("log output", "logs"),
    },
    "tool": {
        **_each("run start launch", "submit"),
        **_each("ls", "list", "runs"),
        **_each("jobs", "runs"),
        **_each("check validate", "verify"),
        **_each("rm remove delete clean gc", "cleanup"),
        **_each("retry continue rerun", "resume"),
        **_each("info describe", "show"),
        **_each("new create init", "prepare"),
        **_each("download get", "fetch"),
        **_each("log output", "logs"),
    },
    "script": {
        **_each("submit new create load init", "prepare"),
        **_each("run call launch exec", "start"),
        **_each("ls status ps jobs queue", "list"),
        **_each("info describe", "show"),
        **_each("kill cancel abort terminate", "stop"),
        **_each("log output", "logs"),
        **_each("message", "send"),
        **_each("set", "publish"),
        **_each("free unlock", "release"),
    },
    "config": {**_each("check", "validate"), **_each("new create", "init"), **_each("list ls get", "show")},
    "envs": {**_each("ls show", "list"), **_each("remove delete", "rm"), **_each("clean cleanup prune", "gc")},
}
"""For each group of commands, words with the commands that people mean by them."""


def meant(word: str, group: str | None, commands: Collection[str]) -> str:
    """Return the end of a message about an unknown command: the commands that are meant, or all of them."""
    if found := SYNONYMS.get(group or "", {}).get(word.lower()):
        return f": did you mean {' or '.join(map(repr, found))}?"
    return near(word, commands)
