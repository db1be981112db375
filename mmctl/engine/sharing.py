"""Halts between this state folder and Redis: what an engine does four times a second, and at once when told.

Every halt of its accounts that it sees there is copied here, so that a missing key lifts nothing; only a resume record
lifts. A halt in force here that is not there (it was set with Redis away, or Redis was flushed) is added there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from mmctl.engine.beside import DoneBy, at_once
from mmctl.engine.everywhere import rubbish_in
from mmctl.engine.halt import FileHaltLatch
from mmctl.engine.hold import Hold
from mmctl.errors import SharedUnreadable, StateUnreadable
from mmctl.ports import Clock, Halt, Shared, SharedHalts

VIEW_MAX_AGE_S = 1.0
"""How old what is known of the halts in Redis may be before nothing is placed on it."""

WRITTEN_WITHIN_S = 0.5
"""How long the disk may hold up everything else that is asked of Redis."""


class SharedHaltsView:
    """What is known of the halts in Redis, of one account."""

    def __init__(
        self,
        latch: FileHaltLatch,
        shared: Shared,
        clock: Clock,
        venue: str,
        account: str,
        done_by: DoneBy = at_once,
    ) -> None:
        self._latch = latch
        self._shared = shared
        self._clock = clock
        self._account = (venue, account)
        self._done_by = done_by
        self._writing: asyncio.Future[object] | None = None
        self._coming: tuple[Halt, ...] = ()
        """Halts that are known to be there, and are not written down here yet."""
        self._fresh_s: float | None = None
        """The boot time at which the newest good answer was asked for."""
        self.fault = ""

    def hold(self) -> Hold | None:
        """Why nothing may be placed now, or ``None``. It ends by itself when Redis answers again."""
        where = self._shared.where
        if self._coming:
            return Hold("held", f"{self._coming[0].why}: that halt in {where} is not written down here yet")
        if self._fresh_s is None:
            return Hold("held", self.fault or f"{where} has not been asked for halts yet")
        age_s = self._clock.boot_s() - self._fresh_s
        if age_s <= VIEW_MAX_AGE_S:
            return None
        return Hold("held", f"what is known of halts in {where} is {age_s:.1f} s old" + self._because())

    def _because(self) -> str:
        return f": {self.fault}" if self.fault else ""

    async def step(self) -> None:
        """Ask Redis, and carry over what is new, both ways. Raises ``StateUnreadable`` where that cannot be done."""
        asked_s = self._clock.boot_s()
        try:
            await self._written()
            view = await self._shared.halts()
            if view.rubbish:
                raise SharedUnreadable(rubbish_in(self._shared, view))
            await self._carry_over(view)
        except StateUnreadable as error:
            self.fault = str(error)
            raise
        self._fresh_s, self.fault = asked_s, ""

    async def _carry_over(self, view: SharedHalts) -> None:
        there = [halt for halt in view.halts.values() if self._is_ours(halt)]
        known_there = self._latch.shared()
        # A mark is missing where a halt was set by a stop that did not hear whether Redis has it.
        if fresh := [halt for halt in there if halt.uid not in known_there and halt.uid not in view.lifted]:
            self._coming = tuple(fresh)
            await self._write(partial(self._latch.copy, fresh))
        self._coming = ()
        here = [halt for halt in self._latch.readable() if self._is_ours(halt)]
        for halt in here:
            if halt.uid in view.lifted:
                by, at_ms = view.lifted[halt.uid]
                await self._write(partial(self._latch.lift, halt.uid, by=by, at_ms=at_ms))
        # A person resumed here while it was not known to be there: that is a resume record as any other.
        if late := self._latch.lifted() & {halt.uid for halt in there} - view.lifted.keys():
            await self._shared.lift(sorted(late), by="mmctl, after a resume here", at_ms=self._clock.wall_ms())
        missing = [halt for halt in here if halt.uid not in view.halts and halt.uid not in view.lifted]
        if missing:
            await self._shared.set(missing)

    async def _write(self, work: Callable[[], object]) -> None:
        """Write in the state folder, beside the loop. Raises ``StateUnreadable``."""
        self._writing = asyncio.ensure_future(self._done_by(work))
        await self._written()

    async def _written(self) -> None:
        """Wait for what is being written, for a bounded time. Raises ``StateUnreadable`` where it is not done by then.

        The write itself goes on: the next step waits for it again, and begins no other.
        """
        if self._writing is None:
            return
        await asyncio.wait((self._writing,), timeout=WRITTEN_WITHIN_S)
        if not self._writing.done():
            raise StateUnreadable("the halt file is not written yet, the disk hangs", "mend that disk")
        writing, self._writing = self._writing, None
        writing.result()

    def _is_ours(self, halt: Halt) -> bool:
        return (halt.scope.venue, halt.scope.account) == self._account
