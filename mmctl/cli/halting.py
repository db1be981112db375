"""Setting halts: written down before the venue is asked, and never in the way of asking it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from mmctl.core.order import Layer
from mmctl.engine.halt import FileHaltLatch, who
from mmctl.errors import StateUnreadable
from mmctl.ports import HaltScope


@dataclass(frozen=True, slots=True)
class HaltsSet:
    """What became of the halts that were asked for: ``uids`` of those that stand somewhere, and each thing amiss."""

    uids: tuple[str, ...] = ()
    amiss: tuple[str, ...] = ()
    asked: bool = True

    @property
    def status(self) -> str:
        """``set``, ``not_set`` where none was asked for, ``failed`` where one does not stand everywhere it should."""
        return "not_set" if not self.asked else "failed" if self.amiss else "set"


NOT_ASKED = HaltsSet(asked=False)


def scopes_of(venue: str, account: str, symbols: Sequence[str] | None, layer: Layer | None) -> list[HaltScope]:
    """A halt for each symbol, or one for all."""
    return [HaltScope(venue, account, symbol, layer) for symbol in symbols or (None,)]


def set_halts(latch: FileHaltLatch, scopes: Sequence[HaltScope], why: str, by: str) -> HaltsSet:
    """Set a halt for each of ``scopes``; what cannot be set is told, and never raised."""
    at_ms, by = time.time_ns() // 1_000_000, by or who()
    try:
        return HaltsSet(tuple(latch.set(scope, by=by, at_ms=at_ms, why=why).uid for scope in scopes))
    except StateUnreadable as error:
        return HaltsSet(amiss=(str(error),))
