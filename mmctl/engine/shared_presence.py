"""The part of a presence that all hosts see: halts, leases, records and epochs in Redis.

All of it is asked for four times a second, and at once when somebody tells of a change. Each part is for itself:
neither rubbish in one nor a slow line may cost a lease.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from mmctl.engine.beside import DoneBy, at_once
from mmctl.engine.halt import FileHaltLatch
from mmctl.engine.hold import Hold
from mmctl.engine.lasting import LastingFaults
from mmctl.engine.lease import Lease, lease_name, look_for_owner
from mmctl.engine.records import EngineRecord, encoded
from mmctl.engine.sharing import SharedHaltsView
from mmctl.errors import PairHeld, SharedUnreadable
from mmctl.ports import Clock, Shared, Venue

ASK_EVERY_S = 0.25
LISTEN_AGAIN_S = 1.0
HELD = "placing nothing until it can be asked"
RECORD = "record in Redis"
"""The fault that is over when the record is there: what failed at the start is made good by then."""


class SharedPresence:
    """One engine and account in ``shared``. ``seen`` is called when halts may have come from there."""

    def __init__(
        self,
        shared: Shared,
        venue: Venue,
        clock: Clock,
        latch: FileHaltLatch,
        faults: LastingFaults,
        seen: Callable[[], None],
        done_by: DoneBy = at_once,
    ) -> None:
        self._shared = shared
        self._venue = venue
        self._owner = venue.user_id or venue.account
        self._clock = clock
        self._faults = faults
        self._seen = seen
        self._view = SharedHaltsView(latch, shared, clock, venue.name, venue.account, done_by)
        self._leases: dict[str, Lease] = {}
        self._reserved = 0
        self._epoch_owed = False
        self._wake = asyncio.Event()

    async def claim(self, symbols: Sequence[str]) -> None:
        """Raises ``PairHeld`` where an engine elsewhere quotes one of ``symbols``. Redis away refuses nobody."""
        names = [self._name(symbol) for symbol in symbols]
        with self._faults.noting(RECORD, HELD):
            if holder := await look_for_owner(self._shared, self._clock, names):
                said = f"{holder} quotes on {self._venue.name}, account {self._venue.account}, already"
                raise PairHeld(f"{said}, by its lease in {self._shared.where}", "stop it first")
        # What is halted there is to be seen from the start on.
        await self._faults.noted("halts", HELD, self._step_view)

    async def floor(self, seen: int) -> int:
        """The largest epoch that is known of; one above it nobody else takes, while Redis can be asked."""
        floor = max(seen, self._clock.wall_ms() // 1000)
        with self._faults.noting(RECORD, HELD):
            self._reserved = await self._shared.reserve_epoch(self._venue.name, self._owner, floor)
        return max(seen, self._reserved - 1)

    def begin(self, record: EngineRecord, symbols: Sequence[str]) -> None:
        """Want the leases of ``symbols`` from now on."""
        # The folder knew a larger epoch, or Redis was away: it is told of this one when it can be.
        self._epoch_owed = record.epoch != self._reserved
        token = f"engine {record.epoch} (pid {record.pid} on {record.host}, {secrets.token_hex(4)})"
        for symbol in symbols:
            name, landing_s = self._name(symbol), record.landing_time_s
            self._leases[symbol] = Lease(name, token, self._shared, self._clock, landing_s)

    def hold(self, symbol: str) -> Hold | None:
        """Why nothing may be placed on ``symbol`` now, or ``None``."""
        lease = self._leases.get(symbol)
        held = None if lease is None else lease.hold()
        if held is not None and held.hands_off:
            return held
        return self._view.hold() or held

    def wake(self) -> None:
        """There is something to tell."""
        self._wake.set()

    async def keep(self, record: Callable[[], EngineRecord | None]) -> None:
        """Carry everything over, both ways, until cancelled."""
        while True:
            await asyncio.gather(
                self._faults.noted("halts", HELD, self._step_view),
                self._faults.noted(RECORD, HELD, partial(self._put, record)),
                *(
                    self._faults.noted(f"lease {symbol}", HELD, partial(self._step_lease, lease))
                    for symbol, lease in self._leases.items()
                ),
            )
            with suppress(TimeoutError):
                async with asyncio.timeout(ASK_EVERY_S):
                    await self._wake.wait()
            self._wake.clear()

    async def listen(self) -> None:
        """Wake up when somebody tells of a change, until cancelled."""
        while True:
            try:
                await self._shared.changed()
            except SharedUnreadable:  # told by whoever asks; this only waits
                await self._clock.sleep(LISTEN_AGAIN_S)
            self._wake.set()

    async def end(self, record: EngineRecord, *, settled: bool, keep: bool) -> None:
        """Release the leases, ``settled`` or not, and ``keep`` the record for whoever watches, or say that it ended.

        Raises ``SharedUnreadable``.
        """
        leases, self._leases = list(self._leases.values()), {}
        for lease in leases:
            await lease.release(settled=settled)
        last = replace(record, ended=not keep)
        await self._shared.put(record.venue, record.account, record.epoch, encoded(last), ended=last.ended)

    def abandon(self) -> None:
        """Nothing more is heard of it."""
        self._leases = {}

    def _name(self, symbol: str) -> str:
        return lease_name(self._venue.name, self._owner, symbol)

    async def _step_view(self) -> None:
        await self._view.step()
        self._seen()

    async def _step_lease(self, lease: Lease) -> None:
        asked_s = self._clock.boot_s()
        (now,) = await self._shared.owners([lease.name])
        await lease.step(now, asked_s)
        if lease.superseded_by:
            what = f"{lease.superseded_by} has the lease of {lease.name} now"
            self._faults.tell(f"superseded {lease.name}", what, "placing no more there")

    async def _put(self, record: Callable[[], EngineRecord | None]) -> None:
        newest = record()
        if newest is None:
            return
        if self._epoch_owed:
            await self._shared.reserve_epoch(self._venue.name, self._owner, newest.epoch - 1)
            self._epoch_owed = False
        await self._shared.put(newest.venue, newest.account, newest.epoch, encoded(newest))
