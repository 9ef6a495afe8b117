"""Diagnosis: from what a place has told to findings, each with what to do. Pure; `slurm.doctor` asks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from shlex import join, quote
from typing import TYPE_CHECKING

from slurm.errors import UntrustedFile
from slurm.protocol.ownership import check_output
from slurm.slurmfile.reader import near

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from slurm.schedulers.base import Partition, Survey
    from slurm.url import ClusterURL

_OWN_TO_A_NODE = ("/tmp", "/var/tmp", "/dev/shm", "/run")  # noqa: S108 - to warn of them
_LITTLE_SPACE, _NO_SPACE = 1 << 30, 50 << 20
_FEW_FILES = 10_000
_SKEW = 5.0
"""Seconds by which two clocks may differ before anybody minds."""
_SHORT_MEMORY = 60


class Level(str, Enum):
    """How bad it is. With an error nothing will run there, or results won't come back."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """One thing that was checked, what was found, and, unless all is well, what to do."""

    level: Level
    check: str
    found: str
    advice: str = ""


def how_to_reach(url: ClusterURL) -> str:
    """What to try if a place can't be reached."""
    if url.host is None:
        return "run it where the commands are"
    port = ["-p", str(url.port)] if url.port else []
    user = f"{url.user}@" if url.user else ""
    return f"try by hand what this program does: {join(['ssh', *port, f'{user}{url.host}', 'true'])}"


def place(text: str, *, before: float, after: float) -> Iterator[Finding]:
    """Who one is where, and what time it is there; `before` and `after` are the times here around the question."""
    host, user, _, clock = (text.splitlines() + [""] * 4)[:4]
    yield Finding(Level.OK, "reach", f"{host or '?'} as {user or '?'}, in {after - before:.1f} s")
    if not clock.isdecimal():
        return
    skew = max(int(clock) - after, before - int(clock) - 1, 0.0)
    if skew > _SKEW:
        direction = "ahead of" if int(clock) > after else "behind"
        advice = "have both set by NTP: times in records and in names of jobs, and options such as begin, are off"
        yield Finding(Level.WARNING, "clock", f"{skew:.0f} s {direction} the clock here", advice)
    else:
        yield Finding(Level.OK, "clock", "agrees with the clock here")


def tools(missing: str) -> Iterator[Finding]:
    """Whether the few programs that a job's script uses are there."""
    if missing:
        yield Finding(Level.ERROR, "tools", f"not on PATH: {', '.join(missing.split())}", "install them, or mend PATH")


def root(told: Mapping[str, str], *, shared: bool) -> Iterator[Finding]:
    """Whether job directories can be kept there, for the user alone, and how much room there is."""
    path, nearest, listing = (told["root"].split("\n", 2) + [""] * 2)[:3]
    words = listing.split()
    mode, owner = (words[0], words[2]) if len(words) > 2 else ("?", "?")
    uid = (told["place"].splitlines() + [""] * 3)[2]
    if not path.startswith("/") or mode[0] != "d":
        found = f"{nearest} is not a directory" if path.startswith("/") else f"{path!r} is not an absolute path"
        yield Finding(
            Level.ERROR, "root", found, "choose another root: Cluster(…, root=…), or `root:` in the Slurmfile"
        )
        return
    if told["write"]:
        yield Finding(Level.ERROR, "root", f"{nearest} can't be written: {told['write']}", "choose another root")
    elif path != nearest:
        yield Finding(Level.OK, "root", f"{path} will be made in {nearest}")
    else:
        yield _rights(path, mode, own=owner == uid)
    try:
        check_output(told["state"])
    except UntrustedFile as error:
        yield Finding(Level.ERROR, "root", *str(error).split(". ", 1))
    if shared and path.startswith(tuple(f"{place}/" for place in _OWN_TO_A_NODE)):
        advice = "choose a root on a shared file system; --run-job tells whether the nodes see it"
        yield Finding(Level.WARNING, "root", f"{path} is likely to be another directory on each node", advice)
    yield from _room(told)


def _rights(path: str, mode: str, *, own: bool) -> Finding:
    if not own:
        advice = "what others own they can change: choose a directory of your own in it"
        return Finding(Level.WARNING, "root", f"{path} belongs to another user", advice)
    if "w" in mode[4:10]:
        level = Level.ERROR if mode[8] == "w" else Level.WARNING
        advice = f"nothing that others put there is run, but they can move what is yours: chmod go-w {quote(path)}"
        return Finding(level, "root", f"{path} ({mode[:10]}) is writable by others", advice)
    if mode[4:10] != "------":
        return Finding(Level.WARNING, "root", f"{path} ({mode[:10]}) is open to others", f"chmod 700 {quote(path)}")
    return Finding(Level.OK, "root", f"{path} is yours alone")


def _room(told: Mapping[str, str]) -> Iterator[Finding]:
    space, files = (_available(told[name]) for name in ("space", "files"))
    if space is not None:
        level = Level.ERROR if space << 10 < _NO_SPACE else Level.WARNING if space << 10 < _LITTLE_SPACE else Level.OK
        advice = "" if level is Level.OK else "delete old jobs under <root>/jobs, or choose another root"
        yield Finding(level, "space", f"{space / (1 << 20):.1f} GiB free, quotas apart", advice)
    if files is not None and 0 <= files < _FEW_FILES:
        yield Finding(Level.WARNING, "space", f"room for {files} more files", "delete old jobs under <root>/jobs")


def _available(line: str) -> int | None:
    """The fourth number of a line of `df -P`; None where the file system doesn't count."""
    found = re.fullmatch(r".*?\s(\d+)\s+(\d+)\s+(-?\d+)\s+\d+%\s.*", line)
    return int(found[3]) if found and int(found[1]) else None


def setup(text: str) -> Finding:
    """Whether modules and setup lines hold where one submits; nodes may have others."""
    if text.endswith("ready"):
        return Finding(Level.OK, "setup", "every step holds here")
    advice = "if the nodes have it nevertheless, all is well; else a job ends as SetupFailed"
    return Finding(Level.WARNING, "setup", text or "it ended the shell", advice)


def containers(names: str) -> Finding:
    """What there is to run containers by where one submits; nodes, and modules, may have others."""
    found = f"run by {names.strip()}" if names.strip() else "nothing on PATH runs them here"
    return Finding(Level.OK, "containers", found)


def scheduler(name: str, survey: Survey) -> Iterator[Finding]:
    """Whether it answers, and what it can do."""
    if not survey.version:
        advice = "see that it runs"
        if "not found" in survey.trouble:
            advice = "run this where its commands are, or load what brings them, or say `login_shell: yes`"
        elif "configuration source" in survey.trouble:
            advice = "its commands are here but know of no cluster: run this on a login node, or set SLURM_CONF"
        yield Finding(Level.ERROR, "scheduler", f"{name}: {survey.trouble}", advice)
        return
    if survey.old:
        yield Finding(Level.WARNING, "scheduler", f"{name}: {survey.version}", "it is older than any that was tested")
    else:
        yield Finding(Level.OK, "scheduler", f"{name}: {survey.version}")
    yield from _accounting(survey)
    for limit, value in survey.limits.items():
        yield Finding(Level.OK, "limit", f"{limit}: {value}")
    if not survey.arrays:
        advice = "an element of a map is a job of its own, and a map has at most 100: pass chunk_size= for more calls"
        yield Finding(Level.WARNING, "limit", "job arrays are turned off", advice)


def _accounting(survey: Survey) -> Iterator[Finding]:
    if survey.accounting is None:
        return
    age = re.match(r"\d+", survey.limits.get("MinJobAge", ""))
    if survey.accounting:
        yield Finding(Level.OK, "accounting", "yes: how a job ended is known for long")
    elif age and int(age[0]) < _SHORT_MEMORY:
        advice = (
            "keep the program that waits running: how a killed job ended is forgotten so soon that it may be JobLost"
        )
        yield Finding(Level.WARNING, "accounting", f"none, and ended jobs are forgotten after {age[0]} s", advice)
    else:
        yield Finding(Level.OK, "accounting", "none: results come all the same; a killed job may end as JobLost later")


def partitions(survey: Survey, asked: str) -> Iterator[Finding]:
    """Each partition, and whether those that jobs go to can run them."""
    if not survey.partitions:
        return
    names = [name for name in asked.split(",") if name]
    known = {partition.name: partition for partition in survey.partitions}
    for name in names:
        if name not in known:
            advice = f"there is none of this name{near(name, known)}"
            yield Finding(Level.ERROR, "partition", f"{name}, which the options ask for, isn't there", advice)
    if not names and not any(partition.default for partition in survey.partitions):
        advice = "name one: `options: {partition: …}`"
        yield Finding(Level.WARNING, "partition", "there is no default partition", advice)
    for partition in survey.partitions:
        yield _partition(partition, wanted=partition.name in names if names else partition.default)


def _partition(partition: Partition, *, wanted: bool) -> Finding:
    gres = "" if partition.gres in ("", "(null)") else f", {partition.gres}"
    found = (
        f"{partition.name}{' (default)' if partition.default else ''}: {'up' if partition.up else 'not up'}, "
        f"{partition.usable} of {partition.nodes} nodes usable, {partition.cpus} CPUs and {partition.memory} MB each"
        f"{gres}, time limit {partition.time_limit}"
    )
    if partition.up and partition.usable:
        return Finding(Level.OK, "partition", found)
    level = Level.ERROR if wanted else Level.WARNING
    return Finding(level, "partition", found, "jobs will wait there: ask the site, or choose another")
