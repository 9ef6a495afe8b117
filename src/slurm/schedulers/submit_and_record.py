"""The submit script: shell lines that queue the blocks of a submission and record their ids, in one command."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from slurm.protocol import Submitted
from slurm.protocol.shell import program
from slurm.schedulers.base import LAST_BLOCK, LAST_CLUSTER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.protocol import Block
    from slurm.schedulers.base import Request, Scheduler


def script(
    scheduler: Scheduler, record: str, requests: Sequence[Request], taken: Sequence[str], caretaker: Request | None
) -> str:
    """Lines that queue each block without an id in `taken`, print its id on a line of its own, and record all ids.

    The script stops at the first submit command that doesn't print exactly one id, and exits with its status; its
    output goes to standard error.
    """
    names = [f"slurmtasks_id{number}" for number in range(len(requests))]
    lines = [program(__name__, "queue.sh")]
    lines += [f"own_script {shlex.quote(request.script)}" for request in requests[:1]]
    form = shlex.quote(scheduler.id_form.replace("/", r"\/"))
    lines += [f"{name}={shlex.quote(id_)}" for name, id_ in zip(names, taken, strict=False)]
    lines += [f"slurmtasks_cluster={shlex.quote(scheduler.split_id(id_)[1])}" for id_ in taken[-1:]]
    before = dict(zip(names[1:], names, strict=False))
    for name, request in list(zip(names, requests, strict=True))[len(taken) :]:
        lines.append(f"queue {form} {_command(scheduler, request, before.get(name, ''))}; {name}=$slurmtasks_id")
        if caretaker is not None:
            lines.append(f"{_command(scheduler, caretaker, name)} > /dev/null < /dev/null")
    blocks = [request.block for request in requests]
    return "\n".join([*lines, recording(scheduler.name, record, blocks, [f'"${name}"' for name in names])])


def recording(scheduler: str, record: str, blocks: Sequence[Block], words: Sequence[str]) -> str:
    """A line that writes a record of blocks; `words` are the ids as shell words. Others may write it, too."""
    text = shlex.quote(submitted(scheduler, blocks, ["%s"] * len(words)).dumps().decode().strip())
    target = shlex.quote(record)
    new = f"{target}.{os.urandom(4).hex()}"
    return f"umask 077; printf {text} {' '.join(words)} > {new} && mv {new} {target}"


def submitted(scheduler: str, blocks: Sequence[Block], ids: Sequence[str]) -> Submitted:
    """The record of the first `len(ids)` blocks."""
    queued = [block.replace(id=id_) for id_, block in zip(ids, blocks, strict=False)]
    return Submitted(scheduler=scheduler, blocks=tuple(queued))


def _command(scheduler: Scheduler, request: Request, last: str) -> str:
    """The command that queues a block; `last` is the shell variable that holds the id of the previous block.

    `slurmtasks_cluster` holds the name of the cluster that took that block.
    """
    words = [shlex.quote(word) for word in scheduler.submit_command(request)]
    words = [f"${{slurmtasks_cluster:+{word}}}" if LAST_CLUSTER in word else word for word in words]
    text = " ".join(words).replace(LAST_BLOCK, f"${{{last}%%{scheduler.cluster_suffix}}}")
    return text.replace(LAST_CLUSTER, "$slurmtasks_cluster")
