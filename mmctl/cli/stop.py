"""How a stop verb stops: halt first, then cancel, then list until the venue is proven empty.

Needs neither a feed nor a running engine; with ``--venue`` not even a profile.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from mmctl.bootstrap import live_venue, system_clock
from mmctl.cli.options import Output, load, note, say, warn_of_environment
from mmctl.core.instrument import Instrument
from mmctl.core.order import Layer, Order, State, decode_own_id
from mmctl.core.report import PairOrders, Stopped
from mmctl.core.spec import PairSpec
from mmctl.engine.halt import FileHaltLatch
from mmctl.engine.sweep import Scope, Sweeper, Swept
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
from mmctl.markets import MOCK, VENUES, fold, is_live, nearest
from mmctl.ports import Clock, Halt, HaltScope, Venue
from mmctl.profile import load_profile, profiles_with_live_venue, select_pairs
from mmctl.settings import state_dir
from mmctl.views import jsonlines, text

STRANGER_INTERVAL_S = 30.0
"""The interval that an engine is taken to have of which nothing is known."""

OPEN_AGAIN_S = 1.0
"""How soon a venue that did not answer is tried again."""

WORST_FIRST = (EXIT_VENUE, EXIT_CHANGES, EXIT_USAGE, EXIT_DONE)
"""Of several accounts the worst end counts: unread, then orders that remain, then what could not be tried."""


@dataclass(frozen=True, slots=True)
class StopAsked:
    """What the command line asked for; ``layer`` is ``None`` for both."""

    layer: Layer | None
    pairs: tuple[str, ...]
    profile: str | None
    venue: str | None
    account: str | None
    all_symbols: bool
    deadline_s: float
    halt: bool
    why: str


@dataclass(frozen=True, slots=True)
class Target:
    """One account to stop on: the symbols, or all (``None``), and what is known of their pairs."""

    venue: str
    account: str
    symbols: tuple[str, ...] | None
    specs: tuple[PairSpec, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(spec.name for spec in self.specs) or self.symbols or ()

    @property
    def interval_s(self) -> float:
        """The longest interval at which an engine may still send, in seconds."""
        return max((layer.interval_s for spec in self.specs for layer in spec.layers), default=STRANGER_INTERVAL_S)


async def stop(asked: StopAsked, output: Output) -> int:
    """Stop every account in scope, all at once; returns the worst exit code.

    A fault of one account holds up no other. Raises ``UsageError`` where nothing that is asked for can be
    stopped from here.
    """
    chosen, unusable = _with_venues(targets(asked))
    for target, _ in chosen:
        what = ", ".join(target.names) if target.symbols else "all symbols"
        note(f"stopping {asked.layer or 'all'} on {target.venue}, account {target.account}: {what}")
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
    for error in unusable:
        note(f"{error}: nothing was done there")
    codes = [end for end in ends if isinstance(end, int)] + [EXIT_USAGE for _ in unusable]
    return min(codes, key=WORST_FIRST.index)


def _with_venues(chosen: list[Target]) -> tuple[list[tuple[Target, Venue]], list[UsageError]]:
    """The targets that can be stopped from here, and why others cannot. Raises ``UsageError`` where none can."""
    found: list[tuple[Target, Venue]] = []
    unusable: list[UsageError] = []
    for target in chosen:
        try:
            found.append((target, live_venue(target.venue, target.account)))
        except UsageError as error:
            unusable.append(UsageError(error.message, "mmctl has placed nothing there: cancel on the venue itself"))
    if not found:
        raise unusable[0]
    return found, unusable


async def _stop_and_tell(venue: Venue, target: Target, asked: StopAsked, latch: FileHaltLatch, output: Output) -> int:
    """Stop one account and show how it ended; returns its exit code."""
    halt = _halt(latch, target, asked) if asked.halt else "not_set"
    try:
        result, swept = await _stop_one(venue, target, asked, halt, latch, system_clock())
    finally:
        await venue.close()
    say(jsonlines.stopped(result) if output is Output.JSON else text.stopped(result))
    for epoch in sorted(swept.late_epochs):
        note(f"an engine of epoch {epoch} still places orders: stop it")
    return exit_code(swept, halt)


def targets(asked: StopAsked) -> list[Target]:
    """The accounts in scope. Raises ``UsageError`` for one that nothing outside its process can reach."""
    if asked.venue is not None:
        return [_named_target(asked, asked.venue)]
    if asked.account is not None or asked.all_symbols:
        option = "--all-symbols" if asked.account is None else f"--account {asked.account}"
        raise UsageError(f"{option} goes with --venue", "a profile names its own accounts; choose by --pair")
    profile = load_profile(asked.profile, environ=os.environ, cwd=Path.cwd())  # its warnings are about quoting
    specs = select_pairs(profile, asked.pairs)
    live = [spec for spec in specs if is_live(spec.venue)]
    if not live:
        names = ", ".join(profiles_with_live_venue(Path.cwd())) or "none"
        raise UsageError(
            f"{profile.path} trades on the mock venue: nothing outside that process can be cancelled",
            f"end that process; profiles found here that have a live venue: {names}",
        )
    found: dict[tuple[str, str], list[PairSpec]] = {}
    for spec in live:
        found.setdefault((spec.venue, spec.account), []).append(spec)
    return [
        Target(venue, account, tuple(one.symbol for one in made) if asked.pairs else None, tuple(made))
        for (venue, account), made in found.items()
    ]


def _named_target(asked: StopAsked, venue: str) -> Target:
    if asked.profile is not None:
        raise UsageError("--venue and --profile: only one can say where to stop", "leave one of them out")
    if venue not in VENUES:
        raise UsageError(f"--venue {venue}: mmctl knows no such venue", f"the nearest is {nearest(venue, VENUES)}")
    if venue == MOCK:
        raise UsageError("--venue mock: nothing outside its process can be cancelled", "end that process")
    if bool(asked.pairs) == asked.all_symbols:
        raise UsageError("--venue needs a scope", "give --pair SYMBOL, once or more, or --all-symbols")
    return Target(venue, asked.account or "main", tuple(_symbol(venue, pair) for pair in asked.pairs) or None)


def _symbol(venue: str, pair: str) -> str:
    """A pair as ``venue`` writes it, without a profile to say so: joined, save for those that write a mark."""
    return pair.upper() if venue.startswith("okx") else fold(pair).upper()


def _halt(latch: FileHaltLatch, target: Target, asked: StopAsked) -> str:
    """Set the halt; a stop goes on without it, and says so."""
    for symbol in target.symbols or (None,):
        scope = HaltScope(target.venue, target.account, symbol, asked.layer)
        try:
            latch.set(scope, by=who(), at_ms=time.time_ns() // 1_000_000, why=asked.why)
        except StateUnreadable as error:
            note(f"the halt could not be set, a running engine will quote again: {error}")
            return "failed"
    return "set"


async def _stop_one(
    venue: Venue, target: Target, asked: StopAsked, halt: str, latch: FileHaltLatch, clock: Clock
) -> tuple[Stopped, Swept]:
    sweeper = Sweeper(
        venue,
        clock,
        Scope(target.symbols, asked.layer),
        deadline_s=asked.deadline_s,
        stranger_wait_s=target.interval_s + venue.landing_time_s,
    )
    venue.listen(lambda _symbol, event: sweeper.on_event(event))
    unread = await _open(venue, clock, clock.monotonic() + asked.deadline_s)
    swept = Swept(unread=unread) if unread else await sweeper.run()
    try:
        remaining = None if swept.remaining is None else await _remaining(venue, target, swept)
    except VenueError as error:  # only the prices of what remains are in the dark: that it remains is told
        remaining, swept.unread = None, f"{len(swept.remaining or ())} own orders remain: {error}"
    result = Stopped(
        venue=target.venue,
        account=target.account,
        scope=asked.layer or "all",
        pairs=target.names,
        halt=halt,
        proof=_proof(swept),
        engines=(),
        cancelled=tuple(swept.cancelled),
        remaining=remaining,
        foreign=swept.foreign,
        far_left=swept.others if asked.layer is Layer.NEAR else 0,
        position=await _positions(venue, target),
        halts=tuple(str(one) for one in _in_force(latch)),
        first_empty_ms=swept.first_empty_ms,
        took_ms=swept.took_ms,
        unread=swept.unread,
    )
    return result, swept


async def _open(venue: Venue, clock: Clock, deadline_s: float) -> str:
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


def exit_code(swept: Swept, halt: str) -> int:
    """0 only where the venue is proven empty, the halt stands where it was asked for, and nobody places."""
    if swept.remaining is None:
        return EXIT_VENUE
    return EXIT_DONE if swept.proven and halt != "failed" and not swept.late_epochs else EXIT_CHANGES


async def _remaining(venue: Venue, target: Target, swept: Swept) -> tuple[PairOrders, ...]:
    """What the last listing still showed, by symbol, in the venue's own steps."""
    names = {spec.symbol: spec.name for spec in target.specs}
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


async def _positions(venue: Venue, target: Target) -> dict[str, Decimal] | None:
    """What the account holds of each pair's base currency; ``None`` where that could not be read."""
    try:
        told = await venue.balances()
    except VenueError:
        return None
    return {
        spec.name: told.assets[spec.base].total if spec.base in told.assets else Decimal(0) for spec in target.specs
    }


def _in_force(latch: FileHaltLatch) -> tuple[Halt, ...]:
    try:
        return latch.halts()
    except StateUnreadable as error:
        note(str(error))
        return ()


def lift(profile_name: str | None, pair_names: Sequence[str], output: Output) -> int:
    """Lift the halts of the profile's accounts, or of the pairs named. Raises ``UsageError``, ``StateUnreadable``."""
    profile = load(profile_name)
    specs = select_pairs(profile, pair_names)
    accounts = {(spec.venue, spec.account) for spec in specs}
    symbols = {spec.key for spec in specs}

    def chosen(halt: Halt) -> bool:
        scope = halt.scope
        if (scope.venue, scope.account) not in accounts:
            return False
        return not pair_names or (scope.venue, scope.account, scope.symbol) in symbols

    latch = FileHaltLatch(state_dir(os.environ))
    lifted = latch.resume(chosen, by=who(), at_ms=time.time_ns() // 1_000_000)
    left = [halt for halt in latch.halts() if (halt.scope.venue, halt.scope.account) in accounts]
    if output is Output.JSON:
        say(jsonlines.resumed([str(one) for one in lifted], [str(one) for one in left]))
        return EXIT_DONE
    for one in lifted:
        say(f"lifted {one!s}")
    if not lifted:
        say("nothing was halted in this scope")
    for one in left:
        say(f"still halted: {one!s}" + ("" if one.scope.symbol else "; resume without --pair lifts it"))
    return EXIT_DONE


def who() -> str:
    """Who acts: the user and the machine."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no such user in this container
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
