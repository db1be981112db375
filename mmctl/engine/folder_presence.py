"""The presence of an engine on a venue that others can reach: by the state folder, and with Redis on every host.

What it cannot tell others holds its placements: nobody could stop it, or know that it has stopped.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from mmctl.core.order import Layer
from mmctl.core.report import Report
from mmctl.engine.beside import DoneBy, at_once
from mmctl.engine.halt import FileHaltLatch
from mmctl.engine.hold import Hold
from mmctl.engine.lasting import LastingFaults
from mmctl.engine.lock import PairLock
from mmctl.engine.record_file import RecordFile
from mmctl.engine.record_tidy import remove_old
from mmctl.engine.records import EngineRecord, PairRecord, record_path, this_machine
from mmctl.engine.shared_presence import SharedPresence
from mmctl.engine.waiting import news_or
from mmctl.errors import SharedUnreadable, StateUnreadable
from mmctl.ports import Clock, Shared, Venue

WRITE_EVERY_S = 0.5
RECORD_MAX_AGE_S = 2.0
"""How old what others see of an engine may be before it places nothing."""

READY_WITHIN_S = 2.0
"""How long the first turns wait for a lease that nobody else has: a far ladder would miss it for a whole interval."""

READY_EVERY_S = 0.05
END_WITHIN_S = 2.0
"""How long a clean end may take to say so in Redis: after that others wait for the lease to run out."""


class FolderPresence:
    """Known by the state folder, and with ``shared`` by Redis. ``version`` is mmctl's, for people.

    ``done_by`` carries out what is written while the engine quotes: beside the loop, so that a slow disk holds nothing
    else up. Without it that is done here and now.
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
        done_by: DoneBy | None = None,
    ) -> None:
        self._state_dir = state_dir
        self._venue = venue
        self._clock = clock
        self._latch = latch
        self._version = version
        self._done_by = done_by
        self._faults = LastingFaults(clock, report, "shared")
        self._elsewhere = (
            None
            if shared is None
            else SharedPresence(shared, venue, clock, latch, self._faults, self.look, done_by or at_once)
        )
        self._locks: dict[str, PairLock] = {}
        self._file: RecordFile | None = None
        self._record: EngineRecord | None = None
        self._pairs: Callable[[], tuple[PairRecord, ...]] = tuple
        self._fault = ""
        self._written_s = 0.0
        """The boot time at which the newest record was made that others can read."""
        self._writing: asyncio.Future[None] | None = None
        self._news = asyncio.Event()

    async def claim(self, symbols: Sequence[str]) -> None:
        owner = self._venue.user_id or self._venue.account
        try:
            for symbol in symbols:
                self._locks[symbol] = PairLock(self._state_dir, self._venue.name, owner, symbol)
            remove_old(self._state_dir, self._venue.name, self._venue.account, self._clock)
            if self._elsewhere is not None:
                await self._elsewhere.claim(symbols)
        except BaseException:
            self._let_go()
            raise

    async def floor(self, seen: int) -> int:
        return seen if self._elsewhere is None else await self._elsewhere.floor(seen)

    def begin(self, epoch: int, pairs: Callable[[], tuple[PairRecord, ...]]) -> None:
        venue = self._venue
        host, boot_id = this_machine()
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
            started_ms=self._clock.wall_ms(),
            written_ms=0,
            written_s=0.0,
            beat=0,
        )
        for lock in self._locks.values():
            lock.tell(epoch)
        if self._elsewhere is not None:
            self._elsewhere.begin(self._record, list(self._locks))
        self._record = self._made(self._record)
        self._file.write(self._record)
        self._written_s = self._record.written_s

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_record())
            if self._elsewhere is not None:
                tasks.create_task(self._elsewhere.keep(lambda: self._record))
                tasks.create_task(self._elsewhere.listen())

    async def ready(self) -> None:
        until_s = self._clock.monotonic() + READY_WITHIN_S
        while self._clock.monotonic() < until_s and any(self.hold(symbol) for symbol in self._locks):
            await self._clock.sleep(READY_EVERY_S)

    def look(self) -> None:
        if self._record is not None and self._in_force() != self._record.acknowledged:
            self._news.set()

    def answered(self) -> None:
        record = self._record
        if record is None or not record.acknowledged or not record.left():
            return
        now = replace(record, pairs=self._pairs())
        over = any(record.left(layer) and not now.left(layer) for layer in Layer)
        if over or (record.unanswered() and not now.unanswered()):
            self._news.set()

    def hold(self, symbol: str) -> Hold | None:
        if self._fault:
            return Hold("held", self._fault)
        unseen_s = self._clock.boot_s() - self._written_s
        if unseen_s > RECORD_MAX_AGE_S and self._file is not None:
            return Hold("held", f"the engine's record could not be written for {unseen_s:.1f} s")
        return None if self._elsewhere is None else self._elsewhere.hold(symbol)

    def signing(self) -> Hold | None:
        if self._file is None:
            return Hold("held", "the engine has no record yet")
        self._file.signed(self._clock.boot_s())
        return None

    async def end(self, *, clean: bool = True) -> None:
        settled = self._record is None or replace(self._record, pairs=self._pairs()).unanswered() == 0
        keep = not (settled and clean)
        if self._elsewhere is not None and self._record is not None:
            with suppress(SharedUnreadable, TimeoutError):  # the lease runs out by itself
                async with asyncio.timeout(END_WITHIN_S):
                    await self._elsewhere.end(self._record, settled=settled, keep=keep)
        if self._writing is not None:
            with suppress(TimeoutError):  # a disk that hangs; the file lets nothing more of this engine in
                async with asyncio.timeout(END_WITHIN_S):
                    await asyncio.gather(self._writing, return_exceptions=True)
        self._close(keep=keep)

    def abandon(self) -> None:
        """What the end of the process does to it, and no more: for a simulation of ``kill -9``."""
        if self._elsewhere is not None:
            self._elsewhere.abandon()
        self._close(keep=True)

    def _close(self, *, keep: bool) -> None:
        if self._file is not None:
            self._file.close(keep=keep)
            self._file = self._record = None
        self._let_go()

    def _let_go(self) -> None:
        locks, self._locks = self._locks, {}
        for lock in locks.values():
            lock.release()

    async def _keep_record(self) -> None:
        while True:
            self._news.clear()
            await self._write()
            await news_or(self._news, WRITE_EVERY_S)

    async def _write(self) -> None:
        """Write the record. Where that cannot be done nothing is placed, for nobody could tell that it was stopped."""
        if self._file is None or self._record is None:
            return
        before, record = self._record, self._made(self._record)
        self._record = record
        if self._elsewhere is not None and _is_news(before, record):
            self._elsewhere.wake()
        try:
            if self._done_by is None:
                self._file.write(record)
            else:
                self._writing = asyncio.ensure_future(self._done_by(partial(self._file.write, record)))
                await asyncio.shield(self._writing)
        except StateUnreadable as error:
            self._fault = str(error)
            self._faults.tell("record", self._fault, "placing nothing until it can be written")
        else:
            self._fault, self._written_s = "", record.written_s
            self._faults.over("record")

    def _made(self, before: EngineRecord) -> EngineRecord:
        """How all is now."""
        pairs = self._pairs()
        held = next((hold.detail for symbol in self._locks if (hold := self.hold(symbol))), "")
        if not held and pairs and all(pair.held for pair in pairs):
            held = pairs[0].held
        return replace(
            before,
            written_ms=self._clock.wall_ms(),
            written_s=self._clock.boot_s(),
            beat=before.beat + 1,
            pairs=pairs,
            acknowledged=self._in_force(),
            held=held,
        )

    def _in_force(self) -> tuple[str, ...]:
        """The names of the halts that were read now; none where they cannot be."""
        try:
            return tuple(halt.uid for halt in self._latch.readable())
        except StateUnreadable:
            return ()


def _is_news(before: EngineRecord, now: EngineRecord) -> bool:
    """Whether somebody may wait for what has changed: a stop, for acknowledgements and last answers."""
    if before.acknowledged != now.acknowledged:
        return True
    return bool(now.acknowledged) and before.left() != now.left()
