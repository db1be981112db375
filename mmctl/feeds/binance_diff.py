"""A book kept from a snapshot and the differences after it, by the sequence check of Binance's documents.

Events are buffered until a snapshot joins them; each event must follow on the last one, and after a gap
everything begins again. No I/O: what to ask for is told by ``wants_snapshot``.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable
from decimal import Decimal

from mmctl.wire.binance_market import Depth, DepthDiff, PriceLevel

_MAX_BUFFERED = 600
"""Events that wait for a snapshot, a minute's worth. The oldest go first: a snapshot must then be newer."""


class DiffBook:
    """The top ``levels`` of a book, from snapshots of ``limit`` levels a side."""

    def __init__(self, levels: int, limit: int) -> None:
        self._levels, self._limit = levels, limit
        self._bids, self._asks = _HalfBook(descending=True), _HalfBook(descending=False)
        self._last_id: int | None = None
        self._buffer: deque[DepthDiff] = deque(maxlen=_MAX_BUFFERED)

    @property
    def last_id(self) -> int | None:
        """The update up to which the book is whole; ``None`` while it waits for a snapshot."""
        return self._last_id

    @property
    def wants_snapshot(self) -> bool:
        """Whether there is no book, or so many levels went that others, never told of, may belong to its top."""
        return self._last_id is None or self._is_drained

    @property
    def _is_drained(self) -> bool:
        return self._bids.is_short_of(self._levels) or self._asks.is_short_of(self._levels)

    def top(self) -> tuple[list[PriceLevel], list[PriceLevel]]:
        """The best bids and asks, at most ``levels`` each, best first."""
        return self._bids.top(self._levels), self._asks.top(self._levels)

    def restart(self) -> None:
        """Forget everything: the stream begins anew."""
        self._last_id = None
        self._buffer.clear()

    def event(self, diff: DepthDiff) -> bool:
        """Take the stream's next event; ``True`` where the book is whole up to it."""
        if self.wants_snapshot:
            self._buffer.append(diff)
        elif self._buffer:
            self._buffer.clear()  # the top filled up again by itself
        return self._last_id is not None and self._follow(diff)

    def snapshot(self, depth: Depth) -> bool:
        """Begin from ``depth``, asked for after the stream began; ``False`` where it does not join the events."""
        oldest = self._buffer[0].first_id if self._buffer else self._last_id
        if oldest is not None and depth.last_id < oldest:
            return False
        events = list(self._buffer)
        self._buffer.clear()
        self._bids.load(depth.bids, self._limit)
        self._asks.load(depth.asks, self._limit)
        self._last_id = depth.last_id
        for number, diff in enumerate(events):
            if not self._follow(diff):
                self._buffer.extend(events[number + 1 :])
                return False
        return True

    def _follow(self, diff: DepthDiff) -> bool:
        """Apply ``diff`` unless the book has it already; ``False`` after a gap, from which all begins again."""
        if self._last_id is None or diff.first_id > self._last_id + 1:
            self.restart()
            self._buffer.append(diff)
            return False
        if diff.last_id > self._last_id:
            for price, qty in diff.bids:
                self._bids.put(price, qty)
            for price, qty in diff.asks:
                self._asks.put(price, qty)
            self._bids.prune(self._limit)
            self._asks.prune(self._limit)
            self._last_id = diff.last_id
        return True


class _HalfBook:
    """One side, as sorted keys that ascend from the best level outward.

    Nothing is known of levels beyond the worst of a full snapshot (the horizon) but those that change, so
    none of them is kept.
    """

    def __init__(self, *, descending: bool) -> None:
        self._descending = descending
        self._keys: list[Decimal] = []
        self._qtys: dict[Decimal, Decimal] = {}
        self._horizon: Decimal | None = None

    def load(self, levels: Iterable[PriceLevel], limit: int) -> None:
        self._qtys = {self._flip(price): qty for price, qty in levels if qty}
        self._keys = sorted(self._qtys)
        # A side with fewer levels than were asked for is all there is.
        self._horizon = self._keys[-1] if len(self._keys) >= limit else None

    def put(self, price: Decimal, qty: Decimal) -> None:
        key = self._flip(price)
        if self._horizon is not None and key > self._horizon:
            return
        if qty:
            if key not in self._qtys:
                insort(self._keys, key)
            self._qtys[key] = qty
        elif self._qtys.pop(key, None) is not None:
            del self._keys[bisect_left(self._keys, key)]

    def prune(self, limit: int) -> None:
        """Bound the memory: far levels beyond twice ``limit`` go, and with them the horizon comes nearer."""
        if len(self._keys) > 2 * limit:
            for key in self._keys[limit:]:
                del self._qtys[key]
            del self._keys[limit:]
            self._horizon = self._keys[-1]

    def top(self, count: int) -> list[PriceLevel]:
        return [(self._flip(key), self._qtys[key]) for key in self._keys[:count]]

    def is_short_of(self, count: int) -> bool:
        return self._horizon is not None and len(self._keys) < count

    def _flip(self, price: Decimal) -> Decimal:
        # Not ``-price``: that would round to the context's digits.
        return price.copy_negate() if self._descending else price
