"""``mmctl guard``: a process apart from the engine that stops what an engine that hangs or died left behind.

It goes on whatever happens: a venue or a Redis that is away is tried again, and only a person lifts the halts it set.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmctl.bootstrap_stop import stop_clock, stop_venue
from mmctl.cli.diary import write_down
from mmctl.cli.guard_tell import Teller
from mmctl.cli.guard_try import try_venue
from mmctl.cli.halting import Halting, scopes_of
from mmctl.cli.options import Output, note, warn_of_environment
from mmctl.cli.shared_place import SharedPlace, shared_place
from mmctl.cli.stop import stop_account
from mmctl.cli.stop_receipt import journal_entries
from mmctl.cli.stop_targets import ScopeAsked, StopAsked, Target, targets
from mmctl.cli.stopper import Stopper
from mmctl.cli.supervisor import Supervisor, keep_told, supervisor
from mmctl.engine.guarding import Alarm, Watch
from mmctl.engine.halt import FileHaltLatch, who
from mmctl.engine.lock import locked
from mmctl.engine.record_tidy import remove
from mmctl.engine.records import record_path
from mmctl.engine.registered import Life
from mmctl.engine.registry import Registry
from mmctl.errors import StateUnreadable, UsageError, VenueUnreachable
from mmctl.settings import state_dir

LOOK_EVERY_S = 0.25
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
"""How long a guard waits before it stops again what was not proven; doubled each time."""

STOP_DEADLINE_S = 60.0
LATER_S = 30.0
"""How much longer a stop may take than a hung engine has to be watched: with less it would never be proven."""

LATE_S = 5.0
"""A guard that has not looked for so long does not get on itself."""


@dataclass(frozen=True, slots=True)
class GuardAsked:
    """What the command line asked for."""

    scope: ScopeAsked
    after_s: float


class Guard:
    """Watches the engines of one account, and stops it where one of them is in trouble for too long."""

    def __init__(
        self, target: Target, asked: GuardAsked, latch: FileHaltLatch, place: SharedPlace, teller: Teller
    ) -> None:
        account = target.account
        self.target = target
        self._latch = latch
        self._place = place
        self._tell = teller
        self._clock = stop_clock()
        self._registry = Registry(latch.path.parent, account.venue, account.name, self._clock, place.where)
        self._watch = Watch(self._clock, asked.after_s, place.where)
        self._waiting_told = False
        self._stopping: asyncio.Task[None] | None = None
        self._acted_on: set[str] = set()
        self._wider = asyncio.Event()
        """More engines are in trouble than those that are acted on."""
        self.acting = ""
        self.looked_s = 0.0

    async def check(self) -> None:
        """Make sure that this guard can stop what it watches.

        Raises ``StateUnreadable``, ``UsageError`` where keys are missing, and ``VenueRefused``. That the venue cannot
        be reached now is told: it may be there when it matters.
        """
        try:
            with locked(self._latch.path.with_suffix(".lock")):
                self._latch.readable()
        except OSError as error:
            folder = self._latch.path.parent
            raise StateUnreadable(
                f"the state folder {folder} cannot be written: {error.strerror}: this guard could halt nothing",
                "mend its permissions, or set MMCTL_STATE_DIR",
            ) from error
        for state in self._registry.now():
            if state.life is Life.UNREADABLE and state.record is None and state.where != self._place.where:
                raise StateUnreadable(f"{state.detail}: this guard could see nothing", "mend it")
        try:
            await try_venue(self.target)
        except VenueUnreachable as error:
            self._tell.line(self.target, "unreachable", f"{error}: it is asked again when it matters")

    async def run(self) -> None:
        """Watch until cancelled."""
        reading = asyncio.create_task(self._registry.keep_reading(self._place.get))
        try:
            await self._registry.read(self._place.get)
            while True:
                try:
                    self._look()
                except Exception as error:  # noqa: BLE001 - saves the guard: a fault of ours must not end the watching
                    self._tell.line(self.target, "fault", f"{type(error).__name__}: {error}; watching goes on")
                await self._clock.sleep(LOOK_EVERY_S)
        finally:
            tasks = [task for task in (reading, self._stopping) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def is_late(self) -> bool:
        """Whether this guard itself does not get on."""
        return self._clock.monotonic() - self.looked_s > LATE_S

    def _look(self) -> None:
        """Tell what is new, and see to it that somebody acts on what is wrong, while the looking goes on."""
        for finding in self._watch.look(self._registry.now(ended=True)):
            self._tell.finding(self.target, finding, self._watch.after_s)
        if not self._watch.engines and not self._waiting_told:
            self._tell.line(self.target, "waiting", "no engine yet")
        self._waiting_told = not self._watch.engines
        self.looked_s = self._clock.monotonic()
        alarm, stopping = self._watch.alarm(), self._stopping
        if stopping is not None and stopping.done():
            self.acting, self._stopping = "", None
            stopping.result()
        if alarm is None:
            return
        if self._stopping is None:
            self._acted_on = _names(alarm)
            self._wider.clear()
            self._stopping = asyncio.create_task(self._act(alarm))
        elif _names(alarm) - self._acted_on:
            self._wider.set()

    async def _act(self, alarm: Alarm) -> None:
        """Halt and stop until that is proven, however often it takes, or until more engines are to be acted on."""
        account = self.target.account
        symbols = self.target.symbols if alarm.symbols is None else alarm.symbols
        target = replace(self.target, symbols=symbols)
        asked = StopAsked(
            None, ScopeAsked((), None, None, None, False), STOP_DEADLINE_S, True, alarm.why, by=f"guard, {who()}"
        )
        self.acting = alarm.why
        self._tell.line(target, "stopping", alarm.why)
        halting = Halting(self._latch, self._place)
        halting.take_over(scopes_of(account.venue, account.name, symbols, None))
        pause_s = FIRST_PAUSE_S
        while not await self._stop_unless_wider(target, asked, halting):
            if self._wider.is_set():
                return
            self._tell.line(target, "not_proven", f"stopping again in {pause_s:g} s")
            if await self._is_wider(pause_s):
                return
            pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)
        self._watch.handled(alarm)
        for engine in alarm.engines:
            if engine.life is Life.DEAD and engine.epoch is not None:
                # All that it left is gone: whoever looks at its record later would only stop once more.
                remove(record_path(self._latch.path.parent, account.venue, account.name, engine.epoch))
        self._tell.line(target, "proven", "halted until `mmctl resume`; watching goes on")

    async def _is_wider(self, within_s: float) -> bool:
        """Wait, and no longer than until more engines are in trouble: whether that is so."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._wider.wait()
        return self._wider.is_set()

    async def _stop_unless_wider(self, target: Target, asked: StopAsked, halting: Halting) -> bool:
        """Stop the account once, but no longer than until more engines are in trouble; whether all is proven."""
        stopping = asyncio.create_task(self._stop_once(target, asked, halting))
        wider = asyncio.create_task(self._wider.wait())
        try:
            await asyncio.wait((stopping, wider), return_when=asyncio.FIRST_COMPLETED)
            return stopping.done() and stopping.result()
        finally:
            stopping.cancel()
            wider.cancel()
            await asyncio.gather(stopping, wider, return_exceptions=True)

    async def _stop_once(self, target: Target, asked: StopAsked, halting: Halting) -> bool:
        """Stop the account once; whether all is proven."""
        try:
            venue = stop_venue(target.account, several=target.several, bulk=target.account.exclusive)
        except UsageError as error:
            self._tell.line(target, "fault", str(error))
            return False
        records = [state.record for state in self._registry.now() if state.record is not None]
        interval_s = max(target.interval_s, *(record.interval_s for record in records), 0.0)
        deadline_s = max(asked.deadline_s, interval_s + venue.landing_time_s + LATER_S)
        asked = replace(asked, deadline_s=deadline_s)
        try:
            stopped = await stop_account(venue, target, asked, self._latch, self._place, self._clock, halting)
        finally:
            await venue.close()
        self._tell.receipt(stopped)
        await write_down(self._latch.path.parent, journal_entries(target, asked, stopped))
        return stopped.proven


def _names(alarm: Alarm) -> set[str]:
    return {engine.name for engine in alarm.engines}


async def guard(asked: GuardAsked, output: Output) -> int:
    """Watch every account in scope until a signal; returns the exit code.

    Raises ``UsageError``, ``StateUnreadable`` and ``VenueRefused`` where this guard could not do what it is there for.
    """
    warn_of_environment()
    found = targets(asked.scope)
    place = shared_place(asked.scope.redis_url, found.redis_url)
    latch, teller = FileHaltLatch(state_dir(os.environ)), Teller(output, place.where)
    watcher = supervisor(os.environ, note)
    stopper = Stopper()
    stopper.last_words = lambda: _last_words(guards)
    guards = [Guard(target, asked, latch, place, teller) for target in found.targets]
    with stopper.listening(hangup=False):
        try:
            teller.introduce(found.targets, found.faults, asked.after_s)
            for one in guards:
                await one.check()
            stopper.started()
            await _watch(guards, stopper, watcher)
        except asyncio.CancelledError:
            if not stopper.reason:
                raise
        finally:
            await place.close()
            watcher.close()
    if words := _last_words(guards):
        note(f"{stopper.reason}: {words}")
    return stopper.code


async def _watch(guards: Sequence[Guard], stopper: Stopper, watcher: Supervisor) -> None:
    """Watch until there is a reason to end."""
    watching = [asyncio.create_task(one.run()) for one in guards]
    watcher.ready(_status(guards))
    telling = asyncio.create_task(
        keep_told(watcher, lambda: _status(guards), lambda: any(one.is_late() for one in guards))
    )
    try:
        await stopper.wanted.wait()
        watcher.stopping(stopper.reason)
    finally:
        for task in (*watching, telling):
            task.cancel()
        await asyncio.gather(*watching, telling, return_exceptions=True)


def _status(guards: Sequence[Guard]) -> str:
    acting = [one.acting for one in guards if one.acting]
    return f"stopping: {'; '.join(acting)}" if acting else f"watching {len(guards)} account{'s' * (len(guards) > 1)}"


def _last_words(guards: Sequence[Guard]) -> str:
    """What is left undone."""
    acting = [f"{one.target.account.venue} account {one.target.account.name}" for one in guards if one.acting]
    return f"a stop of {', '.join(acting)} was under way: own orders may remain, halts stay set" if acting else ""
