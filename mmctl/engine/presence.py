"""How an engine is known to others: its record, its locks and leases, and the halts that hosts share. One an account.

``NoPresence`` is that of an engine whose venue lives in its own process: it excludes nobody, and nobody can stop it
from elsewhere. ``FolderPresence`` (``folder_presence.py``) is that of all others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from mmctl.engine.hold import Hold
from mmctl.engine.records import PairRecord


class Presence(Protocol):
    """What an engine does about others, on one account: ``claim``, ``floor``, ``begin``, ``run`` and ``end``."""

    async def claim(self, symbols: Sequence[str]) -> None:
        """Have the right to quote ``symbols`` on this machine. Raises ``PairHeld`` where another engine has it, and
        ``StateUnreadable``."""

    async def floor(self, seen: int) -> int:
        """The largest epoch that is known of, ``seen`` and those of other hosts: an engine takes one above it."""

    def begin(self, epoch: int, pairs: Callable[[], tuple[PairRecord, ...]]) -> None:
        """Be seen from now on; ``pairs`` says how each pair is. Raises ``StateUnreadable``."""

    async def run(self) -> None:
        """Keep what others see up to date, until it is cancelled."""

    async def ready(self) -> None:
        """Come back when placements may pass, or after a moment, while ``run`` is at work: the first turns are near."""

    def look(self) -> None:
        """See whether the halts in force have changed, and tell others at once if so. Cheap, and never raises."""

    def answered(self) -> None:
        """A placement got its answer, or an order is over; who waits for the last one hears at once. Never raises."""

    def hold(self, symbol: str) -> Hold | None:
        """Why nothing may be placed on ``symbol`` now, or ``None``. Cheap enough for every send."""

    def signing(self) -> Hold | None:
        """Placements are signed and sent next, with nothing between. Why not, if so."""

    async def end(self, *, clean: bool = True) -> None:
        """The engine ends, and others may quote. Where own orders may rest that were to go, it is not ``clean``: its
        record stays, for whoever watches. Never raises; a second call does nothing."""


class NoPresence:
    """Known to nobody, and in nobody's way."""

    async def claim(self, symbols: Sequence[str]) -> None:
        return None

    async def floor(self, seen: int) -> int:
        return seen

    def begin(self, epoch: int, pairs: Callable[[], tuple[PairRecord, ...]]) -> None:
        return None

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def ready(self) -> None:
        return None

    def look(self) -> None:
        return None

    def answered(self) -> None:
        return None

    def hold(self, symbol: str) -> Hold | None:
        return None

    def signing(self) -> Hold | None:
        return None

    async def end(self, *, clean: bool = True) -> None:
        return None
