"""The ring of order books in Redis, as the market-data process writes it: key names, slots, values.

A ring holds one minute: 600 slots, one for each tenth of a second. A slot is two keys: the tick under
``{exchange}_depth{symbol}{tick % 600}`` and the book under the same name with ``_value``, written first.
The newest valid slot that parses is the book; its tick is its time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

import msgspec

from mmctl.core.book import Book, BookKey

SLOTS = 600
TICK_MS = 100
AHEAD_TICKS = 10
"""How far the writer's clock may be ahead of ours: one second."""

SOURCE = "redis"

_TICK_DIGITS = 11
"""Ticks have eleven digits from 2001 to 2286."""


class Unreadable(ValueError):
    """A value is no book; the text says why, to follow the name of its key."""


class Ring:
    """The names of one ring's keys. Any tick names its slot."""

    def __init__(self, key: BookKey) -> None:
        # OKX's writer keeps the symbol's case, all others lower it.
        symbol = key.symbol if key.exchange.startswith("okx_") else key.symbol.lower()
        self.prefix = f"{key.exchange}_depth{symbol}"
        self._ticks = [f"{self.prefix}{slot}".encode() for slot in range(SLOTS)]
        self._values = [name + b"_value" for name in self._ticks]

    def tick_key(self, tick: int) -> bytes:
        return self._ticks[tick % SLOTS]

    def value_key(self, tick: int) -> bytes:
        return self._values[tick % SLOTS]

    def tick_keys(self, ticks: range) -> list[bytes]:
        """The keys of a run of at most 600 ticks, in their order."""
        return _run(self._ticks, ticks)

    def value_keys(self, ticks: range) -> list[bytes]:
        """Likewise, of their values."""
        return _run(self._values, ticks)


def _run(keys: list[bytes], ticks: range) -> list[bytes]:
    first = ticks.start % SLOTS
    run = keys[first : first + len(ticks)]
    return run + keys[: len(ticks) - len(run)]


def tick_of(wall_ms: int) -> int:
    """The tick of a moment in ms since the epoch."""
    return wall_ms // TICK_MS


def read_ticks(slots: Iterable[int], raw: Sequence[bytes | None]) -> list[int]:
    """The ticks found in ``slots`` (any tick names its slot); what is no tick of its slot is left out."""
    return [
        tick
        for slot, text in zip(slots, raw, strict=True)
        if text and len(text) == _TICK_DIGITS and text.isdigit() and ((tick := int(text)) - slot) % SLOTS == 0
    ]


def newest_first(ticks: Iterable[int], now_tick: int) -> list[int]:
    """Those of ``ticks`` that are valid at ``now_tick``: at most a minute old and a second ahead."""
    return sorted((t for t in ticks if now_tick - SLOTS < t <= now_tick + AHEAD_TICKS), reverse=True)


def runs_ahead(ticks: Sequence[int], now_tick: int) -> bool:
    """Whether the writer's clock is further ahead than may be.

    Such a writer fills the valid slots too, on its way: what they hold looks new and is old. A tick of the
    future that lies beside a newest valid one in the past is a left-over of a clock since mended.
    """
    if not ticks or max(ticks) <= now_tick + AHEAD_TICKS:
        return False
    valid = newest_first(ticks, now_tick)
    return not valid or valid[0] > now_tick


def candidates(slots: range, raw: Sequence[bytes | None], now_tick: int) -> Iterator[int]:
    """The valid ticks of a run of slots, newest first; none where the writer runs ahead.

    Nearly always the first is the one: it comes without a look at the others, since text of one length sorts
    as its numbers do.
    """
    newest, text = None, max(filter(None, raw), default=b"")
    if len(text) == _TICK_DIGITS and text.isdigit():
        tick = int(text)
        if tick in slots and raw[tick - slots.start] == text and now_tick - SLOTS < tick <= now_tick + AHEAD_TICKS:
            newest = tick
            yield newest
    ticks = read_ticks(slots, raw)
    if not runs_ahead(ticks, now_tick):
        yield from (tick for tick in newest_first(ticks, now_tick) if tick != newest)


_Levels = list[tuple[Decimal, Decimal]] | dict[Decimal, Decimal] | None


class _Value(msgspec.Struct):
    """Pairs of price and quantity, or (OKX) an object of price to quantity; numbers or text."""

    asks: _Levels = None
    bids: _Levels = None


_decoder = msgspec.json.Decoder(_Value)


def decode_book(key: BookKey, tick: int, raw: bytes | None) -> Book:
    """The book of one slot, numbers exact. Raises ``Unreadable``; an empty or crossed book is a book."""
    if raw is None:
        raise Unreadable("is missing")
    try:
        value = _decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise Unreadable(f"is not a book: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Unreadable("is not JSON") from None
    try:
        return Book.of(key, tick * TICK_MS, _pairs(value.bids), _pairs(value.asks), SOURCE)
    except ValueError as error:
        raise Unreadable(f"is not a book: {error}") from None


def _pairs(levels: _Levels) -> Iterable[tuple[Decimal, Decimal]]:
    if isinstance(levels, dict):
        return levels.items()
    return levels or ()
