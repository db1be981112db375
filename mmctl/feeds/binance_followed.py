"""What is known of one symbol on Binance, and up to when it is known to be true. No I/O: times are given.

A partial depth event has no time of its own. Stamped when it arrives, it would look fresh however long it lay
in a buffer; and a market that does not change sends nothing, as does a stream that froze. So each book has
two times: ``ts_ms``, the source's where it says one (diff events) and else the wall time of its arrival, and
the monotonic time up to which it is *known to be true*. Pings move the second, since a pong comes in order
behind all that was sent before it:

- An event counts as new only as far as ``lag_allowed_s`` after the newest answered ping was sent: what waits
  in a buffer, or behind a loop that stood still, ages.
- Silence keeps a book young up to the newest answered ping, but for ``quiet_s`` at most; then only the exchange,
  asked by a request, can say that it is unchanged. It says so for the time at which it was asked.
- Without a socket, or with pings unanswered, a book simply ages.

Contents that never change are the core's to judge (``frozen_after_s``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmctl.core.book import Book, BookKey, Trade
from mmctl.errors import NoBook
from mmctl.feeds.binance_diff import DiffBook
from mmctl.wire.binance_market import (
    MAX_LEVELS,
    PARTIAL_LEVELS,
    Depth,
    PriceLevel,
    Raw,
    Unreadable,
    decode_depth,
    decode_diff,
    decode_trade,
    depth_limit,
    diff_stream,
    partial_stream,
    unpadded,
)

SOURCE = "binance"

_SNAPSHOT_MARGIN = 5
"""A snapshot has this many times the wanted levels, so that it lasts while the market moves."""

_RENUMBERED_AFTER_S = 2.0
"""A lower update id than the newest is an older book; for longer than this, an exchange that counts anew."""

_STEP_BACK_MS = 1000
"""Binance's clock and ours take turns in stamping; a book's time is not let back for so small a difference."""

_MAX_TRADES = 1000


_Levels = tuple[list[PriceLevel], list[PriceLevel]]


@dataclass(frozen=True, slots=True)
class Truth:
    """How long what a socket said stays true, in seconds; see the head of the module."""

    lag_allowed_s: float = 2.0
    quiet_s: float = 2.0


class Followed:
    """One symbol: its newest book, from its stream or from requests, and its last trades."""

    def __init__(self, symbol: str, levels: int, truth: Truth) -> None:
        self.symbol = symbol
        self.behind_since_s: float | None = None
        """Since when the stream owes a book that a request has shown already."""
        self._truth = truth
        wide = levels > PARTIAL_LEVELS
        self._shown = max(levels, PARTIAL_LEVELS)
        self._limit = depth_limit(self._shown)
        self._snapshot_limit = depth_limit(min(levels * _SNAPSHOT_MARGIN, MAX_LEVELS))
        self._diff = DiffBook(levels, self._snapshot_limit) if wide else None
        self.stream = diff_stream(symbol) if wide else partial_stream(symbol)
        self._levels: _Levels | None = None
        self._last_id = -1
        self._stamp_ms, self._at_s = 0, float("-inf")
        self._from_stream = False
        self._fault = ""
        self._built: Book | None = None
        self._told_ms = 0
        self._trades: deque[Trade] = deque(maxlen=_MAX_TRADES)

    @property
    def has_book(self) -> bool:
        """Whether anything has come, readable or not."""
        return self._last_id >= 0 or bool(self._fault)

    @property
    def wants_snapshot(self) -> bool:
        return self._diff is not None and self._diff.wants_snapshot

    def limit(self, *, socket_up: bool) -> int:
        """How many levels the next request asks for: more for a snapshot that a stream will carry on."""
        return self._snapshot_limit if self.wants_snapshot and socket_up else self._limit

    def restart(self) -> None:
        """The socket is lost or new: silence proves nothing of what came before, and a diff stream begins again."""
        self._from_stream = False
        self.behind_since_s = None
        if self._diff is not None:
            self._diff.restart()

    def event(self, raw: Raw, now_s: float, wall_ms: int, proof_s: float) -> None:
        """Take the stream's next event. ``proof_s``: when the newest answered ping was sent."""
        try:
            if self._diff is not None:
                self._follow(self._diff, raw, now_s)
                return
            # A later update was not true before an earlier one was.
            at_s = max(min(now_s, proof_s + self._truth.lag_allowed_s), self._at_s)
            depth = decode_depth(raw)
            self._take((depth.bids, depth.asks), depth.last_id, wall_ms - round((now_s - at_s) * 1000), at_s)
        except Unreadable as fault:
            self._fault, self._built = f"the event of {self.stream} {fault}", None

    def answer(self, depth: Depth, asked_s: float, asked_ms: int, *, on_socket: bool) -> None:
        """Take a request's answer, true when it was asked. ``on_socket``: the stream was there already."""
        if self._diff is not None and self._diff.wants_snapshot and on_socket:
            self._top()  # what is shown so far is still the book before
            if self._diff.snapshot(depth):
                self._take(None, self._diff.last_id or depth.last_id, asked_ms, asked_s)
                return
        if self._is_older(depth.last_id, asked_s):
            return
        levels = depth.bids[: self._shown], depth.asks[: self._shown]
        if levels == self._top() and not self._fault:
            self._last_id = depth.last_id
            if asked_s > self._at_s:
                self._stamp_ms, self._at_s = asked_ms, asked_s
            return
        if self._from_stream and self.behind_since_s is None:
            self.behind_since_s = asked_s
        self._set(levels, depth.last_id, asked_ms, asked_s, from_stream=False)

    def trade(self, raw: Raw) -> None:
        """Take the next trade; one that cannot be read is left out, one that came before is not repeated."""
        try:
            trade = decode_trade(raw)
        except Unreadable:
            return
        if not self._trades or trade.trade_id > self._trades[-1].trade_id:
            self._trades.append(trade)

    def trades(self, after_id: int) -> Sequence[Trade]:
        return [trade for trade in self._trades if trade.trade_id > after_id]

    def true_s(self, proof_s: float | None) -> float:
        """The monotonic time up to which the newest book is known to be true; ``proof_s`` is ``None`` without a socket.

        Minus infinity where the newest that came is no book.
        """
        if self._fault:
            return float("-inf")
        if proof_s is None or not self._from_stream:
            return self._at_s
        return max(self._at_s, min(proof_s, self._at_s + self._truth.quiet_s))

    def book(self, key: BookKey, proof_s: float | None) -> Book:
        """The newest book. Raises ``NoBook`` where the newest that came is none."""
        levels = self._top()
        if self._built is None and levels is not None and not self._fault:
            try:
                self._built = Book.of(key, 0, unpadded(levels[0]), unpadded(levels[1]), SOURCE)
            except ValueError as error:
                self._fault = f"its newest depth is not a book: {error}"
        if self._fault or self._built is None:
            raise NoBook(
                f"Binance has no readable book of {self.symbol}: {self._fault or 'none has come'}",
                "it is asked again; is that address Binance's?",
            )
        ts_ms = self._stamp_ms + round((self.true_s(proof_s) - self._at_s) * 1000)
        if self._told_ms - _STEP_BACK_MS <= ts_ms < self._told_ms:
            ts_ms = self._told_ms
        self._told_ms = ts_ms
        if self._built.ts_ms != ts_ms or self._built.key != key:
            self._built = replace(self._built, ts_ms=ts_ms, key=key)
        return self._built

    def _follow(self, diff_book: DiffBook, raw: Raw, now_s: float) -> None:
        """Take a diff. While the book waits for a snapshot, silence no longer says that the old one is true."""
        try:
            diff = decode_diff(raw)
        except Unreadable:
            diff_book.restart()  # what it said is missing now
            raise
        if diff_book.event(diff):
            self._take(None, diff.last_id, diff.event_ms, now_s)
        else:
            self._from_stream = False

    def _take(self, levels: _Levels | None, last_id: int, stamp_ms: int, at_s: float) -> None:
        """A book of the stream (``None``: the diff book's, when asked), unless a request has shown a newer one."""
        if not self._is_older(last_id, at_s):
            self.behind_since_s = None
            self._set(levels, last_id, stamp_ms, at_s, from_stream=True)

    def _set(self, levels: _Levels | None, last_id: int, stamp_ms: int, at_s: float, *, from_stream: bool) -> None:
        self._levels, self._last_id, self._stamp_ms, self._at_s = levels, last_id, stamp_ms, at_s
        self._from_stream, self._fault, self._built = from_stream, "", None

    def _top(self) -> _Levels | None:
        """The newest levels; those of a diff book are put together when somebody asks, not at each event."""
        if self._levels is None and self._diff is not None and self._last_id >= 0:
            self._levels = self._diff.top()
        return self._levels

    def _is_older(self, last_id: int, at_s: float) -> bool:
        return last_id < self._last_id and at_s < self._at_s + _RENUMBERED_AFTER_S
