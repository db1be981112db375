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
    """What an engine does about others, on one account. The order: ``claim``, ``take_epoch``, ``begin``, ``end``."""

    async def claim(self, symbols: Sequence[str]) -> None:
        """Have the right to quote ``symbols`` on this machine. Raises ``PairHeld`` where another engine has it, and
        ``StateUnreadable``."""

    async def take_epoch(self, seen: int) -> int:
        """An epoch above ``seen`` and all others that are known of. Raises ``StateUnreadable``."""

    def begin(self, epoch: int, pairs: Callable[[], tuple[PairRecord, ...]]) -> None:
        """Be seen from now on; ``pairs`` says how each pair is. Raises ``StateUnreadable``."""

    async def run(self) -> None:
        """Keep what others see up to date, until it is cancelled."""

    def tell(self) -> None:
        """Something changed that others wait for: a halt was seen, a last answer came. Never raises."""

    def hold(self, symbol: str) -> Hold | None:
        """Why nothing may be placed on ``symbol`` now, or ``None``. Cheap enough for every send."""

    def signing(self) -> Hold | None:
        """Placements are signed and sent next, with nothing between. Why not, if so."""

    async def end(self) -> None:
        """A clean end: others may quote. Never raises; a second call does nothing."""


class NoPresence:
    """Known to nobody. ``next_epoch`` is given the largest epoch that was seen, and may raise ``StateUnreadable``."""

    def __init__(self, next_epoch: Callable[[int], int]) -> None:
        self._next_epoch = next_epoch

    async def claim(self, symbols: Sequence[str]) -> None:
        return None

    async def take_epoch(self, seen: int) -> int:
        return self._next_epoch(seen)

    def begin(self, epoch: int, pairs: Callable[[], tuple[PairRecord, ...]]) -> None:
        return None

    async def run(self) -> None:
        await asyncio.Event().wait()

    def tell(self) -> None:
        return None

    def hold(self, symbol: str) -> Hold | None:
        return None

    def signing(self) -> Hold | None:
        return None

    async def end(self) -> None:
        return None
