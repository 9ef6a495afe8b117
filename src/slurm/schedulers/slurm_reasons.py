"""Slurm's reasons why a job waits, in words. The codes are those of https://slurm.schedmd.com/job_reason_codes.html."""

from __future__ import annotations

import re
from typing import NamedTuple


class Reason(NamedTuple):
    """A reason in words. `stuck` says that the job cannot start as it was submitted."""

    words: str
    stuck: bool = False


_REASONS = {
    "Resources": Reason("it waits for free resources"),
    "Priority": Reason("jobs of higher priority are in front of it"),
    "Dependency": Reason("it waits for other jobs"),
    "JobArrayTaskLimit": Reason("as many calls of its map run as max_concurrent allows"),
    "BeginTime": Reason("it waits for its earliest start; after a requeue, Slurm delays a job for some minutes"),
    "SchedDefer": Reason("the scheduler has not looked at it yet"),
    "None": Reason("the scheduler has not looked at it yet"),
    "Cleaning": Reason("its previous attempt is still ending on a node"),
    "Licenses": Reason("it waits for a licence"),
    "Prolog": Reason("the site's prolog is running on its nodes"),
    "Reservation": Reason("it waits for its reservation to begin"),
    "BurstBufferResources": Reason("it waits for room in the burst buffer"),
    "BurstBufferStageIn": Reason("its files are being copied to the burst buffer"),
    "NodeDown": Reason("a node that it needs is down"),
    "ReqNodeNotAvail": Reason("a node that it needs is down, drained or reserved, for example for maintenance"),
    "Nodes_required_for_job_are_DOWN": Reason(
        "nodes that it needs are down, drained, or reserved for jobs of other partitions"
    ),
    "PartitionDown": Reason("its partition accepts jobs, but an administrator has stopped it from starting them"),
    "PartitionInactive": Reason("its partition is inactive", stuck=True),
    "PartitionTimeLimit": Reason("it asks for more time than its partition allows: change time= or partition=", True),
    "PartitionNodeLimit": Reason(
        "it asks for more nodes than its partition has or allows: change nodes=, ntasks= or partition=", True
    ),
    "PartitionConfig": Reason("no node of its partition has what it asks for: change the options or partition=", True),
    "BadConstraints": Reason("no node has what it asks for: change constraint=, mem=, cpus_per_task= or gres=", True),
    "InvalidAccount": Reason("its account does not exist: change account=", True),
    "InvalidQOS": Reason("its QOS does not exist: change qos=", True),
    "AccountNotAllowed": Reason("its partition does not allow its account: change account= or partition=", True),
    "QOSNotAllowed": Reason("its account or partition does not allow its QOS: change qos=", True),
    "DeadLine": Reason("it cannot end before its deadline: change deadline= or time=", True),
    "ReservationDeleted": Reason("its reservation was deleted: change reservation=", True),
    "JobHeldUser": Reason("it is held: `scontrol release` with its id lets it start"),
    "JobHeldAdmin": Reason("an administrator holds it: ask them", True),
    "JobHoldMaxRequeue": Reason("it is held because it was requeued too often", True),
    "launch failed requeued held": Reason("it is held because a node could not start it: see its log", True),
    "SystemFailure": Reason("Slurm, its file system or its network has failed"),
}

_LIMIT = re.compile(r"(?:QOS|Assoc)(?P<kind>Grp|Max|Min|Resource|Time|Usage)\w*|Max\w+Per(?:Account|User|Job|Node)")


def reason_of(text: str) -> Reason | None:
    """Return a reason of squeue in words, or None for one that this module does not know."""
    code = text.strip("()").partition(",")[0]
    limit = _LIMIT.fullmatch(code)
    if limit is None:
        return _REASONS.get(code)
    whose = "its account or user" if code.startswith("Assoc") else "its QOS"
    if "PerJob" in code or "PerNode" in code or limit["kind"] in {"Min", "Time"}:
        return Reason(f"{whose} does not allow one job what it asks for: change its options", stuck=True)
    return Reason(f"a limit of {whose} is reached: it waits for other jobs to end")
