"""Queueing: the shell lines that queue the blocks of a submission where the scheduler is, and write down their ids."""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING

from slurm.protocol import Submitted
from slurm.schedulers.base import LAST_BLOCK, LAST_CLUSTER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.protocol import Block
    from slurm.schedulers.base import Request, Scheduler

_QUEUE = r"""
slurmtasks_newline='
'
queue() {
    slurmtasks_output=$("$@" < /dev/null); slurmtasks_status=$?
    slurmtasks_id=$(printf '%s\n' "$slurmtasks_output" |
        LC_ALL=C sed -n -E 's/^[[:space:]]*(FORM)[[:space:]]*$/\1/p')
    if [ "$slurmtasks_status" -eq 0 ] && [ -n "$slurmtasks_id" ] &&
        [ "$slurmtasks_id" = "${slurmtasks_id%%"$slurmtasks_newline"*}" ]
    then
        printf '%s\n' "$slurmtasks_id"
        case $slurmtasks_id in
            *";"*) slurmtasks_cluster=${slurmtasks_id#*;} ;;
            *) slurmtasks_cluster= ;;
        esac
    else
        printf '%s\n' "$slurmtasks_output" >&2
        exit "$slurmtasks_status"
    fi
}"""
"""A submit command that prints no id, more than one, or one and fails, leaves open what it has queued.

The user may have exported variables of any other name, and jobs get them."""


def script(
    scheduler: Scheduler, record: str, requests: Sequence[Request], taken: Sequence[str], caretaker: Request | None
) -> str:
    """Lines that queue each block not taken yet, print its id on a line of its own, and record all ids.

    They end at the first submit command that doesn't print one id, with its exit status and all its output as errors.
    """
    names = [f"slurmtasks_id{number}" for number in range(len(requests))]
    lines = [_own(shlex.quote(request.script)) for request in requests[:1]]
    lines.append(_QUEUE.replace("FORM", scheduler.id_form.replace("/", r"\/")))
    lines += [f"{name}={shlex.quote(id_)}" for name, id_ in zip(names, taken, strict=False)]
    lines += [f"slurmtasks_cluster={shlex.quote(id_.partition(';')[2])}" for id_ in taken[-1:]]
    before = dict(zip(names[1:], names, strict=False))
    for name, request in list(zip(names, requests, strict=True))[len(taken) :]:
        lines.append(f"queue {_command(scheduler, request, before.get(name, ''))}; {name}=$slurmtasks_id")
        if caretaker is not None:
            lines.append(f"{_command(scheduler, caretaker, name)} > /dev/null < /dev/null")
    blocks = [request.block for request in requests]
    return "\n".join([*lines, recording(scheduler.name, record, blocks, [f'"${name}"' for name in names])])


def _own(script: str) -> str:
    """Refuse a script of another user's. One that is missing is left to the scheduler, which says so."""
    words = f'{script}" is not yours, so it is not queued"'
    return f'[ ! -e {script} ] || [ -O {script} ] || {{ printf "%s\\n" {words} >&2; exit 1; }}'


def ids(scheduler: Scheduler, output: str) -> list[str]:
    """The lines of some output that are ids; words around them are none."""
    return [line for line in map(str.strip, output.splitlines()) if re.fullmatch(scheduler.id_form, line)]


def recording(scheduler: str, record: str, blocks: Sequence[Block], words: Sequence[str]) -> str:
    """A line that writes a record of blocks, with ids that are words of the shell. Others may write it as well."""
    text = shlex.quote(submitted(scheduler, blocks, ["%s"] * len(words)).dumps().decode().strip())
    target = shlex.quote(record)
    new = f"{target}.{os.urandom(4).hex()}"
    return f"umask 077; printf {text} {' '.join(words)} > {new} && mv {new} {target}"


def submitted(scheduler: str, blocks: Sequence[Block], ids: Sequence[str]) -> Submitted:
    """The record of the first blocks, as many as there are ids."""
    queued = [block.replace(id=id_) for id_, block in zip(ids, blocks, strict=False)]
    return Submitted(scheduler=scheduler, blocks=tuple(queued))


def _command(scheduler: Scheduler, request: Request, last: str) -> str:
    """The command that queues a block; `last` is the shell's variable with the id of the one queued before.

    `slurmtasks_cluster` has the name of the cluster that took it.
    """
    words = shlex.join(scheduler.submit(request)).split(" ")
    words = [f"${{slurmtasks_cluster:+{word}}}" if LAST_CLUSTER in word else word for word in words]
    return " ".join(words).replace(LAST_BLOCK, f"${{{last}%%;*}}").replace(LAST_CLUSTER, "$slurmtasks_cluster")
