"""What waits to be written, in order: noted entries, commits and reads. Bounded, and never in anybody's way.

Where the journal cannot be written for long, the oldest noted entries go; those that a recovery needs go last.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mmctl.core.entries import Entry, Kind

MOST = 10_000
"""Noted entries that wait at most."""

LEFT = MOST * 3 // 4
"""How many are left when room is made."""

NEEDED = frozenset({Kind.INTENT, Kind.FILL, Kind.END, Kind.ENDED, Kind.HALT, Kind.RESUME, Kind.STOP})
"""What a recovery needs, or a person who asks what was done."""


@dataclass(eq=False, slots=True)
class Commit:
    """Entries that somebody waits for. ``answer`` is called once: with ``None``, or with why they are not written.

    ``withdrawn`` where nobody waits any more: then they need not be written.
    """

    entries: Sequence[Entry]
    answer: Callable[[Exception | None], None]
    withdrawn: bool = False


@dataclass(eq=False, slots=True)
class Read:
    """A question to the store, in its turn. ``act`` asks and tells the answer; else ``answer`` is given the reason."""

    act: Callable[[], None]
    answer: Callable[[Exception], None]


Waiting = Entry | Commit | Read


class Queue:
    """Put in by the loop's thread, taken out by the writer's."""

    def __init__(self) -> None:
        self._items: deque[Waiting] = deque()
        self._noted = 0
        self._lock = threading.Lock()
        self._any = threading.Event()
        self._urgent = threading.Event()
        self.dropped = 0
        """Noted entries that were given up and not told of yet."""
        self._last_dropped: Entry | None = None
        self._closed: Exception | None = None

    @property
    def is_empty(self) -> bool:
        return not self._items

    def note(self, entry: Entry) -> None:
        with self._lock:
            if self._closed is not None:
                return
            if self._noted >= MOST:
                self._make_room()
            self._items.append(entry)
            self._noted += 1
        self._any.set()

    def ask(self, item: Commit | Read) -> None:
        with self._lock:
            closed = self._closed
            if closed is None:
                self._items.append(item)
        if closed is not None:
            item.answer(closed)
        self.hurry()

    def close(self, why: Exception) -> list[Waiting]:
        """Take nothing more: whoever asks is told ``why``. Returns what still waits."""
        with self._lock:
            self._closed = why
        return self.take()

    def hurry(self) -> None:
        """Wake the writer, now."""
        self._urgent.set()
        self._any.set()

    def wait(self, linger_s: float) -> None:
        """Wait for something to do; where that is only noted entries, a little longer for more of them."""
        self._any.wait()
        self._urgent.wait(linger_s)
        self._any.clear()
        self._urgent.clear()

    def wait_urgent(self, timeout_s: float) -> None:
        """Wait for something that cannot wait."""
        self._urgent.wait(timeout_s)
        self._urgent.clear()

    def take(self) -> list[Waiting]:
        """Everything that waits."""
        with self._lock:
            items, self._items, self._noted = list(self._items), deque(), 0
        return items

    def put_back(self, entries: Sequence[Entry]) -> None:
        """Noted entries that could not be written, before all that came since."""
        with self._lock:
            self._items.extendleft(reversed(entries))
            self._noted += len(entries)
            if self._noted > MOST:
                self._make_room()

    def drop(self, entry: Entry) -> None:
        """Count an entry that cannot be written at all."""
        with self._lock:
            self._drop(entry)

    def take_dropped(self) -> tuple[int, Entry | None]:
        """How many were given up, and the last of them; they count as told of."""
        with self._lock:
            told = self.dropped, self._last_dropped
            self.dropped, self._last_dropped = 0, None
        return told

    def _drop(self, entry: Entry) -> None:
        self.dropped += 1
        self._last_dropped = entry

    def _make_room(self) -> None:
        """Give up the oldest entries: first of those that nothing depends on."""
        for spared in (NEEDED, frozenset[Kind]()):
            spare = self._noted - LEFT
            left: deque[Waiting] = deque()
            for item in self._items:
                if spare > 0 and isinstance(item, Entry) and item.kind not in spared:
                    spare -= 1
                    self._noted -= 1
                    self._drop(item)
                else:
                    left.append(item)
            self._items = left
            if self._noted <= LEFT:
                return
