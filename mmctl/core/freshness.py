"""How old a book is: by its own time, by how long that time has stood still, and by its contents.

A source that stamps books on arrival looks fresh while it is frozen, and a wall clock can jump; so the age
is the larger of what both clocks say, and a book that never changes is stale too.
"""

from __future__ import annotations

from dataclasses import dataclass

from mmctl.core.book import Book

FUTURE_ALLOWED_MS = 1000
"""A book up to this far ahead of our clock counts as new; further ahead the clocks are wrong."""


@dataclass(frozen=True, slots=True)
class Stale:
    """Why a book may not be quoted on: a short word, and a line for people."""

    reason: str
    detail: str


class BookAge:
    """Follows one pair's books and judges the newest. Times are given, never read.

    ``started_s`` is the monotonic time from which on a book could have come.
    """

    def __init__(self, frozen_after_s: float, started_s: float) -> None:
        self._frozen_after_s = frozen_after_s
        self._book: Book | None = None
        self._advanced_at_s = started_s
        self._changed_at_s = started_s
        self._usable: Book | None = None
        self._usable_since_s = started_s

    @property
    def book(self) -> Book | None:
        """The newest book that was observed, usable or not."""
        return self._book

    def observe(self, book: Book, wall_ms: int, now_s: float) -> None:
        """``book`` is the newest that the feed has, at wall time ``wall_ms`` and monotonic time ``now_s``."""
        last = self._book
        if last is not None and book.ts_ms < last.ts_ms and last.ts_ms - wall_ms <= FUTURE_ALLOWED_MS:
            return  # older; only a book from the future does not stand in the way of one with a right stamp
        if last is None or book.ts_ms != last.ts_ms:
            self._advanced_at_s = now_s
        if last is None or (book.bids, book.asks) != (last.bids, last.asks):
            self._changed_at_s = now_s
        self._book = book
        if book.fault is None and book.ts_ms - wall_ms <= FUTURE_ALLOWED_MS:
            if self._usable is None or book.ts_ms > self._usable.ts_ms:
                self._usable_since_s = now_s
            self._usable = book

    def age_s(self, wall_ms: int, now_s: float) -> float:
        """Seconds since the newest book was made; infinite before the first."""
        if self._book is None:
            return float("inf")
        return max(0.0, (wall_ms - self._book.ts_ms) / 1000, now_s - self._advanced_at_s)

    def stale(self, timeout_s: float, wall_ms: int, now_s: float) -> Stale | None:
        """Why the newest book is not good enough for a layer with this quote timeout, or ``None``."""
        book = self._book
        if book is None:
            return Stale("no_book", "no book has been read yet")
        ahead_ms = book.ts_ms - wall_ms
        if ahead_ms > FUTURE_ALLOWED_MS:
            detail = f"the book is {ahead_ms / 1000:.1f} s ahead of this clock: set the clocks right"
            return Stale("future_book", detail)
        age_s = self.age_s(wall_ms, now_s)
        if age_s > timeout_s:
            return Stale("stale_book", f"the book is {age_s:.1f} s old, the quote timeout is {timeout_s:g} s")
        frozen_s = now_s - self._changed_at_s
        if frozen_s > self._frozen_after_s:
            return Stale("frozen_book", f"the book has not changed for {frozen_s:.0f} s")
        if book.fault is not None:
            return Stale("unusable_book", book.fault)
        return None

    def deadline_s(self, timeout_s: float, wall_ms: int, now_s: float) -> float:
        """The monotonic time from which on quotes of a layer with this timeout rest on a stale book.

        It counts from the newest *usable* book, or from the start before there was one: a fresh book that
        is crossed, empty or from the future keeps no order alive.
        """
        since_s = now_s - self._usable_since_s
        if self._usable is not None:
            since_s = max(since_s, (wall_ms - self._usable.ts_ms) / 1000)
        return min(now_s + timeout_s - since_s, self._changed_at_s + self._frozen_after_s)
