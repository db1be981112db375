"""Setting halts for a verb: in the state folder first, for a bounded time, in Redis beside whatever else is done."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace

from mmctl.cli.options import note
from mmctl.cli.shared_place import SharedPlace
from mmctl.core.order import Layer
from mmctl.engine.beside import beside
from mmctl.engine.everywhere import HaltsSet, halts_everywhere, set_everywhere, share
from mmctl.engine.halt import FileHaltLatch, who
from mmctl.errors import SharedUnreadable, StateUnreadable
from mmctl.ports import HaltScope

SHARE_AGAIN_S = 1.0
"""How soon Redis is asked again that did not take a halt."""

NOT_ASKED = HaltsSet(())


class Halting:
    """The halts of one verb. ``halts`` tells at any time how far it has come."""

    def __init__(self, latch: FileHaltLatch, place: SharedPlace) -> None:
        self._latch = latch
        self._place = place
        self._sharing: asyncio.Task[None] | None = None
        self._enough = asyncio.Event()
        self.halts = NOT_ASKED

    async def begin(self, scopes: Sequence[HaltScope], why: str, by: str = "") -> None:
        """Halt in the state folder, and begin to halt in Redis. Never raises for what a place does.

        Where this was done before it is done again only as far as it failed.
        """
        self._place.begin()
        at_ms = time.time_ns() // 1_000_000
        if not self.halts.halts or self.halts.folder_fault:
            self.halts = await set_everywhere(
                self._latch, None, scopes, by=by or who(), at_ms=at_ms, why=why, done_by=beside
            )
        if self._place.configured:
            self._enough.clear()
            self._sharing = asyncio.create_task(self._share())

    def take_over(self, scopes: Sequence[HaltScope]) -> None:
        """Where others have halted all of ``scopes`` already, those halts will do."""
        try:
            in_force = self._latch.halts()
        except StateUnreadable:
            return
        found = [next((halt for halt in in_force if _covers(halt.scope, scope)), None) for scope in scopes]
        covering = tuple(dict.fromkeys(halt for halt in found if halt is not None))
        if all(halt is not None for halt in found):
            self.halts = HaltsSet(covering)

    async def end(self) -> HaltsSet:
        """Wait for what Redis is being asked, two seconds at most, and note what is amiss."""
        self._enough.set()
        if self._sharing is not None:
            await self._sharing
        if self.halts.halts and not self.halts.faults and await self._lifted():
            self.halts = replace(self.halts, folder_fault="a resume lifted it meanwhile")
        for fault in self.halts.faults:
            note(f"the halt does not stand everywhere, an engine may quote again: {fault}")
        return self.halts

    async def _lifted(self) -> bool:
        """Whether one of the halts is in force no more: a resume on another host knows of no stop here."""
        try:
            shared = await self._place.get()
        except SharedUnreadable:
            shared = None
        in_force, unread = await halts_everywhere(self._latch, shared)
        return not unread and not set(self.halts.uids) <= {halt.uid for halt in in_force}

    async def _share(self) -> None:
        """Halt in Redis; where that fails, again and again while the verb is at work: Redis may come back."""
        while True:
            try:
                shared = await self._place.get()
            except SharedUnreadable as error:
                self.halts = replace(self.halts, shared_fault=str(error))
            else:
                if shared is not None:
                    self.halts = await share(self._latch, shared, self.halts, done_by=beside)
            if not self.halts.shared_fault or self._enough.is_set():
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SHARE_AGAIN_S):
                    await self._enough.wait()
                    return


def _covers(halt: HaltScope, wanted: HaltScope) -> bool:
    """Whether a halt covers all of what is wanted."""
    return (
        (halt.venue, halt.account) == (wanted.venue, wanted.account)
        and halt.symbol in (None, wanted.symbol)
        and halt.layer in (None, wanted.layer)
    )


def status(halts: HaltsSet) -> str:
    """``set``, ``not_set`` where none was asked for, ``failed`` where one does not stand everywhere it should."""
    return "failed" if halts.faults else "set" if halts.halts else "not_set"


def scopes_of(venue: str, account: str, symbols: Sequence[str] | None, layer: Layer | None) -> list[HaltScope]:
    """A halt for each symbol, or one for all."""
    return [HaltScope(venue, account, symbol, layer) for symbol in symbols or (None,)]
