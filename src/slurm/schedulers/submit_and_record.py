"""The submit script: shell lines that queue the blocks of a submission and record their ids, in one command.

It may queue several submissions of one block each, where later submissions name the ids of earlier ones: a chain of
links.
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, NamedTuple

from slurm.protocol import Submitted
from slurm.protocol.shell import program
from slurm.schedulers.base import LAST_BLOCK, LAST_CLUSTER, id_of_link

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.protocol import Block
    from slurm.schedulers.base import Request, Scheduler


class Link(NamedTuple):
    """A submission of one block in a chain, and the file for its record."""

    record: str
    key: str
    request: Request
    retry_job: Request | None


def script(
    scheduler: Scheduler, record: str, requests: Sequence[Request], queued: Sequence[str], retry_job: Request | None
) -> str:
    """Return lines that queue each block without an id in `queued`, print its id on a line, and record all ids.

    The script stops at the first submit command that does not print exactly one id. It then prints the output of that
    command as errors, and exits with the status of that command.
    """
    names = [f"slurmtasks_id{number}" for number in range(len(requests))]
    lines = [program(__name__, "queue.sh")]
    lines += [f"own_script {shlex.quote(request.script)}" for request in requests[:1]]
    form = shlex.quote(scheduler.id_form.replace("/", r"\/"))
    lines += [f"{name}={shlex.quote(id_)}" for name, id_ in zip(names, queued, strict=False)]
    lines += [f"slurmtasks_cluster={shlex.quote(scheduler.split_id(id_)[1])}" for id_ in queued[-1:]]
    before = dict(zip(names[1:], names, strict=False))
    for name, request in list(zip(names, requests, strict=True))[len(queued) :]:
        lines.append(f"queue {form} {_command(scheduler, request, before.get(name, ''))}; {name}=$slurmtasks_id")
        if retry_job is not None:
            lines.append(f"{_command(scheduler, retry_job, name)} > /dev/null < /dev/null")
    blocks = [request.block for request in requests]
    return "\n".join([*lines, recording(scheduler.name, record, blocks, [f'"${name}"' for name in names])])


def chain(scheduler: Scheduler, links: Sequence[Link]) -> str:
    """Return lines that queue submissions in order, and record the id of each just after. Stops as `script` does.

    A dependency on `id_of_link(n)` waits for the job of link n.
    """
    names = [f"slurmtasks_id{number}" for number in range(len(links))]
    lines = [program(__name__, "queue.sh")]
    form = shlex.quote(scheduler.id_form.replace("/", r"\/"))
    for name, (record, _, request, retry_job) in zip(names, links, strict=True):
        lines.append(f"own_script {shlex.quote(request.script)}")
        lines.append(f"queue {form} {_command(scheduler, request, '', names)}; {name}=$slurmtasks_id")
        if retry_job is not None:
            lines.append(f"{_command(scheduler, retry_job, name)} > /dev/null < /dev/null")
        lines.append(recording(scheduler.name, record, [request.block], [f'"${name}"']))
    return "\n".join(lines)


def recording(scheduler: str, record: str, blocks: Sequence[Block], ids: Sequence[str]) -> str:
    """Return a line that writes a record of blocks; `ids` are shell words. Safe if other processes write it, too."""
    text = shlex.quote(submitted(scheduler, blocks, ["%s"] * len(ids)).dumps().decode().strip())
    target = shlex.quote(record)
    new = f"{target}.{os.urandom(4).hex()}"
    return f"umask 077; printf {text} {' '.join(ids)} > {new} && mv {new} {target}"


def submitted(scheduler: str, blocks: Sequence[Block], ids: Sequence[str]) -> Submitted:
    """Return the record of the first `len(ids)` blocks."""
    queued = [block.replace(id=id_) for id_, block in zip(ids, blocks, strict=False)]
    return Submitted(scheduler=scheduler, blocks=tuple(queued))


def _command(scheduler: Scheduler, request: Request, last: str, links: Sequence[str] = ()) -> str:
    """Return the command that queues a block; `last` is the shell variable with the id of the previous block.

    `slurmtasks_cluster` contains the name of the cluster of that block. `links` are the variables of a chain.
    """
    words = [shlex.quote(word) for word in scheduler.submit_command(request)]
    words = [f"${{slurmtasks_cluster:+{word}}}" if LAST_CLUSTER in word else word for word in words]
    text = " ".join(words).replace(LAST_BLOCK, f"${{{last}%%{scheduler.cluster_suffix}}}")
    for number, name in enumerate(links):
        text = text.replace(id_of_link(number), f"${{{name}%%{scheduler.cluster_suffix}}}")
    return text.replace(LAST_CLUSTER, "$slurmtasks_cluster")
