"""Growth: adds elements to an elastic pool while its calls wait.

Elements are added as one more block of the pool's submission, which is queued as in `slurm.tracking.deferred`: the
client that first writes the claim `attempts/<first element>.0.next.json` queues the block. So two clients never add the
same elements, and each client knows all earlier elements before it adds more.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet, WeakValueDictionary

from slurm.errors import SlurmError, SubmissionError, SubmissionRefused
from slurm.options import Options
from slurm.pools.growth_rule import Demand, elements_to_add
from slurm.pools.relayed_files import files_of
from slurm.protocol import ATTEMPTS, SCRIPT, SUBMITTED, Block, Submitted
from slurm.protocol.pools import ENDED, INLINE, INLINE_BYTES, MOST
from slurm.protocol.states import JobState
from slurm.serialization.calls import packed, unpacked
from slurm.storage.grown_pools import grown_blocks
from slurm.storage.new_submission import NewSubmission
from slurm.submission.growing_state import GrowingState
from slurm.tracking import attempts
from slurm.tracking.attempts import Claim

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from slurm.jobs.plan import Draft
    from slurm.places.place import Place
    from slurm.protocol import Submission
    from slurm.submission.submission_state import SubmissionState

_log = logging.getLogger(__name__)

ELEMENTS = 10_000
"""The largest number of elements that a pool can have in its life, ended ones included."""
_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
_START_SECONDS, _LONGEST_START = 2.0, 30.0
"""Seconds that an element is assumed to take to start, until that is measured; and the largest value after that."""
_REFUSED_SECONDS, _LONGEST_REFUSED = 5.0, 60.0
"""The pause in seconds after a rejection by the scheduler. It doubles up to the second value."""
_TELL_SECONDS = 10.0
"""When elements have waited in the queue for this many seconds, the reason is logged."""
_SAMPLE = 256
"""The largest number of blocks for which one look checks whether they were claimed."""


class Waiting(Protocol):
    """The calls of a client in this process, as `Growth` needs them."""

    @property
    def follows(self) -> bool:
        """Whether any call has not ended."""

    def waiting(self, most: int) -> Sequence[float]:
        """The seconds that each unclaimed block among the last `most` has waited. Raises OSError and SlurmError."""

    def begun(self) -> Collection[int]:
        """The elements that are known to have begun."""

    def learn_elements(self) -> None:
        """Follow the elements that were added to the pool. Raises OSError and SlurmError."""


class Growth:
    """Adds elements to one pool for all clients in this process, if `active`: if the process has joined the pool."""

    def __init__(self, place: Place, state: GrowingState, submission: Submission) -> None:
        self._place, self._state, self._submission = place, state, submission
        pool = submission.pool or {}
        self._least, self._most, self._workers = int(pool["least"]), int(pool[MOST]), int(pool["workers"])
        self._files, self._directory = files_of(place), place.store.directory(state.key)
        self.active = False
        self.why_over = ""
        """The reason why the pool cannot grow any more; empty if it can."""
        self._why_refused = self._why_queued = ""
        self._clients: WeakSet[Waiting] = WeakSet()
        self._lock, self._changed = threading.RLock(), threading.Condition()
        self._thread: threading.Thread | None = None
        self._grown_at, self._start, self._again_at, self._pause = -_LONGEST_START, _START_SECONDS, 0.0, 0.0
        self._first_of_last = 0
        self._told: set[str] = set()

    def add_client(self, calls: Waiting) -> None:
        """Let a client follow the elements of the pool, now and when more are added. Raises OSError and SlurmError."""
        with self._lock:
            self._clients.add(calls)
            calls.learn_elements()

    def follow(self) -> None:
        """Start the thread that adds elements, unless it runs. It runs until all calls of all clients have ended."""
        with self._changed:
            if not self._state.unfinished:  # if there are elements, the next look of the thread is early enough
                self._changed.notify_all()
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="slurm-pool-growth", daemon=True)
                self._thread.start()

    def look(self) -> Claim | None:
        """Read which elements other clients have added; return the claim of a client that adds elements now, or None.

        Raises SlurmError.
        """
        with self._lock:
            store, key = self._place.store, self._state.key
            names = store.attempts(key)
            if ENDED in names:
                self.why_over = "the pool was cancelled or closed"
            self._state.queued(grown_blocks(store, key, names))
            self._tell_clients()
            which = self._state.elements, 0
            return attempts.AttemptRecords(store, key, [which[0]]).claims.get(which) if self._claim in names else None

    def _tell_clients(self) -> None:
        for calls in list(self._clients):
            calls.learn_elements()

    def tick(self) -> None:
        """Add elements if calls have waited too long. Raises OSError and SlurmError."""
        with self._lock:
            self._tell_clients()  # the tracker may also have found new elements
            next_claim, ended = (f"{self._directory}/{ATTEMPTS}/{name}" for name in (self._claim, ENDED))
            claim = self.look() if any(self._files.exist([next_claim, ended])) else None
            if not self.active or self.why_over or time.monotonic() < self._again_at:
                return
            if claim is not None:
                if self._state.seconds_claimed(claim.group) > self._place.timings.abandoned_claim:
                    self._queue(claim, own=False)
                return
            demand = self._demand()
            self._tell_why_queued(demand)
            if count := elements_to_add(demand):
                self.add(count)

    def grow_for_the_rest(self) -> None:
        """Add elements if calls wait and no element is left: later, there may be no client to do it. Raises nothing."""
        try:
            if not self._state.unfinished:
                self.tick()
        except (OSError, SlurmError) as error:
            self._tell(f"calls wait, and no element could be added for them: {error}")

    def add(self, count: int) -> None:
        """Queue `count` elements now, or as many as the pool has room for. Raises SlurmError."""
        queue, first = self._place.queue, self._state.elements
        options = Options.parse(self._submission.options)
        room = queue.client.room(options)
        count = min(count, max(1, queue.max_array_size), ELEMENTS - first, *(() if room is None else (max(1, room),)))
        if count < 1:
            self.why_over = f"the pool has had {ELEMENTS} elements, the largest number that is possible"
            return
        claim = Claim(
            group=attempts.new_group(first, 0),
            options=self._submission.options,
            retries=0,
            reason="calls wait",
            count=count,
        )
        if attempts.write_claims(self._place.store, self._state.key, {(first, 0): claim}):
            self._queue(claim, own=True)

    def _queue(self, claim: Claim, *, own: bool) -> None:
        """Queue the elements of a claim. If there is no room, or the scheduler rejects them, any client may try again.

        Raises SubmissionRefused if they are rejected, and OSError and SlurmError.
        """
        place, state, first = self._place, self._state, self._state.elements
        array = None if place.queue.has_arrays else False
        block = Block(first=first, count=claim.count, name=claim.group, array=array, origin=place.queue.origin)
        self._files.add_outboxes(self._directory, block.elements, None)
        client = place.queue.client
        request = place.requests.block(self._submission, block, Options.parse(self._submission.options), ())
        client.full = ""
        try:
            queued = attempts.submit_claimed(
                place.store,
                state.key,
                claim.group,
                [(first, 0)],
                submit=client.submit_now if own else client.submit_once,
                request=request,
                retry_job=None,
            )
        except SubmissionRefused as error:
            self._refused(claim.count, str(error))
            if not self._state.unfinished:
                self.why_over = str(error)
            raise
        if not queued:
            self._refused(claim.count, client.full or "the queue has no room")
            if claim.count > 1:
                self.add(claim.count // 2)
            return
        self._pause, self._why_refused, self._grown_at, self._first_of_last = 0.0, "", time.monotonic(), first
        state.queued(queued)
        self._tell_clients()

    def _refused(self, count: int, why: str) -> None:
        self._pause = min(max(_REFUSED_SECONDS, 2 * self._pause), _LONGEST_REFUSED)
        self._again_at = time.monotonic() + self._pause
        words = "; ".join(why.strip().splitlines())
        self._why_refused = f"{count} more element{'s' * (count != 1)} of the pool cannot be queued: {words}"
        self._tell(self._why_refused)

    @property
    def why_not(self) -> str:
        """The reason why the pool does not have more elements now; empty if no element is missing."""
        return self._why_refused or self._why_queued

    def _tell(self, why: str, *, trace: bool = False) -> None:
        if why not in self._told:
            self._told.add(why)
            _log.warning("%s: %s", self._state.key, why, exc_info=trace)

    def _tell_why_queued(self, demand: Demand) -> None:
        """Log the scheduler's reason, if elements wait in the queue for a long time."""
        if not demand.queued:
            self._why_queued = ""
        elif demand.since > _TELL_SECONDS:
            reports = (self._state.report(element) for element in self._state.open)
            waiting = (report for report in reports if report and report.state is JobState.PENDING)
            reason = next((each.explanation or each.reason for each in waiting if each.reason), "")
            self._why_queued = f"{demand.queued} of its elements wait in the queue" + (f": {reason}" if reason else "")
            self._tell(self._why_queued)

    @property
    def _claim(self) -> str:
        """The file name of the claim for the next elements."""
        return attempts.claim_name(self._state.elements, 0)

    def _demand(self) -> Demand:
        clients = list(self._clients)
        left, begun = set(self._state.open), set[int]().union(*(calls.begun() for calls in clients))
        now = time.monotonic()
        if self._first_of_last in begun:
            self._start, self._first_of_last = min(max(0.5, now - self._grown_at), _LONGEST_START), -1
        most = min(_SAMPLE, 2 * self._most * self._workers)
        waiting = [each for calls in clients for each in calls.waiting(most)]
        return Demand(
            least=self._least,
            most=self._most,
            workers=self._workers,
            begun=len(left & begun),
            queued=len(left - begun),
            waiting=len(waiting),
            longest=max(waiting, default=0.0),
            start=self._start,
            since=now - self._grown_at,
        )

    def _run(self) -> None:
        pause = _PAUSE
        while True:
            with self._changed:
                if not any(calls.follows for calls in list(self._clients)):
                    self._thread = None
                    return
            begin, before = time.monotonic(), self._state.elements
            try:
                self.tick()
            except SubmissionError:
                pass  # _refused has logged it
            except (OSError, SlurmError) as error:
                self._tell(f"cannot check whether the pool needs more elements, trying again: {error}")
            except Exception as error:  # noqa: BLE001 - without this loop, calls wait forever
                self._tell(f"cannot grow, trying again: {type(error).__name__}: {error}", trace=True)
            took = time.monotonic() - begin
            pause = _PAUSE if self._state.elements > before else min(1.5 * pause, max(_LONGEST_PAUSE / 4, 5 * took))
            with self._changed:
                self._changed.wait(max(pause, took))


def create_elastic(
    place: Place, draft: Draft, *, least: int, most: int, workers: int
) -> tuple[Submission, SubmissionState]:
    """Write the submission of an elastic pool, and queue its `least` elements. Raises the errors of `submit_draft`.

    All elements get the arguments of the only call of the draft.
    """
    pool = {"workers": workers, "least": least, MOST: most, INLINE: INLINE_BYTES}
    submission = draft.submission.replace(count=0, pool=pool)
    head, call, end = unpacked(draft.calls.offsets)
    calls = draft.calls._replace(offsets=packed([head, *[call] * ELEMENTS, end]))
    place.blobs.send(draft.uploads)
    submitted = Submitted(scheduler=place.scheduler.name, blocks=())
    scripts = {
        SCRIPT: place.requests.script(submission.replace(count=1), draft.options),
        SUBMITTED: submitted.dumps().decode(),
    }
    place.create(NewSubmission(submission, calls, scripts))
    state = place.registry.add(submission, submitted)
    state.queued_here = ("",)
    growth = growth_of(place, state)
    if least and growth is not None:
        growth.add(least)
    return submission, state


_known: WeakValueDictionary[tuple[int, str], Growth] = WeakValueDictionary()
_known_lock = threading.Lock()


def growth_of(place: Place, state: SubmissionState) -> Growth | None:
    """Return the only `Growth` of a pool in this process; None if the pool is not elastic. Raises SlurmError."""
    if not isinstance(state, GrowingState):
        return None
    with _known_lock:
        found = _known.get((id(place), state.key))
        if found is None:
            found = Growth(place, state, place.store.records(state.key).submission)
            _known[id(place), state.key] = found
        return found
