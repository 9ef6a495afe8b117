"""How long importing takes, against bare Python."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from common import PASS, Row, in_turns, judged, process, ratio, ratio_words, unmeasured

if TYPE_CHECKING:
    from collections.abc import Iterator

    from common import Settings

BUDGET, NAMES_BUDGET, HELP_BUDGET = 2.5, 7.0, 6.0
OURS = "import slurm"
NAMES = "from slurm import Cluster, task"
HELP = "slurm --help"
SUBMITIT = "import submitit"
SDK, SDK_PASS = "slurm-sdk", "slurm-sdk's bare Python"


def rows(settings: Settings) -> Iterator[Row]:
    """The rows of this topic."""
    statements = [OURS, NAMES, *([SUBMITIT] if find_spec("submitit") else [])]
    subjects = {statement: process([*PASS[:-1], statement]) for statement in statements}
    subjects["pass"] = process(PASS)
    subjects[HELP] = process([*PASS[:-2], "-m", "slurm", "--help"])
    if settings.slurm_sdk_python:
        subjects[SDK] = process([settings.slurm_sdk_python, "-c", OURS])
        subjects[SDK_PASS] = process([settings.slurm_sdk_python, "-c", "pass"])
    times = in_turns(subjects, settings.rounds)
    kept = ratio(times, OURS, "pass") <= BUDGET
    yield judged(f"`{OURS}`", ratio_words(times, OURS, "pass"), budget=f"≤ {BUDGET} ×", kept=kept)
    for subject, budget in ((NAMES, NAMES_BUDGET), (HELP, HELP_BUDGET)):
        kept = ratio(times, subject, "pass") <= budget
        yield judged(f"`{subject}`", ratio_words(times, subject, "pass"), budget=f"≤ {budget:g} ×", kept=kept)
    if SUBMITIT in times:
        yield Row(f"`{SUBMITIT}`", ratio_words(times, SUBMITIT, "pass"))
    else:
        yield unmeasured(f"`{SUBMITIT}`", "submitit is not installed")
    if SDK in times:
        yield Row(f"`{OURS}` of slurm-sdk", ratio_words(times, SDK, SDK_PASS))
    else:
        yield unmeasured(f"`{OURS}` of slurm-sdk", "no `--slurm-sdk-python` given")
