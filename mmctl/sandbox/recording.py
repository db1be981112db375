"""A market played from a recording: lines of JSON, gzipped, each with ``recv_ms``.

A line with ``bids`` and ``asks`` is a book (pairs of price and quantity as text, best first); one with
``price``, ``qty`` and ``buyer_is_maker`` is a trade. It is played at its own pace, and from the start again
when it ends.
"""

from __future__ import annotations

import gzip
import heapq
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import msgspec

from mmctl.errors import UsageError
from mmctl.sandbox.numbers import NoNumber, TooPrecise, parse_units
from mmctl.sandbox.others import Sides, Taker
from mmctl.sandbox.rules import Rules

STEP_MS = 100
_Pairs = list[tuple[str, str]]


class Line(msgspec.Struct):
    """One line of a recording."""

    recv_ms: int
    bids: _Pairs | None = None
    asks: _Pairs | None = None
    price: str | None = None
    qty: str | None = None
    buyer_is_maker: bool = False


class RecordedMarket:
    """Plays recordings. Raises ``UsageError`` for a file that is none, as soon as that is seen."""

    def __init__(self, paths: Sequence[Path], rules: Rules) -> None:
        self._paths, self._rules = paths, rules
        self._lines = self._open()
        self._next: Line | None = None
        self._now_ms: int | None = None

    def _open(self) -> Iterator[Line]:
        lines = heapq.merge(*(_read(path) for path in self._paths), key=lambda line: line.recv_ms)
        first = next(lines, None)
        if first is None:
            raise UsageError(f"--recording {self._paths[0]}: it is empty", "see the format in the README")
        return chain((first,), lines)

    def step(self) -> tuple[Sides | None, list[Taker]]:
        sides: Sides | None = None
        takers: list[Taker] = []
        for line in self._due():
            if line.bids is not None and line.asks is not None:
                sides = self._side(line.bids), self._side(line.asks)
            elif line.price is not None and line.qty is not None:
                price, lots = self._scaled(line.price, line.qty)
                takers.append(Taker(not line.buyer_is_maker, price, lots))
        return sides, takers

    def _due(self) -> Iterator[Line]:
        """The lines of the next tenth of a second."""
        if self._now_ms is not None:
            self._now_ms += STEP_MS
        while True:
            line = self._next or next(self._lines, None)
            self._next = None
            if line is None:
                self._lines, self._now_ms = self._open(), None
                return
            if self._now_ms is None:
                self._now_ms = line.recv_ms
            if line.recv_ms > self._now_ms:
                self._next = line
                return
            yield line

    def _side(self, pairs: _Pairs) -> dict[int, int]:
        side: dict[int, int] = {}
        for price, qty in pairs:
            ticks, lots = self._scaled(price, qty)
            side[ticks] = side.get(ticks, 0) + lots
        return side

    def _scaled(self, price: str, qty: str) -> tuple[int, int]:
        try:
            return parse_units(price) // self._rules.tick, max(1, parse_units(qty) // self._rules.lot)
        except (NoNumber, TooPrecise) as error:
            raise UsageError(f"--recording: {error} is no price or quantity", "plain decimal text") from None


def _read(path: Path) -> Iterator[Line]:
    decoder = msgspec.json.Decoder(Line)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                try:
                    yield decoder.decode(raw)
                except msgspec.DecodeError as error:
                    raise UsageError(f"--recording {path}: line {number}: {error}", "see its format") from None
    except (OSError, EOFError) as error:
        raise UsageError(f"--recording {path}: {error}", "a file of JSON lines, gzipped or plain") from None
