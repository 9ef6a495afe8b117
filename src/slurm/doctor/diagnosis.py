"""Diagnosis: turn the output of commands into findings with advice. Pure; `slurm.doctor` runs the commands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from shlex import join, quote
from typing import TYPE_CHECKING

from slurm.errors import UntrustedFile
from slurm.protocol.ownership import check_output
from slurm.schedulers.marks import has_tag
from slurm.usage import near

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from slurm.schedulers.survey import Partition, Survey
    from slurm.url import ClusterURL

_NODE_LOCAL = ("/tmp", "/var/tmp", "/dev/shm", "/run")  # noqa: S108 - to warn about them
_LOW_SPACE, _NO_SPACE = 1 << 30, 50 << 20
_FEW_FILES = 10_000
_MAX_SKEW = 5.0
"""Seconds by which two clocks may differ without a warning."""
_SHORT_JOB_AGE = 60
"""Without accounting, a MinJobAge below this many seconds gives a warning."""


class Level(str, Enum):
    """Severity. With an error, jobs will not run, or results will not come back."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """The result of one check, and advice if there is a problem."""

    level: Level
    check: str
    found: str
    advice: str = ""


def how_to_reach(url: ClusterURL) -> str:
    """Advice for a place that cannot be reached."""
    if url.host is None:
        return "run this on a machine that has the commands"
    port = ["-p", str(url.port)] if url.port else []
    user = f"{url.user}@" if url.user else ""
    return f"try the same command by hand: {join(['ssh', *port, f'{user}{url.host}', 'true'])}"


def place(text: str, *, before: float, after: float) -> Iterator[Finding]:
    """Check host, user and clock. `before` and `after` are the times on this machine around the command."""
    host, user, _, clock = (text.splitlines() + [""] * 4)[:4]
    yield Finding(Level.OK, "reach", f"{host or '?'} as {user or '?'}, in {after - before:.1f} s")
    if not clock.isdecimal():
        return
    skew = max(int(clock) - after, before - int(clock) - 1, 0.0)
    if skew > _MAX_SKEW:
        direction = "ahead of" if int(clock) > after else "behind"
        advice = "synchronise both with NTP: times in records and keys, and options such as begin, are wrong"
        yield Finding(Level.WARNING, "clock", f"{skew:.0f} s {direction} the clock of this machine", advice)
    else:
        yield Finding(Level.OK, "clock", "agrees with the clock of this machine")


def tools(missing: str) -> Iterator[Finding]:
    """Check that the programs of job scripts are on PATH."""
    if missing:
        yield Finding(
            Level.ERROR, "tools", f"not on PATH: {', '.join(missing.split())}", "install them, or correct PATH"
        )


def root(sections: Mapping[str, str], *, shared: bool) -> Iterator[Finding]:
    """Check that the root can be used, is private to the user, and has space. `shared`: several nodes use it."""
    path, nearest, listing = (sections["root"].split("\n", 2) + [""] * 2)[:3]
    columns = listing.split()
    mode, owner = (columns[0], columns[2]) if len(columns) > 2 else ("?", "?")
    uid = (sections["place"].splitlines() + [""] * 3)[2]
    if not path.startswith("/") or mode[0] != "d":
        found = f"{nearest} is not a directory" if path.startswith("/") else f"{path!r} is not an absolute path"
        yield Finding(
            Level.ERROR, "root", found, "choose another root: Cluster(…, root=…), or `root:` in the Slurmfile"
        )
        return
    if sections["write"]:
        yield Finding(Level.ERROR, "root", f"{nearest} is not writable: {sections['write']}", "choose another root")
    elif path != nearest:
        yield Finding(Level.OK, "root", f"{path} will be created in {nearest}")
    else:
        yield _permissions(path, mode, own=owner == uid)
    try:
        check_output(sections["state"])
    except UntrustedFile as error:
        yield Finding(Level.ERROR, "root", *str(error).split(". ", 1))
    if shared and path.startswith(tuple(f"{place}/" for place in _NODE_LOCAL)):
        advice = "choose a root on a shared file system; --run-job checks whether the nodes see it"
        yield Finding(Level.WARNING, "root", f"{path} is probably a different directory on each node", advice)
    yield from _space(sections)


def _permissions(path: str, mode: str, *, own: bool) -> Finding:
    if not own:
        advice = "its owner can change it: choose a directory of your own in it"
        return Finding(Level.WARNING, "root", f"{path} belongs to another user", advice)
    if "w" in mode[4:10]:
        advice = f"files of others are never run, but others can move your files: chmod go-w {quote(path)}"
        return Finding(Level.WARNING, "root", f"{path} ({mode[:10]}) is writable by others", advice)
    if mode[4:10] != "------":
        return Finding(
            Level.WARNING, "root", f"{path} ({mode[:10]}) is accessible to others", f"chmod 700 {quote(path)}"
        )
    return Finding(Level.OK, "root", f"{path} is accessible to you only")


def _space(sections: Mapping[str, str]) -> Iterator[Finding]:
    space, files = (_available(sections[name]) for name in ("space", "files"))
    if space is not None:
        level = Level.ERROR if space << 10 < _NO_SPACE else Level.WARNING if space << 10 < _LOW_SPACE else Level.OK
        advice = "" if level is Level.OK else "delete old jobs under <root>/jobs, or choose another root"
        yield Finding(level, "space", f"{space / (1 << 20):.1f} GiB free, without quotas", advice)
    if files is not None and 0 <= files < _FEW_FILES:
        yield Finding(Level.WARNING, "space", f"room for {files} more files", "delete old jobs under <root>/jobs")


def _available(line: str) -> int | None:
    """The number of available blocks or files in a line of `df -P`; None if the file system does not count them."""
    found = re.fullmatch(r".*?\s(\d+)\s+(\d+)\s+(-?\d+)\s+\d+%\s.*", line)
    return int(found[3]) if found and int(found[1]) else None


def setup(text: str) -> Finding:
    """Check modules and setup lines on the submitting machine. Nodes may have other modules."""
    if text.endswith("ready"):
        return Finding(Level.OK, "setup", "every step works here")
    advice = "this is harmless if it works on the nodes; otherwise jobs end as SetupFailed"
    return Finding(Level.WARNING, "setup", text or "a step ended the shell", advice)


def containers(names: str) -> Finding:
    """List the container runtimes of the submitting machine. Nodes and modules may have others."""
    return Finding(Level.OK, "containers", names.strip() or "no container runtime on PATH")


def scheduler(name: str, survey: Survey) -> Iterator[Finding]:
    """Check that the scheduler answers; list its version and limits."""
    if not survey.version:
        advice = "check that it runs"
        if "not found" in survey.trouble:
            advice = "run this where its commands are installed, load their module, or set `login_shell: yes`"
        elif "configuration source" in survey.trouble:
            advice = (
                "its commands are installed, but have no cluster: run this on a login node, or set SLURM_CONF, or "
                "SLURM_CONF_SERVER=host:port if machines get their slurm.conf from slurmctld"
            )
        yield Finding(Level.ERROR, "scheduler", f"{name}: {survey.trouble}", advice)
        return
    if survey.old:
        yield Finding(
            Level.WARNING, "scheduler", f"{name}: {survey.version}", "this version is older than the tested ones"
        )
    else:
        yield Finding(Level.OK, "scheduler", f"{name}: {survey.version}")
    if survey.federation:
        found = f"{', '.join(survey.federation)}: single calls run on any of them, maps on the cluster that queues them"
        yield Finding(Level.OK, "federation", found)
    yield from _accounting(survey)
    if survey.memory is False:
        yield Finding(Level.OK, "memory", "not enforced: a job may use more than its mem=, and take it from others")
    for limit, value in survey.limits.items():
        yield Finding(Level.OK, "limit", f"{limit}: {value}")
    if not survey.arrays:
        advice = "each element of a map is a job, and a map has at most 100 of them: pass chunk_size= for more calls"
        yield Finding(Level.WARNING, "limit", "job arrays are disabled", advice)


def _accounting(survey: Survey) -> Iterator[Finding]:
    if survey.accounting is None:
        return
    age = re.match(r"\d+", survey.limits.get("MinJobAge", ""))
    if survey.accounting:
        yield Finding(Level.OK, "accounting", "yes: the final states of jobs are stored")
    elif age and int(age[0]) < _SHORT_JOB_AGE:
        advice = "keep the waiting program running; otherwise a killed job may end as JobLost"
        yield Finding(Level.WARNING, "accounting", f"none, and Slurm forgets finished jobs after {age[0]} s", advice)
    else:
        yield Finding(Level.OK, "accounting", "none: results are not affected; a killed job may later end as JobLost")


def partitions(survey: Survey, requested: str) -> Iterator[Finding]:
    """List the partitions; check that the requested or default ones can run jobs."""
    if not survey.partitions:
        return
    names = [name for name in requested.split(",") if name]
    known = {partition.name: partition for partition in survey.partitions}
    for name in names:
        if name not in known:
            advice = f"no partition has this name{near(name, known)}"
            yield Finding(Level.ERROR, "partition", f"{name} (from the options) does not exist", advice)
    if not names and not any(partition.default for partition in survey.partitions):
        advice = "set one: `options: {partition: …}`"
        yield Finding(Level.WARNING, "partition", "there is no default partition", advice)
    for partition in survey.partitions:
        yield _partition(partition, wanted=partition.name in names if names else partition.default)


def submitting(node: str, survey: Survey) -> Iterator[Finding]:
    """Check whether jobs on a node can submit jobs, from a survey on that node."""
    if survey.trouble:
        advice = "workflows, and retries while your program is away, need the scheduler's commands on the nodes"
        yield Finding(Level.WARNING, "submit", f"a job on {node} cannot submit jobs: {survey.trouble}", advice)


def comments(key: str, found: Iterable[str]) -> Iterator[Finding]:
    """Check whether the site has changed the comments of a job."""
    if others := [comment for comment in found if not has_tag(key, comment=comment, script="")]:
        text = f"the site changes the comments of jobs, here to {others[0]!r}: jobs are known by their scripts instead"
        yield Finding(Level.OK, "comment", text)


def _partition(partition: Partition, *, wanted: bool) -> Finding:
    gres = "" if partition.gres in ("", "(null)") else f", {partition.gres}"
    found = (
        f"{partition.name}{' (default)' if partition.default else ''}: {'up' if partition.up else 'not up'}, "
        f"{partition.usable} of {partition.nodes} nodes usable, {partition.cpus} CPUs and {partition.memory} MB each"
        f"{gres}, time limit {partition.time_limit}{f', access: {partition.access}' if partition.access else ''}"
    )
    if partition.up and partition.usable:
        return Finding(Level.OK, "partition", found)
    level = Level.ERROR if wanted else Level.WARNING
    return Finding(level, "partition", found, "jobs will wait: ask the site, or choose another partition")
