"""JobsOverview: the submissions of a place, newest first, as the page shows them.

Each process reads a submission that has ended only once, and keeps it in memory. A look lists all submissions, and the
outcomes of those that have not ended. It reads a file only for a new submission or outcome. Queries to the scheduler
are separate.
"""

from __future__ import annotations

import threading
import time
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from slurm.errors import NoSuchJob, SlurmError
from slurm.jobs.find import newest_first
from slurm.sanitize.redaction import redacted
from slurm.server.counting import Counting
from slurm.storage.job_store import Outcomes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from slurm.places.place import Place
    from slurm.submission.submission_state import SubmissionState

_MOST_READ = 2000
"""The largest number of outcomes that are read at once."""
_MOST_NEW = 100
"""The largest number of new submissions that a look reads; the page asks for older ones."""
_TRIES = 10
"""The number of looks that try to read a new submission: its directory is made before its record is written."""
_FRESH = 1.0
"""While outcomes of a listing are left to read, the listing is used for this many seconds."""
_NOTHING = Outcomes({}, {})


class JobsOverview:
    """The submissions of a place; with `everywhere`, to any scheduler under its root. Any thread may use it."""

    def __init__(self, place: Place, *, everywhere: bool) -> None:
        self.place, self.everywhere = place, everywhere
        self.troubles: dict[str, str] = {}
        """What does not answer, and why."""
        self._keys: list[str] = []
        self._new: list[str] = []
        """The submissions that no look has read yet, newest first."""
        self._tries: dict[str, int] = {}
        """The number of further looks that try to read a submission that had no record."""
        self._known: dict[str, Counting] = {}
        self._facts: dict[str, dict[str, Any]] = {}
        self._more, self._looked_at = False, -_FRESH
        self._changes = 0
        self._changed_at: dict[str, int] = {}
        """The number of the last change of each submission, also of submissions that are gone."""
        self._files = threading.Lock()
        """Held while files are read, so that each is read once. Queries to the scheduler do not hold this lock."""

    def page(self, limit: int, before: str | None = None) -> dict[str, Any]:
        """The facts about `limit` submissions, newest first. With the key `before`, only about older submissions.

        Raises NoSuchJob if `before` does not exist.
        """
        with self._files:
            self._list_keys()
            if before is not None and before not in self._keys:
                raise NoSuchJob(f"there is no job {before} in {self.place.store.root}")
            start = 0 if before is None else self._keys.index(before) + 1
            keys = self._keys[start : start + limit]
            self._read_records(keys)
            self._read_outcomes(keys)
            return {
                "cluster": str(self.place.url),
                "jobs": [self._new_facts(key) for key in keys if key in self._known],
                "total": len(self._keys),
                "before": keys[-1] if start + limit < len(self._keys) else None,
                "troubles": dict(self.troubles),
            }

    @property
    def changes(self) -> int:
        """The number of changes so far."""
        return self._changes

    def look(self) -> bool:
        """Look for changes; returns whether outcomes are left to read. Adds an error to `troubles`."""
        more: list[bool] = []
        with self._files:
            self._try(f"files of {self.place.url}", lambda: more.append(self._look()))
            self._note_changes()
        return any(more)

    def _look(self) -> bool:
        listed = time.monotonic() - self._looked_at > _FRESH or not self._more
        if listed:
            self._looked_at = time.monotonic()
            self._list_keys()
            new = self._new[:_MOST_NEW]
            self._read_records(new)
            self._new = [key for key in new if self._may_be_written_yet(key)]
        self._more = self._read_outcomes(list(self._known), listed=listed)
        return self._more

    def _may_be_written_yet(self, key: str) -> bool:
        left = self._tries.pop(key, _TRIES) - 1
        if key in self._known or not left:
            return False
        self._tries[key] = left
        return True

    def changed(self, since: int) -> tuple[list[dict[str, Any]], list[str]]:
        """The facts about submissions that have changed since the change `since`, and the keys that are gone."""
        keys = [key for key, number in list(self._changed_at.items()) if number > since]
        facts = {key: self._facts.get(key) for key in keys}
        return [found for found in facts.values() if found], [key for key, found in facts.items() if not found]

    def ask(self) -> bool:
        """Ask the schedulers about the submissions that have not ended; returns False. Adds an error to `troubles`."""
        by_place: dict[Place, list[SubmissionState]] = {}
        for counting in list(self._known.values()):
            if not counting.complete:
                by_place.setdefault(counting.job.part.place, []).append(counting.job.part.state)
        for place, states in by_place.items():
            self._try(f"{place.url}", partial(place.tracker.check, states))
        with self._files:
            self._note_changes()
        return False

    def counting(self, key: str) -> Counting:
        """The counts of a submission, up to date with its files. Raises NoSuchJob."""
        with self._files:
            self._read_records([key])
            if key not in self._known:
                raise NoSuchJob(f"there is no job {key} in {self.place.store.root}")
            self._read_outcomes([key])
            return self._known[key]

    def _list_keys(self) -> None:
        """List the submissions. Note those that are new since the last time, and forget those that are gone."""
        before, self._keys = set(self._keys), self.place.store.keys()
        self._new = [key for key in self._keys if key not in before] + self._new
        for key in self._known.keys() - set(self._keys):
            del self._known[key]
            self._facts.pop(key, None)
            self._note_change(key)

    def _read_records(self, keys: Sequence[str]) -> None:
        """Read the records of submissions that this process does not know yet."""
        new = [key for key in keys if key not in self._known]
        for some in newest_first(self.place, new, at_once=len(new), labels={}, everywhere=self.everywhere):
            for job in some:
                self._known[job.part.state.key] = Counting(job)

    def _read_outcomes(self, keys: Iterable[str], *, listed: bool = True) -> bool:
        """List the outcomes of submissions that have not ended, and read new ones; returns whether some are left.

        If not `listed`, use the last listing: to list 100 000 outcomes takes as long as to read 2 000.
        """
        by_place: dict[Place, list[Counting]] = {}
        for key in keys:
            if (counting := self._known.get(key)) and not counting.complete:
                by_place.setdefault(counting.job.part.place, []).append(counting)
        for place, some in by_place.items() if listed else ():
            place.tracker.list_outcomes(counting.job.part.state for counting in some)
        left = [self._read_at(place, some) for place, some in by_place.items()]
        return any(left)

    def _read_at(self, place: Place, some: Sequence[Counting]) -> bool:
        pairs = ((counting, element) for counting in some for element in counting.unread())
        wanted: dict[Counting, list[int]] = {}
        for counting, element in islice(pairs, _MOST_READ):
            wanted.setdefault(counting, []).append(element)
        states = {counting: counting.job.part.state for counting in wanted}
        paths = {states[counting].key: states[counting].with_outcomes(few) for counting, few in wanted.items()}
        found = place.outcomes.several_outcomes(paths) if any(paths.values()) else {}
        for counting, elements in wanted.items():
            counting.add(elements, found.get(states[counting].key, _NOTHING))
        return next(pairs, None) is not None

    def _new_facts(self, key: str) -> dict[str, Any]:
        """The facts about a submission now. They do not change any more when the submission has ended."""
        known = self._facts.get(key)
        if known is None or not known["ended"]:
            self._facts[key] = self._known[key].facts()
            if self._facts[key] != known:
                self._note_change(key)
        return self._facts[key]

    def _note_change(self, key: str) -> None:
        self._changes += 1
        self._changed_at[key] = self._changes

    def _note_changes(self) -> None:
        for key in self._known:
            self._new_facts(key)

    def _try(self, what: str, call: Callable[[], object]) -> None:
        try:
            call()
        except SlurmError as error:
            self.troubles[what] = redacted(str(error))
        else:
            self.troubles.pop(what, None)
