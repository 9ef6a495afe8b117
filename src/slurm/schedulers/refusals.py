"""Refusals: decide from the output of a failed sbatch whether the job was refused or may be queued.

After sbatch has contacted the controller, it prints "Batch job submission failed: " and an error text. The tables here
contain a text only if the controller sends it as its answer, or if sbatch prints it before it contacts the controller:
then nothing is queued. After communication errors (a message that could not be sent, received or authenticated, or an
unexpected answer) the job may be queued, so these are in no table.
Source: slurm_strerror and the options of sbatch in Slurm 20.11, 22.05, 24.11 and 26.05.
"""

from __future__ import annotations

import re

from slurm.schedulers.base import Failure

_FAILED = re.compile(r"Batch job submission failed: (.*)")
_ERROR = re.compile(r"(?:\S*sbatch: )?(?:error|fatal): (.*)")

_FULL = re.compile(r"\b(Assoc|QOS)\w*SubmitJobs?\w*Limit\b")
"""The reasons of squeue(1) for MaxSubmitJobs and GrpSubmitJobs, of an association or a QOS (sacctmgr(1))."""

_LATER = frozenset({
    "Unable to contact slurm controller (connect failure)",
    "Unable to connect to database",
    "Unable to create job record, try again",
    "MaxJobCount limit reached",
    "Resource temporarily unavailable",
    "Rate limit exceeded, please retry momentarily",
    "Rate limit exceeded, please retry later",
    "Slurm backup controller in standby mode",
    "Controller is in standby mode, try a different controller",
})  # fmt: skip

_UNEXPLAINED = frozenset({"Unspecified error", "Slurm internal error, contact system administrator"})
"""The controller's answers if a submit plugin of the site rejects a job without a reason."""

_REFUSED = frozenset({
    "Access denied to requested reservation",
    "Access/permission denied",
    "Burst Buffer permission denied",
    "Burst Buffer request invalid",
    "Burst Buffer resource limit exceeded",
    "CPU count specification invalid",
    "Cannot request more threads per core than the job allocation",
    "Circular job dependency",
    "Current SwitchType does not permit arbitrary task distribution",
    "Duplicate generic resource (gres) specification",
    "Duplicate job id",
    "Environment is missing in job",
    "I/O error writing script/environment to file",
    "Immediate execution impossible, insufficient priority",
    "Immediate execution impossible, resources too fragmented for allocation",
    "Immediate execution impossible. Individual job submission scheduling attempts deferred",
    "Insufficient GRES available in allocation",
    "Invalid --nice value",
    "Invalid GRES specification (with and without type identification)",
    "Invalid QOS specification, relative QOS can only be used in a single partition per cluster.",
    "Invalid Trackable RESource (TRES) specification",
    "Invalid account or account/partition combination specified",
    "Invalid cluster feature specification",
    "Invalid cluster name",
    "Invalid container id specified",
    "Invalid extra constraints specification",
    "Invalid feature specification",
    "Invalid generic resource (gres) specification",
    "Invalid group ID",
    "Invalid group id",
    "Invalid job array specification",
    "Invalid license specification",
    "Invalid mcs_label specified",
    "Invalid node name specified",
    "Invalid or unknown association",
    "Invalid partition name specified",
    "Invalid preferred feature specification",
    "Invalid qos specification",
    "Invalid time specified",
    "Invalid time-min specification (exceeds job's time or other limits)",
    "Invalid user ID",
    "Invalid user id",
    "Invalid wckey specification",
    "Job --batch option is invalid or not a subset of --constraint",
    "Job --batch option is invalid or not a subset of --constraints",
    "Job can not start due to maintenance reservation.",
    "Job can not start immediately",
    "Job cannot be submitted without the current working directory specified.",
    "Job dependency problem",
    "Job not heterogeneous job",
    "Job script not specified",
    "Job size specification needs to be provided",
    "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
    "Memory required by task is not available",
    "More processors requested than permitted",
    "Multiple KNL NUMA and/or MCDRAM constraints require use of a heterogeneous job",
    "Multiple partition job request not supported when a partition is set in the association",
    "No eligible clusters for federated job",
    "No partition specified or system default partition",
    "Node count specification invalid",
    "Only batch jobs are accepted or processed",
    "Partition in DOWN state",
    "Pathname of a file, directory or other parameter too long",
    "Requested GRES option unsupported by configured SelectType plugin",
    "Requested account has breached requested QOS usage threshold",
    "Requested more tasks than available processors",
    "Requested node configuration is not available",
    "Requested nodes are busy",
    "Requested nodes not in this partition",
    "Requested operation is presently disabled",
    "Requested operation not supported on this system",
    "Requested partition configuration not available now",
    "Requested reservation is in use",
    "Requested reservation is invalid",
    "Requested reservation not usable now",
    "Requested time limit is invalid (missing or exceeds some limit)",
    "Requested topology configuration is not available",
    "Required node not available (down, drained or reserved)",
    "Required partition not available (inactive or drain)",
    "Requires more ports than can be reserved",
    "Rejecting authentication of user nobody or group nobody",
    "RestrictedCoresPerGPU: Missing core topology for GPUs",
    "RestrictedCoresPerGPU: No GPUs configured on node",
    "RestrictedCoresPerGPU: Not enough unique cores per GPU",
    "System submissions disabled",
    "Task count specification invalid",
    "Task distribution specification invalid",
    "Unable to resolve group ID to group name",
    "Unable to resolve user ID to user name",
    "User's group not permitted to use this partition",
    "X11 forwarding not available",
})  # fmt: skip

_NOT_SENT = re.compile(
    r"""^(?:\S*sbatch:\ )?(?:error:\ |fatal:\ )?(?:
        unrecognized\ option\ | invalid\ option\ -- | option\ .*(?:requires|doesn't\ allow)\ an\ argument
        | option\ .*\ is\ ambiguous
        | unrecognized\ --[\w-]+\ argument\b
        | invalid\ --?[\w-]+.*\ (?:specification|argument|option|file|combo)\b | invalid\ --?[\w-]+\ value\b
        | invalid\ numeric\ value\ ".*"\ for\ - | invalid\ number\ of\ | ".*"\ is\ not\ a\ valid\ node\ count
        | invalid\ TRES\ for\ - | invalid\ directive\ found\ in\ batch\ script
        | --.*\ mutually\ exclusive\b | cannot\ specify\ both\ --
        | unable\ to\ open\ file\ | cannot\ stat\ \S*/
        | this\ does\ not\ look\ like\ a\ batch\ script | batch\ script\ (?:is\ empty|contains)\b
        | the\ slurm\ controller\ does\ not\ allow\ scripts\ that | script\ arguments\ not\ permitted\ with
        | cli_filter\ plugin\ terminated\ with\ error
        | '.*'\ can't\ be\ reached\ now,\ or\ it\ is\ an\ invalid\ entry\ for\ | can't\ run\ on\ any\ of\ the\ specified
    )""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
"""Messages of sbatch about its arguments and the script, printed before it contacts the controller."""

_NO_CONFIGURATION, _CONTROLLER_DOWN = "Could not establish a configuration source", "failed to fetch remote configs"
"""Without a slurm.conf, sbatch gets one from the controller that SLURM_CONF_SERVER or DNS names, before all else."""

_MEANINGS = {
    **dict.fromkeys(_REFUSED, Failure.REFUSED),
    **dict.fromkeys(_LATER, Failure.LATER),
    **dict.fromkeys(_UNEXPLAINED, Failure.UNEXPLAINED),
}


def parse_failure(message: str) -> Failure:
    """Classify the output of a failed sbatch by its last line about the submission."""
    if _FULL.search(message):
        return Failure.FULL
    if _NO_CONFIGURATION in message:
        return Failure.LATER if _CONTROLLER_DOWN in message else Failure.REFUSED
    lines = [line.strip() for line in reversed(message.splitlines())]
    if answers := [found[1] for found in map(_FAILED.search, lines) if found]:
        return _MEANINGS.get(answers[0], Failure.UNKNOWN)
    errors = [_MEANINGS[found[1]] for found in map(_ERROR.fullmatch, lines) if found and found[1] in _MEANINGS]
    if errors:
        return errors[0]
    return Failure.REFUSED if _NOT_SENT.search(message) else Failure.UNKNOWN
