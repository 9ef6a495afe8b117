"""A fake PBS: programs that answer as qsub, qstat, qselect and qdel do, and run jobs on this machine. It is no PBS.

What it prints follows recorded answers: those in tests/unit/test_pbs.py, which name their sources. `FAKE_PBS` names the
dialect, openpbs or torque. It has no daemon: each command and each end of a job starts what may start.
"""

from __future__ import annotations

import contextlib
import fcntl
import getopt
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

PROGRAMS = ("qsub", "qstat", "qselect", "qdel")
SERVER = "fake-pbs"
SLOTS = 8
KILL_DELAY = 3.0
TORQUE = os.environ.get("FAKE_PBS") == "torque"
VERSION = "Version: 6.1.2\nCommit: fake" if TORQUE else "pbs_version = 22.05.11"
QUEUED, RUNNING, ENDED = "Q", "R", "F"
Jobs = dict[str, Any]


def install(directory: Path, *, dialect: str) -> dict[str, str]:
    """Write the programs. Returns the variables that commands need."""
    (directory / "bin").mkdir(parents=True)
    for name in PROGRAMS:
        path = directory / "bin" / name
        path.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, "-S", __file__, name])} "$@"\n')
        path.chmod(0o755)
    (directory / "jobs.json").write_text("{}")
    search = os.pathsep.join([str(directory / "bin"), os.environ["PATH"]])
    return {"FAKE_PBS": dialect, "FAKE_PBS_HOME": str(directory), "PATH": search}


def fail(message: str, status: int = 1) -> NoReturn:
    """Print an error as PBS does."""
    sys.stderr.write(f"{message}\n")
    raise SystemExit(status)


@contextlib.contextmanager
def jobs() -> Iterator[Jobs]:
    """Give all jobs, changed by one process at a time."""
    path = Path(os.environ["FAKE_PBS_HOME"], "jobs.json")
    if not path.exists():
        fail(f"Connection refused\nqstat: cannot connect to server {SERVER} (errno=15010)", 255)
    with Path(f"{path}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = json.loads(path.read_text())
        yield found
        start(found)
        new = Path(f"{path}.new")
        new.write_text(json.dumps(found))
        new.replace(path)


def qsub(words: list[str]) -> None:
    """Queue a job from standard input."""
    try:
        flags, rest = getopt.getopt(words, "S:j:o:m:r:N:q:A:hv:W:l:" + ("t:" if TORQUE else "J:"))
    except getopt.GetoptError as error:
        fail(f"qsub: invalid option -- '{error.opt}'\nusage: qsub …", 2)
    assert not rest
    given, limits, more = dict(flags), dict[str, str](), dict[str, str]()
    for flag, value in flags:
        if flag == "-l":
            limits.update(each.partition("=")[::2] for each in value.split(","))
        if flag == "-W":
            more.update([value.partition("=")[::2]])
    if given.get("-q", "workq") != "workq":
        fail("qsub: Unknown queue MSG=cannot locate queue" if TORQUE else "qsub: Unknown queue", 170)
    span, _, most = given.get("-t" if TORQUE else "-J", "").partition("%")
    first, _, last = span.partition("-")
    if span and not TORQUE and (most or int(first) >= int(last)):
        fail("qsub: illegal -J value\nusage: qsub …", 2)
    tasks = range(int(first), int(last) + 1) if span else [0]
    with jobs() as found:
        # A job waits for ever for one that was forgotten: https://opus.nci.org.au, Job Dependencies.
        depend = [each.split(":") for each in more.get("depend", "").split(",") if each]
        depend = [["never" if _forgotten(found, id_) else kind, id_] for kind, *ids in depend for id_ in ids]
        id_ = f"{len(found) + 1}{'[]' if span else ''}.{SERVER}"
        found[id_] = {
            "name": given["-N"],
            "queue": "workq",
            "script": sys.stdin.read(),
            "variables": {
                "PBS_O_HOME": os.environ["HOME"],
                "PBS_O_PATH": os.environ["PATH"],
                "PBS_O_WORKDIR": os.getcwd(),
                **dict(each.partition("=")[::2] for each in given.get("-v", "").split(",")),
            },
            "cpus": int(re.findall(r"(?:ncpus|ppn)=(\d+)", limits.get("select", limits.get("nodes", "")))[0]),
            "walltime": int(limits.get("walltime", 0)),
            "resources": limits,
            "depend": depend,
            "most": int(most or more.get("max_run_subjobs", "0")) or len(tasks),
            "held": "-h" in given,
            "tasks": {str(task): {"state": QUEUED} for task in tasks},
        }
    sys.stdout.write(f"{id_}\n")


def _forgotten(found: Jobs, id_: str) -> bool:
    """Whether an id is of no job, or of one that has ended where no history is kept."""
    kept = os.environ.get("FAKE_PBS_HISTORY", "1") == "1"
    return id_ not in found or (not kept and all(each["state"] == ENDED for each in found[id_]["tasks"].values()))


def start(found: Jobs) -> None:
    """Start the elements that may run, and delete the jobs that never may."""
    for id_, job in found.items():
        queued = [task for task, element in job["tasks"].items() if element["state"] == QUEUED]
        may = [_satisfied(kind, found[other]) for kind, *ids in job["depend"] for other in ids]
        if queued and False in may:
            job["tasks"].update({task: {"state": ENDED, "code": None, "substate": 93} for task in queued})
        if job["held"] or not all(may):
            continue
        for task in queued:
            busy = [
                each["cpus"] for each in found.values() for one in each["tasks"].values() if one["state"] == RUNNING
            ]
            running = sum(element["state"] == RUNNING for element in job["tasks"].values())
            if running < job["most"] and sum(busy) + job["cpus"] <= SLOTS:
                job["tasks"][task] = {"state": RUNNING, "begun": time.time(), "pid": _run(id_, task)}


def _satisfied(kind: str, other: dict[str, Any]) -> bool | None:
    """Whether a dependency is satisfied; None if that is not known yet."""
    if kind == "never":
        return None
    elements = other["tasks"].values()
    if any(element["state"] != ENDED for element in elements):
        return None
    failed = any(element["code"] != 0 for element in elements)
    return {"afterok": not failed, "afternotok": failed}.get(kind, True)


def _run(id_: str, task: str) -> int:
    argv = [sys.executable, "-S", __file__, "run", id_, task]
    null = subprocess.DEVNULL
    return subprocess.Popen(argv, start_new_session=True, stdin=null, stdout=null, stderr=null, close_fds=True).pid


def run(words: list[str]) -> None:
    """Run an element, with the environment of a job and no other."""
    id_, task = words
    with jobs() as found:
        job = found[id_]
    home = Path(os.environ["FAKE_PBS_HOME"])
    script = home / f"{id_}.{task}.SC"
    script.write_text(job["script"])
    (home / f"{id_}.{task}.tmp").mkdir()
    index = {"PBS_ARRAYID" if TORQUE else "PBS_ARRAY_INDEX": task} if "[]" in id_ else {}
    env = {
        "HOME": os.environ["HOME"],
        "PATH": "/usr/bin:/bin",
        "PBS_JOBID": id_.replace("[]", f"[{task}]"),
        "PBS_JOBNAME": job["name"],
        "PBS_ENVIRONMENT": "PBS_BATCH",
        "TMPDIR": str(home / f"{id_}.{task}.tmp"),
        **job["variables"],
        **index,
    }
    child = subprocess.Popen(["/bin/bash", script], cwd=env["HOME"], env=env, start_new_session=True)
    ending: list[str] = []
    signal.signal(signal.SIGTERM, lambda *_: ending.append("deleted"))
    end, kill = time.monotonic() + (job["walltime"] or 1e9), 1e18
    while child.poll() is None:
        if not ending and time.monotonic() > end:
            ending.append("walltime")
        if ending and kill == 1e18:
            kill = time.monotonic() + KILL_DELAY
            _kill(child.pid, signal.SIGTERM)
        if time.monotonic() > kill:
            _kill(child.pid, signal.SIGKILL)
        time.sleep(0.02)
    _kill(child.pid, signal.SIGKILL)
    code = 256 - child.returncode if child.returncode < 0 else child.returncode
    code = -29 if "walltime" in ending and not TORQUE else code
    substate = 91 if "deleted" in ending else 93 if code else 92
    with jobs() as found:
        used = int(time.time() - found[id_]["tasks"][task]["begun"])
        found[id_]["tasks"][task] = {"state": ENDED, "code": code, "substate": substate, "used": used}


def _kill(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def qdel(ids: list[str]) -> None:
    """Delete jobs and elements."""
    status = 0
    with jobs() as found:
        for id_ in ids:
            job, tasks = _find(found, id_)
            running = [task for task in tasks if job["tasks"][task]["state"] == RUNNING]
            queued = [task for task in tasks if job["tasks"][task]["state"] == QUEUED]
            if not running and not queued:
                gone = f"Request invalid for state of job MSG=invalid state for job - COMPLETE {id_}"
                known = gone if TORQUE else f"Job has finished {id_}"
                sys.stderr.write(f"qdel: {known if tasks else f'Unknown Job Id {id_}'}\n")
                status = 170
            for task in running:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(job["tasks"][task]["pid"], signal.SIGTERM)
            job.get("tasks", {}).update({task: {"state": ENDED, "code": None, "substate": 91} for task in queued})
    raise SystemExit(status)


def qselect(words: list[str]) -> None:
    """Print the ids of jobs that have not ended."""
    assert words[0] == "-u"
    with jobs() as found:
        for id_, job in found.items():
            if any(element["state"] != ENDED for element in job["tasks"].values()):
                sys.stdout.write(f"{id_}\n")


def qstat(words: list[str]) -> None:
    """Print states, the version, or the server's attributes."""
    if words == ["--version"]:
        (sys.stderr if TORQUE else sys.stdout).write(f"{VERSION}\n")
        return
    flags, ids = getopt.getopt(words, "fBt" if TORQUE else "fBtxF:")
    names = [flag for flag, _ in flags]
    history = os.environ.get("FAKE_PBS_HISTORY", "1") == "1"
    if "-x" in names and not history:
        fail("qstat: PBS is not configured to maintain job history", 140)
    status, shown = 0, list[tuple[str, dict[str, Any]]]()
    with jobs() as found:
        if "-B" in names:
            memory = "keep_completed = 300" if TORQUE else f"job_history_enable = {history}"
            sys.stdout.write(f"Server: {SERVER}\n    server_state = Active\n    max_array_size = 1000\n    {memory}\n")
            return
        for id_ in ids:
            job, tasks = _find(found, id_)
            over = bool(job) and all(element["state"] == ENDED for element in job["tasks"].values())
            if not tasks or (over and not (history and (TORQUE or "-x" in names))):
                finished = f"{id_} Job has finished, use -x or -H to obtain historical job information"
                sys.stderr.write(f"qstat: {finished if over and history else f'Unknown Job Id {id_}'}\n")
                status = 153
                continue
            if "[]" in id_:
                shown.append((id_, _facts(job, {"state": "B"}) | {"array": "True"}))
            shown += [
                (id_.replace("[]", f"[{task}]"), _facts(job, job["tasks"][task], sub="[]" in id_)) for task in tasks
            ]
    (_text if TORQUE else _json)(shown)
    raise SystemExit(status)


def _find(found: Jobs, id_: str) -> tuple[dict[str, Any], list[str]]:
    """Return a job and those of its elements that an id names."""
    job = found.get(re.sub(r"\[\d+\]", "[]", id_), {})
    task = re.search(r"\[(\d+)\]", id_)
    return job, [number for number in job.get("tasks", {}) if not task or number == task[1]]


def _facts(job: dict[str, Any], element: dict[str, Any], *, sub: bool = False) -> dict[str, Any]:
    ended = element["state"] == ENDED
    state = ("C" if TORQUE else "X" if sub else "F") if ended else element["state"]
    held = state == QUEUED and (job["held"] or job["depend"])
    facts = {
        "Job_Name": job["name"],
        "job_state": "H" if held else state,
        "queue": job["queue"],
        "exec_host": "fakenode/0" if element["state"] == RUNNING or element.get("used") is not None else None,
        "Resource_List": job["resources"],
        "substate": element.get("substate", 10),
        "Variable_List": job["variables"],
        "depend": ",".join(":".join(term) for term in job["depend"]) or None,
        "exit_status" if TORQUE else "Exit_status": element.get("code") if ended else None,
        "resources_used": {"walltime": _clock(element["used"])} if element.get("used") is not None else None,
    }
    if job["walltime"]:
        facts["Resource_List"] = {**job["resources"], "walltime": _clock(job["walltime"])}
    return {name: value for name, value in facts.items() if value is not None}


def _clock(seconds: int) -> str:
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _json(shown: list[tuple[str, dict[str, Any]]]) -> None:
    head = {"timestamp": int(time.time()), "pbs_version": "22.05.11", "pbs_server": SERVER}
    sys.stdout.write(json.dumps(head | ({"Jobs": dict(shown)} if shown else {}), indent=4) + "\n")


def _text(shown: list[tuple[str, dict[str, Any]]]) -> None:
    for id_, facts in shown:
        sys.stdout.write(f"Job Id: {id_}\n")
        for name, value in facts.items():
            pairs = value if isinstance(value, dict) and name != "Variable_List" else {}
            joined = ",".join(f"{key}={text}" for key, text in value.items()) if name == "Variable_List" else value
            for key, text in (
                {f"{name}.{key}": text for key, text in pairs.items()}.items() if pairs else [(name, joined)]
            ):
                line = f"    {key} = {text}"
                parts = [line[:79], *(line[at : at + 71] for at in range(79, len(line), 71))]
                sys.stdout.write("\n\t".join(parts) + "\n")
        sys.stdout.write("\n")


if __name__ == "__main__":
    _, program, *arguments = sys.argv
    called: Callable[[list[str]], None] = globals()[program]
    called(arguments)
