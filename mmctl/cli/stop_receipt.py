"""What a stop tells at its end: what it did, what remains, and by what it is proven."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from mmctl.cli.halting import status
from mmctl.cli.options import Output, note, say
from mmctl.cli.stop_targets import StopAsked, Target
from mmctl.core.instrument import Instrument
from mmctl.core.order import Layer, Order, State, decode_own_id
from mmctl.engine.everywhere import HaltsSet
from mmctl.engine.halt import FileHaltLatch
from mmctl.engine.swept import StopVenue, Swept
from mmctl.errors import EXIT_CHANGES, EXIT_DONE, EXIT_VENUE, StateUnreadable, VenueError
from mmctl.ports import Halt

if TYPE_CHECKING:  # not before there is something to tell
    from mmctl.core.entries import Entry, Plain
    from mmctl.core.report import PairOrders, Stopped


WATCHED_BEYOND_S = 10.0
"""How much longer a deadline should be than the venue has to be watched."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """How the stop of one account ended: what is shown of it, and what is only noted."""

    stopped: Stopped
    swept: Swept
    halts: HaltsSet

    @property
    def proven(self) -> bool:
        """Whether the venue is proven empty, the halt stands where it was asked for, and nobody places."""
        return self.swept.proven and not self.halts.faults and not self.swept.late_epochs


async def receipt(
    venue: StopVenue, target: Target, asked: StopAsked, halts: HaltsSet, swept: Swept, latch: FileHaltLatch
) -> Receipt:
    """The receipt of a sweep; what it needs is read now. Never raises for what venue and state folder do."""
    try:
        remaining = None if swept.remaining is None else await _remaining(venue, target, swept)
    except VenueError as error:  # only the prices of what remains are in the dark: that it remains is told
        remaining, swept.unread = None, f"{len(swept.remaining or ())} own orders remain: {error}"
    from mmctl.core.report import Stopped

    stopped = Stopped(
        venue=target.account.venue,
        account=target.account.name,
        scope=asked.layer or "all",
        pairs=target.names,
        halt=status(halts),
        proof=swept.proof,
        engines=swept.engines,
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
    return Receipt(stopped, swept, halts)


def journal_entries(target: Target, asked: StopAsked, receipt: Receipt) -> list[Entry]:
    """The stop with its whole receipt: what was open at each look, when none first, by what proof, who asked."""
    from mmctl.cli.diary import entries
    from mmctl.core.entries import Kind

    stopped, swept = receipt.stopped, receipt.swept
    remaining = swept.remaining
    body: dict[str, Plain] = {
        "why": asked.why,
        "scope": stopped.scope,
        "halt": stopped.halt,
        "halt_uids": list(receipt.halts.uids),
        "halt_amiss": list(receipt.halts.faults),
        "proof": stopped.proof,
        "engines": [{"name": one.name, "epoch": one.epoch, "state": one.state} for one in stopped.engines],
        "still_placing": sorted(swept.late_epochs),
        "looks": [list(look) for look in swept.looks],
        "cancelled": list(stopped.cancelled),
        "remaining": None if remaining is None else [seen.client_id for _, seen in remaining],
        "foreign": stopped.foreign,
        "first_empty_ms": None if stopped.first_empty_ms is None else round(stopped.first_empty_ms),
        "took_ms": round(stopped.took_ms),
        "unread": stopped.unread,
    }
    return entries(Kind.STOP, stopped.venue, stopped.account, target.symbols, body, asked.by)


def interrupted_entries(target: Target, asked: StopAsked, halts: HaltsSet) -> list[Entry]:
    """A stop that was broken off before it had a receipt: what it had halted, and who asked."""
    from mmctl.cli.diary import entries
    from mmctl.core.entries import Kind

    body: dict[str, Plain] = {
        "why": asked.why,
        "scope": asked.layer or "all",
        "halt": status(halts),
        "halt_uids": list(halts.uids),
        "halt_amiss": list(halts.faults),
        "proof": "not_proven",
        "unread": "it was interrupted",
    }
    return entries(Kind.STOP, target.account.venue, target.account.name, target.symbols, body, asked.by)


def exit_code(receipt: Receipt) -> int:
    """0 only where all is proven."""
    if receipt.swept.remaining is None:
        return EXIT_VENUE
    return EXIT_DONE if receipt.proven else EXIT_CHANGES


def tell_receipt(receipt: Receipt, output: Output) -> None:
    """Show it, and note what an operator has to know beside it."""
    swept = receipt.swept
    if output is Output.JSON:
        from mmctl.views import jsonlines

        say(jsonlines.stopped(receipt.stopped))
    else:
        from mmctl.cli.output import say_wrapped
        from mmctl.views import text

        say_wrapped(text.stopped(receipt.stopped))
    for epoch in sorted(swept.late_epochs):
        note(f"an engine of epoch {epoch} still places orders: stop it")
    for line in swept.not_reached:
        note(f"{line}; {'the venue was watched instead' if swept.proven else 'what it does now is not known'}")
    if swept.watch_s and swept.remaining == ():
        enough_s = round(swept.watch_s + WATCHED_BEYOND_S)
        note(
            f"nothing is left to see, and nothing is proven before that is so for {swept.watch_s:.0f} s: stop again"
            f" with --deadline {enough_s}s"
        )
    if swept.refusal and not swept.proven:
        note(f"the venue last refused a cancel: {swept.refusal}")


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
    try:
        return latch.readable()  # whatever else the file holds, these stand
    except StateUnreadable:
        return ()
