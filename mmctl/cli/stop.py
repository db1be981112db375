"""How a stop verb stops: halt first, then cancel, then list until the venue is proven empty.

Needs neither a feed nor a running engine, nor a profile that is right; with ``--venue`` none at all. What is imported
here is little: how soon the first request leaves is a measured number.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mmctl.bootstrap_stop import stop_clock, stop_venue
from mmctl.cli.diary import write_down
from mmctl.cli.halting import Halting, scopes_of
from mmctl.cli.options import Output, note, warn_of_environment
from mmctl.cli.shared_place import SharedPlace, shared_place
from mmctl.cli.stop_receipt import Receipt, exit_code, interrupted_entries, journal_entries, receipt, tell_receipt
from mmctl.cli.stop_targets import StopAsked, Target, targets, tell
from mmctl.cli.sweeping import sweeping
from mmctl.engine.beside import beside
from mmctl.engine.everywhere import FOLDER_TIMEOUT_S
from mmctl.engine.halt import FileHaltLatch
from mmctl.engine.lock import sharing, stop_lock
from mmctl.engine.registry import Registry
from mmctl.engine.roll import Roll
from mmctl.engine.sweep import LONGEST_PAUSE_S, Sweeper
from mmctl.engine.swept import Scope, StopVenue, Swept
from mmctl.errors import (
    EXIT_CHANGES,
    EXIT_DONE,
    EXIT_USAGE,
    EXIT_VENUE,
    UsageError,
    VenueError,
    VenueUnreachable,
)
from mmctl.ports import Clock
from mmctl.settings import state_dir

OPEN_AGAIN_S = 1.0
"""How soon a venue that did not answer is tried again."""

ACCOUNT_PAUSE_S = 2.0
"""How often at most all symbols are listed while the venue is watched: that costs 80 of the 6,000 a minute."""

WORST_FIRST = (EXIT_VENUE, EXIT_CHANGES, EXIT_USAGE, EXIT_DONE)
"""Of several accounts the worst end counts: unread, then orders that remain, then what could not be tried."""


async def stop(asked: StopAsked, output: Output) -> int:
    """Stop every account in scope, all at once; returns the worst exit code.

    A fault of one account holds up no other. Raises ``UsageError`` where nothing that is asked for can be
    stopped from here.
    """
    found = targets(asked.scope)
    place = shared_place(asked.scope.redis_url, found.redis_url)
    chosen, unusable = _with_venues(found.targets, asked)
    tell(f"stopping {asked.layer or 'all'}", [target for target, _ in chosen])
    warn_of_environment()
    latch = FileHaltLatch(state_dir(os.environ))
    # A stop outlives the terminal that it was asked for on.
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: None)
    terminated = _cancelled_by_sigterm()
    try:
        ends = await asyncio.gather(
            *(_stop_and_tell(venue, target, asked, latch, place, output) for target, venue in chosen),
            return_exceptions=True,
        )
    except asyncio.CancelledError:
        note(f"interrupted: own orders may remain, {'halts stay set' if asked.halt else 'no halt was set'}")
        if not terminated.is_set():
            raise
        return EXIT_CHANGES
    finally:
        await place.close()
    for end in ends:
        if isinstance(end, BaseException):
            raise end
    missed = [*found.faults, *map(str, unusable)]
    for line in missed:
        note(f"{line}: nothing was done there")
    codes = [end for end in ends if isinstance(end, int)] + [EXIT_USAGE for _ in missed]
    return min(codes, key=WORST_FIRST.index)


def _cancelled_by_sigterm() -> asyncio.Event:
    """SIGTERM interrupts this task as Ctrl-C does, with its last words; the event is set where it came."""
    stopping, terminated = asyncio.current_task(), asyncio.Event()

    def terminate() -> None:
        terminated.set()
        if stopping is not None:
            stopping.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
    return terminated


def _with_venues(found: Sequence[Target], asked: StopAsked) -> tuple[list[tuple[Target, StopVenue]], list[UsageError]]:
    """The targets that can be stopped from here, and why others cannot. Raises ``UsageError`` where none can.

    A bulk cancel would end far and foreign orders: never for near, and foreign ones only where that was said.
    """
    usable: list[tuple[Target, StopVenue]] = []
    unusable: list[UsageError] = []
    for target in found:
        bulk = asked.layer is None and (target.account.exclusive or asked.include_foreign)
        try:
            usable.append((target, stop_venue(target.account, several=target.several, bulk=bulk)))
        except UsageError as error:
            unusable.append(error)
    if not usable:
        raise unusable[0]
    return usable, unusable


async def _stop_and_tell(
    venue: StopVenue, target: Target, asked: StopAsked, latch: FileHaltLatch, place: SharedPlace, output: Output
) -> int:
    """Stop one account and show how it ended; returns its exit code."""
    halting = Halting(latch, place)
    try:
        stopped = await stop_account(venue, target, asked, latch, place, stop_clock(), halting)
    except asyncio.CancelledError:
        await write_down(latch.path.parent, interrupted_entries(target, asked, halting.halts))
        raise
    finally:
        await venue.close()
    try:
        tell_receipt(stopped, output)
    finally:  # whoever cannot read it there, on a full disk, finds it here
        await write_down(latch.path.parent, journal_entries(target, asked, stopped))
    return exit_code(stopped)


async def stop_account(
    venue: StopVenue,
    target: Target,
    asked: StopAsked,
    latch: FileHaltLatch,
    place: SharedPlace,
    clock: Clock,
    halting: Halting | None = None,
) -> Receipt:
    """Halt, sweep, and write the receipt of one account. Never raises for what venue, state folder and Redis do.

    ``halting`` is given where a stop is tried again: what was halted then stays so.
    """
    account, state_dir = target.account, latch.path.parent
    registry = Registry(state_dir, account.venue, account.name, clock, place.where)
    halting = halting or Halting(latch, place)
    async with contextlib.AsyncExitStack() as stack:
        await _share_lock(stack, stop_lock(state_dir, account.venue, account.name))
        await stack.enter_async_context(sweeping(place, account.venue, account.name, asked.by))
        if asked.halt:
            await halting.begin(
                scopes_of(account.venue, account.name, target.symbols, asked.layer), asked.why, asked.by
            )
        reading = asyncio.create_task(registry.keep_reading(place.get))
        try:
            swept = await _sweep(venue, target, asked, registry, halting.halts.uids, clock)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        return await receipt(venue, target, asked, await halting.end(), swept, latch)


async def _share_lock(stack: contextlib.AsyncExitStack, path: Path) -> None:
    """Hold a stop's lock until ``stack`` ends; where it cannot be had, or not soon, no halt can be set, which is told.

    Where a thread has it late nobody gives it back: it ends with the process.
    """
    lock = sharing(path)
    taking = asyncio.ensure_future(beside(lock.__enter__))
    await asyncio.wait((taking,), timeout=FOLDER_TIMEOUT_S)
    with contextlib.suppress(OSError):
        if taking.done():
            taking.result()
            stack.push(lock)


async def _sweep(
    venue: StopVenue, target: Target, asked: StopAsked, registry: Registry, uids: Sequence[str], clock: Clock
) -> Swept:
    roll = Roll(
        partial(registry.now, ended=True),
        uids,
        layer=asked.layer,
        symbols=target.symbols,
        landing_time_s=venue.landing_time_s,
        stranger_interval_s=target.interval_s,
    )
    sweeper = Sweeper(
        venue,
        clock,
        Scope(target.symbols, asked.layer, foreign=asked.include_foreign),
        deadline_s=asked.deadline_s,
        roll=roll,
        longest_pause_s=LONGEST_PAUSE_S if target.symbols else ACCOUNT_PAUSE_S,
    )
    venue.listen(lambda _symbol, event: sweeper.on_event(event))
    unread = await _open(venue, clock, clock.monotonic() + asked.deadline_s)
    return Swept(unread=unread) if unread else await sweeper.run()


async def _open(venue: StopVenue, clock: Clock, deadline_s: float) -> str:
    """Open the venue, trying again until the deadline where it does not answer; returns why it is not open."""
    while True:
        try:
            await venue.open()
        except VenueUnreachable as error:
            if clock.monotonic() >= deadline_s:
                return str(error)
        except VenueError as error:
            return str(error)
        else:
            return ""
        await clock.sleep(min(OPEN_AGAIN_S, max(0.0, deadline_s - clock.monotonic())))
