"""How a stop verb stops: halt first, then cancel, then list until the venue is proven empty.

Needs neither a feed nor a running engine, nor a profile that is right; with ``--venue`` none at all. What is imported
here is little: how soon the first request leaves is a measured number.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from decimal import Decimal
from typing import TYPE_CHECKING

from mmctl.bootstrap_stop import stop_clock, stop_venue
from mmctl.cli.options import Output, note, say, warn_of_environment
from mmctl.cli.stop_targets import StopAsked, Target, targets, tell
from mmctl.core.instrument import Instrument
from mmctl.core.order import Layer, Order, State, decode_own_id
from mmctl.engine.halt import FileHaltLatch, who
from mmctl.engine.lock import sharing, stop_lock
from mmctl.engine.sweep import LONGEST_PAUSE_S, Scope, StopVenue, Sweeper, Swept
from mmctl.errors import (
    EXIT_CHANGES,
    EXIT_DONE,
    EXIT_USAGE,
    EXIT_VENUE,
    StateUnreadable,
    UsageError,
    VenueError,
    VenueUnreachable,
)
from mmctl.ports import Clock, Halt, HaltScope
from mmctl.settings import state_dir

if TYPE_CHECKING:
    from mmctl.core.report import PairOrders, Stopped

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
    found, unread = targets(asked.scope)
    chosen, unusable = _with_venues(found, asked)
    tell(f"stopping {asked.layer or 'all'}", [target for target, _ in chosen])
    warn_of_environment()
    latch = FileHaltLatch(state_dir(os.environ))
    # A stop outlives the terminal that it was asked for on.
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: None)
    try:
        ends = await asyncio.gather(
            *(_stop_and_tell(venue, target, asked, latch, output) for target, venue in chosen), return_exceptions=True
        )
    except asyncio.CancelledError:
        note(f"interrupted: own orders may remain, {'halts stay set' if asked.halt else 'no halt was set'}")
        raise
    for end in ends:
        if isinstance(end, BaseException):
            raise end
    missed = [*unread, *map(str, unusable)]
    for line in missed:
        note(f"{line}: nothing was done there")
    codes = [end for end in ends if isinstance(end, int)] + [EXIT_USAGE for _ in missed]
    return min(codes, key=WORST_FIRST.index)


def _with_venues(found: list[Target], asked: StopAsked) -> tuple[list[tuple[Target, StopVenue]], list[UsageError]]:
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
    venue: StopVenue, target: Target, asked: StopAsked, latch: FileHaltLatch, output: Output
) -> int:
    """Stop one account and show how it ended; returns its exit code."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # where no lock can be had, no halt can be set, which is told
            stack.enter_context(sharing(stop_lock(latch.path.parent, target.account.venue, target.account.name)))
        halt = _halt(latch, target, asked) if asked.halt else "not_set"
        try:
            result, swept = await _stop_one(venue, target, asked, halt, latch, stop_clock())
        finally:
            await venue.close()
    _tell(result, swept, output)
    return exit_code(result, swept)


def _tell(result: Stopped, swept: Swept, output: Output) -> None:
    if output is Output.JSON:
        from mmctl.views import jsonlines

        say(jsonlines.stopped(result))
    else:
        from mmctl.views import text

        say(text.stopped(result))
    for epoch in sorted(swept.late_epochs):
        note(f"an engine of epoch {epoch} still places orders: stop it")
    if swept.refusal and not swept.proven:
        note(f"the venue last refused a cancel: {swept.refusal}")


def _halt(latch: FileHaltLatch, target: Target, asked: StopAsked) -> str:
    """Set the halt; a stop goes on without it, and says so."""
    for symbol in target.symbols or (None,):
        scope = HaltScope(target.account.venue, target.account.name, symbol, asked.layer)
        try:
            latch.set(scope, by=who(), at_ms=time.time_ns() // 1_000_000, why=asked.why)
        except StateUnreadable as error:
            note(f"the halt could not be set, a running engine will quote again: {error}")
            return "failed"
    return "set"


async def _stop_one(
    venue: StopVenue, target: Target, asked: StopAsked, halt: str, latch: FileHaltLatch, clock: Clock
) -> tuple[Stopped, Swept]:
    sweeper = Sweeper(
        venue,
        clock,
        Scope(target.symbols, asked.layer, foreign=asked.include_foreign),
        deadline_s=asked.deadline_s,
        stranger_wait_s=target.interval_s + venue.landing_time_s,
        longest_pause_s=LONGEST_PAUSE_S if target.symbols else ACCOUNT_PAUSE_S,
    )
    venue.listen(lambda _symbol, event: sweeper.on_event(event))
    unread = await _open(venue, clock, clock.monotonic() + asked.deadline_s)
    swept = Swept(unread=unread) if unread else await sweeper.run()
    try:
        remaining = None if swept.remaining is None else await _remaining(venue, target, swept)
    except VenueError as error:  # only the prices of what remains are in the dark: that it remains is told
        remaining, swept.unread = None, f"{len(swept.remaining or ())} own orders remain: {error}"
    from mmctl.core.report import Stopped  # not before there is something to tell

    result = Stopped(
        venue=target.account.venue,
        account=target.account.name,
        scope=asked.layer or "all",
        pairs=target.names,
        halt=halt,
        proof=_proof(swept),
        engines=(),
        cancelled=tuple(swept.cancelled),
        remaining=remaining,
        foreign=swept.foreign,
        far_left=swept.others if asked.layer is Layer.NEAR or swept.others is None else 0,
        position=None if swept.remaining is None else await _positions(venue, target),
        halts=tuple(str(one) for one in _in_force(latch)),
        first_empty_ms=swept.first_empty_ms,
        took_ms=swept.took_ms,
        unread=swept.unread,
    )
    return result, swept


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


def _proof(swept: Swept) -> str:
    if not swept.proven:
        return "not_proven"
    return "waited" if swept.waited else "none"


def exit_code(result: Stopped, swept: Swept) -> int:
    """0 only where the venue is proven empty, the halt stands where it was asked for, and nobody places."""
    if swept.remaining is None:
        return EXIT_VENUE
    return EXIT_DONE if swept.proven and result.halt != "failed" and not swept.late_epochs else EXIT_CHANGES


async def _remaining(venue: StopVenue, target: Target, swept: Swept) -> tuple[PairOrders, ...]:
    """What the last listing still showed, by symbol, in the venue's own steps."""
    from mmctl.core.report import PairOrders

    names = {pair.symbol: pair.name for pair in target.pairs}
    orders: dict[str, list[Order]] = {}
    instruments: dict[str, Instrument] = {}
    for symbol, seen in swept.remaining or ():
        own = decode_own_id(seen.client_id)
        if own is None:
            continue
        if symbol not in instruments:
            instruments[symbol] = await venue.instrument(symbol)
        instrument = instruments[symbol]
        orders.setdefault(symbol, []).append(
            Order(
                seen.client_id,
                own.layer,
                seen.side,
                instrument.ticks(seen.price, seen.side),
                instrument.lots(seen.qty),
                instrument.lots(seen.filled),
                State.OPEN,
                seen.order_id,
                own.epoch,
            )
        )
    return tuple(
        PairOrders(names.get(symbol, symbol), instruments[symbol], tuple(found)) for symbol, found in orders.items()
    )


async def _positions(venue: StopVenue, target: Target) -> dict[str, Decimal] | None:
    """What the account holds of each pair's base currency; ``None`` where that could not be read."""
    if not target.pairs:
        return {}
    try:
        told = await venue.balances()
    except VenueError:
        return None
    return {
        pair.name: told.assets[pair.base].total if pair.base in told.assets else Decimal(0) for pair in target.pairs
    }


def _in_force(latch: FileHaltLatch) -> tuple[Halt, ...]:
    try:
        return latch.halts()
    except StateUnreadable as error:
        note(str(error))
        return ()
