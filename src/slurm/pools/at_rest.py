"""At rest: the calls that wait in an open elastic pool without elements."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from slurm.errors import TransportError
from slurm.pools.relayed_files import files_of
from slurm.protocol.frames import BLOCK, Head
from slurm.protocol.pools import BLOCKS, client_key

if TYPE_CHECKING:
    from slurm.places.place import Place
    from slurm.submission.submission_state import SubmissionState


def at_rest(place: Place, state: SubmissionState) -> dict[str, float]:
    """Return facts about an elastic pool that has no elements until a client adds some; an empty dict for other jobs.

    Raises TransportError.
    """
    if not state.may_grow or state.unfinished:
        return {}
    files, waiting = files_of(place), 0
    for number in count():
        directory = place.store.directory(client_key(state.key, number))
        if not files.exist([directory])[0]:
            break
        try:
            heads = [Head(*fields) for fields, _ in files.heads(f"{directory}/{BLOCKS}", 0)]
            blocks = [head for head in heads if head.kind == BLOCK]
            claimed = files.claimants(directory, [head.number for head in blocks])
        except OSError as error:
            raise TransportError(f"the calls in {directory} cannot be read: {error}") from error
        waiting += sum(head.calls for head, name in zip(blocks, claimed, strict=True) if name is None)
    return {"workers": 0, "busy": 0, "waiting": waiting}
