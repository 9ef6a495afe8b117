"""What a record from a file means without a field: roots of earlier versions rely on these values.

If a field with a default is new, add its line to `tests/data/record-defaults.txt`. An existing line never changes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from slurm import protocol
from slurm.environments import building
from slurm.protocol import messages, outcomes, procedures, summary
from slurm.protocol.records import Record
from slurm.storage import reuse_records
from slurm.sweeps import records
from slurm.tracking import attempts, workflow_journal

if TYPE_CHECKING:
    from collections.abc import Iterator

KNOWN = Path(__file__).parents[1] / "data" / "record-defaults.txt"
MODULES = (
    protocol, building, messages, outcomes, procedures, summary, reuse_records, records, attempts, workflow_journal,
)  # fmt: skip


def defaults() -> Iterator[str]:
    """Yield each field that may be missing, and its value then."""
    for found in {each for module in MODULES for each in vars(module).values() if isinstance(each, type)}:
        for name in found._fields if issubclass(found, Record) else ():
            if hasattr(found, name) and name != "protocol":
                yield f"{found.__name__}.{name} = {getattr(found, name)!r}"


def test_a_field_that_is_missing_has_the_value_of_the_version_before_it() -> None:
    assert sorted(defaults()) == KNOWN.read_text().splitlines()
