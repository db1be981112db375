"""The presence of an engine on a venue that others can reach: by the state folder, and with Redis on every host.

What it cannot tell others holds its placements: nobody could stop it, or know that it has stopped.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from mmctl.core.report import Faulted, Report
from mmctl.engine.halt import FileHaltLatch
from mmctl.engine.hold import Hold
from mmctl.engine.lease import Lease, lease_name, look_for_owner
from mmctl.engine.lock import PairLock
from mmctl.engine.record_file import RecordFile
from mmctl.engine.records import EngineRecord, PairRecord, encoded, record_path, this_machine
from mmctl.engine.registered import remove_old
from mmctl.engine.sharing import SharedHaltsView
from mmctl.errors import PairHeld, SharedUnreadable, StateUnreadable
from mmctl.ports import Clock, Shared, Venue

WRITE_EVERY_S = 0.25
RECORD_MAX_AGE_S = 2.0
"""How old what others see of an engine may be before it places nothing."""

LISTEN_AGAIN_S = 1.0
END_WITHIN_S = 2.0
"""How long a clean end may take to say so in Redis: after that others wait for the lease to run out."""


async def _here(work: Callable[[], None]) -> None:
    work()


class FolderPresence:
    """Known by the state folder, and with ``shared`` by Redis. ``version`` is mmctl's, for people.

    ``write_in`` carries out the writing of records: in another thread, so that a slow disk holds nothing else up.
    """

    def __init__(
        self,
        state_dir: Path,
        venue: Venue,
        clock: Clock,
        latch: FileHaltLatch,
        report: Callable[[Report], None],
        *,
        shared: Shared | None = None,
        version: str = "",
        write_in: Callable[[Callable[[], None]], Awaitable[None]] = _here,
    ) -> None:
        self._state_dir = state_dir
        self._venue = venue
        self._clock = clock
        self._latch = latch
        self._report = report
        self._shared = shared
        self._version = version
        self._owner = venue.user_id or venue.account
        self._locks: dict[str, PairLock] = {}
        self._leases: dict[str, Lease] = {}
        self._view = None if shared is None else SharedHaltsView(latch, shared, clock, venue.name, venue.account)
        self._file: RecordFile | None = None
        self._record: EngineRecord | None = None
        self._pairs: Callable[[], tuple[PairRecord, ...]] = tuple
        self._reserved = 0
        self._epoch_owed = False
        self._fault = ""
        self._written_s = 0.0
        """The boot time at which the newest record was made that others can read."""
        self._write_in = write_in
        self._writing: asyncio.Future[None] | None = None
        self._news = asyncio.Event()
        self._told: set[str] = set()
        self._wake = asyncio.Event()

    async def claim(self, symbols: Sequence[str]) -> None:
        try:
            for symbol in symbols:
                self._locks[symbol] = PairLock(self._state_dir, self._venue.name, self._owner, symbol)
            remove_old(self._state_dir, self._venue.name, self._venue.account, self._clock)
            if self._shared is None:
                return
            names = [lease_name(self._venue.name, self._owner, symbol) for symbol in symbols]
            with self._noting("lease"):
                if holder := await look_for_owner(self._shared, self._clock, names):
                    said = f"{holder} quotes on {self._venue.name}, account {self._venue.account}, already"
                    raise PairHeld(f"{said}, by its lease in {self._shared.where}", "stop it first")
            # What is halted there is to be seen from the start on.
            await self._noted("halts", self._step_view)
        except BaseException:
            self._let_go()
            raise

    async def floor(self, seen: int) -> int:
        floor = max(seen, self._clock.wall_ms() // 1000)
        if self._shared is None:
            return seen
        with self._noting("epoch"):
            self._reserved = await self._shared.reserve_epoch(self._venue.name, self._owner, floor)
        return max(seen, self._reserved - 1)

    def begin(self, epoch: int, pairs: Callable[[], tuple[PairRecord, ...]]) -> None:
        venue, clock = self._venue, self._clock
        host, boot_id = this_machine()
        # The folder knew a larger epoch, or Redis was away: it is told of this one when it can be.
        self._epoch_owed = epoch != self._reserved
        self._pairs = pairs
        self._file = RecordFile(record_path(self._state_dir, venue.name, venue.account, epoch))
        self._record = EngineRecord(
            venue=venue.name,
            account=venue.account,
            user_id=venue.user_id,
            epoch=epoch,
            host=host,
            boot_id=boot_id,
            pid=os.getpid(),
            version=self._version,
            mode=venue.mode,
            landing_time_s=venue.landing_time_s,
            started_ms=clock.wall_ms(),
            written_ms=0,
            written_s=0.0,
            beat=0,
        )
        for symbol, lock in self._locks.items():
            lock.tell(epoch)
            if self._shared is not None:
                name = lease_name(venue.name, self._owner, symbol)
                token = f"engine {epoch} (pid {os.getpid()} on {host}, {secrets.token_hex(4)})"
                self._leases[symbol] = Lease(name, token, self._shared, clock, venue.landing_time_s)
        self._record = self._made(self._record)
        self._file.write(self._record)
        self._written_s = self._record.written_s

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_record())
            if self._shared is not None:
                tasks.create_task(self._keep_shared(self._shared))
                tasks.create_task(self._listen(self._shared))

    def look(self) -> None:
        if self._record is not None and self._in_force() != self._record.acknowledged:
            self._tell()

    def answered(self) -> None:
        record = self._record
        if record is None or not record.acknowledged or not record.unanswered():
            return
        if replace(record, pairs=self._pairs()).unanswered() == 0:
            self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._wake.set()

    def hold(self, symbol: str) -> Hold | None:
        if self._fault:
            return Hold("held", self._fault)
        unseen_s = self._clock.boot_s() - self._written_s
        if unseen_s > RECORD_MAX_AGE_S and self._file is not None:
            return Hold("held", f"the engine's record could not be written for {unseen_s:.1f} s")
        if self._view is None:
            return None
        lease = self._leases.get(symbol)
        held = None if lease is None else lease.hold()
        if held is not None and held.hands_off:
            return held
        return self._view.hold() or held

    def signing(self) -> Hold | None:
        if self._file is None:
            return Hold("held", "the engine has no record yet")
        self._file.signed(self._clock.boot_s())
        return None

    async def end(self) -> None:
        settled = self._record is None or replace(self._record, pairs=self._pairs()).unanswered() == 0
        leases, self._leases = list(self._leases.values()), {}
        if self._shared is not None and self._record is not None:
            record = None if settled else encoded(self._record)
            with suppress(SharedUnreadable, TimeoutError):  # the lease runs out by itself
                async with asyncio.timeout(END_WITHIN_S):
                    for lease in leases:
                        await lease.release(settled=settled)
                    await self._shared.put(self._venue.name, self._venue.account, self._record.epoch, record)
        if self._writing is not None:
            with suppress(TimeoutError):  # a disk that hangs; the file lets nothing more of this engine in
                async with asyncio.timeout(END_WITHIN_S):
                    await asyncio.gather(self._writing, return_exceptions=True)
        if self._file is not None:
            self._file.close(keep=not settled)
            self._file = self._record = None
        self._let_go()

    def abandon(self) -> None:
        """What the end of the process does to it, and no more: for a simulation of ``kill -9``."""
        if self._file is not None:
            self._file.close(keep=True)
            self._file = self._record = None
        self._leases = {}
        self._let_go()

    def _let_go(self) -> None:
        locks, self._locks = self._locks, {}
        for lock in locks.values():
            lock.release()

    # The record

    async def _keep_record(self) -> None:
        while True:
            self._news.clear()
            await self._write()
            with suppress(TimeoutError):
                async with asyncio.timeout(WRITE_EVERY_S):
                    await self._news.wait()

    async def _write(self) -> None:
        """Write the record. Where that cannot be done nothing is placed, for nobody could tell that it was stopped."""
        if self._file is None or self._record is None:
            return
        self._record = record = self._made(self._record)
        self._writing = asyncio.ensure_future(self._write_in(partial(self._file.write, record)))
        try:
            await asyncio.shield(self._writing)
        except StateUnreadable as error:
            self._fault = str(error)
            self._tell_once("record", self._fault, "placing nothing until it can be written")
        else:
            self._fault, self._written_s = "", record.written_s
            self._told.discard("record")

    def _made(self, before: EngineRecord) -> EngineRecord:
        """How all is now."""
        return replace(
            before,
            written_ms=self._clock.wall_ms(),
            written_s=self._clock.boot_s(),
            beat=before.beat + 1,
            pairs=self._pairs(),
            acknowledged=self._in_force(),
            held=next((hold.detail for symbol in self._locks if (hold := self.hold(symbol))), ""),
        )

    # Redis

    async def _keep_shared(self, shared: Shared) -> None:
        while True:
            await self._share(shared)
            with suppress(TimeoutError):
                async with asyncio.timeout(WRITE_EVERY_S):
                    await self._wake.wait()
            self._wake.clear()

    async def _share(self, shared: Shared) -> None:
        """Each part for itself and all at once: neither rubbish in one nor a slow line may cost a lease."""
        await asyncio.gather(
            self._noted("halts", self._step_view),
            self._noted("lease", partial(self._step_leases, shared)),
            self._noted("record in Redis", partial(self._put_record, shared)),
        )

    async def _step_view(self) -> None:
        if self._view is not None:
            await self._view.step()
            self.look()

    def _in_force(self) -> tuple[str, ...]:
        """The names of the halts that were read now; none where they cannot be."""
        try:
            return tuple(halt.uid for halt in self._latch.halts())
        except StateUnreadable:
            return ()

    async def _step_leases(self, shared: Shared) -> None:
        leases = list(self._leases.values())
        asked_s = self._clock.boot_s()
        now = await shared.owners([lease.name for lease in leases]) if leases else []
        for lease, owner in zip(leases, now, strict=True):
            await lease.step(owner, asked_s)
            if lease.superseded_by:
                what = f"{lease.superseded_by} has the lease of {lease.name} now"
                self._tell_once(f"superseded {lease.name}", what, "placing no more there")

    async def _put_record(self, shared: Shared) -> None:
        record = self._record
        if record is None:
            return
        if self._epoch_owed:
            await shared.reserve_epoch(self._venue.name, self._owner, record.epoch - 1)
            self._epoch_owed = False
        await shared.put(self._venue.name, self._venue.account, record.epoch, encoded(record))

    async def _listen(self, shared: Shared) -> None:
        while True:
            try:
                await shared.changed()
            except SharedUnreadable:  # told by whoever asks; this only waits
                await self._clock.sleep(LISTEN_AGAIN_S)
            self._wake.set()

    # Faults that last are told once

    async def _noted(self, what: str, doing: Callable[[], Awaitable[None]]) -> None:
        with self._noting(what):
            await doing()

    @contextmanager
    def _noting(self, what: str) -> Iterator[None]:
        """What Redis or the folder cannot do now is told once until it can, and placements are held meanwhile."""
        try:
            yield
        except StateUnreadable as error:
            self._tell_once(what, str(error), "placing nothing until it can be asked")
        else:
            self._told.discard(what)

    def _tell_once(self, what: str, detail: str, action: str) -> None:
        if what not in self._told:
            self._told.add(what)
            self._report(Faulted("", self._clock.wall_ms(), "shared", detail, action))
