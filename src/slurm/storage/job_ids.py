"""Job ids: find the submissions that the scheduler knows by an id, from the files that hold the ids."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from slurm.protocol import JOBS
from slurm.protocol.shell import program

if TYPE_CHECKING:
    from slurm.transports.base import Transport


def keys_with_id(transport: Transport, root: str, id_: str) -> list[str]:
    """Return the keys of submissions whose files may hold a job id, by one command.

    A file may contain the digits in another place, so the caller must check the records of each submission. Files that
    cannot be read are left out.
    """
    top = f"{root}/{JOBS}"
    done = transport.run(["sh", "-c", program(__name__, "job_ids.sh"), "sh", top, id_], timeout=300)
    found = (re.match(r"[^/]+/[^/]+(?=/)", line.removeprefix(f"{top}/")) for line in done.stdout.splitlines())
    return list(dict.fromkeys(match[0] for match in found if match))
