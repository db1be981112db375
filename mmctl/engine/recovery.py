"""The start: taking up what earlier runs left. Nothing is cancelled only because mmctl was started again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from mmctl.core.order import Order, State
from mmctl.engine.desk import AccountDesk
from mmctl.engine.pair import Pair
from mmctl.engine.reconcile import ask_once, catch_up
from mmctl.errors import VenueError, VenueUnreachable
from mmctl.ports import Clock

START_TRIES = 3
START_PAUSE_S = 1.0

Read = TypeVar("Read")


async def patiently(clock: Clock, read: Callable[[], Awaitable[Read]]) -> Read:
    """What ``read`` says; one lost answer ends no start. Raises the last ``VenueUnreachable``, a refusal at once."""
    for _ in range(START_TRIES - 1):
        try:
            return await read()
        except VenueUnreachable:
            await clock.sleep(START_PAUSE_S)
    return await read()


async def recover(pair: Pair) -> int:
    """Take up what earlier runs left, at the start: what the journal tells of them, then the venue's own open orders.

    An order without a known end counts as live until the venue says otherwise, one landing time from now at the
    earliest. Returns the highest epoch seen. Raises ``VenueError`` where there is no whole listing,
    ``JournalUnwritable`` where the journal cannot be read.
    """
    recalled = await pair.desk.scribe.recall(pair.spec.symbol)
    now_s = pair.clock.monotonic()
    pair.ledger.position = recalled.position
    pair.trades_read_to, pair.past = recalled.read_from, recalled
    pair.counted_before = dict(recalled.trades)
    for one in recalled.unfinished:
        order = Order(
            client_id=one.client_id,
            layer=one.layer,
            side=one.side,
            price=pair.instrument.ticks(one.price, one.side.opposite),
            qty=pair.instrument.lots(one.qty),
            epoch=one.epoch,
            signed_at_s=now_s,
        )
        pair.ledger.remember(order, dict(one.trades), now_s, accepted=one.accepted)
    adopted = await patiently(pair.clock, partial(adopt, pair))
    left = sum(order.state is State.UNKNOWN for order in pair.ledger.live())
    if adopted or left:
        detail = f"{adopted} own orders of an earlier run are open"
        if left:
            detail += f", of {left} more the end is not known"
        pair.fault("adopted", detail, "the ladder goes on from them" + (", asking for those" if left else ""))
        pair.compare_wanted.set()
        pair.doubts.set()
        await ask_once(pair)  # whose a trade is shows in its order, and some have ended
    if adopted or left or recalled.last_trade_id is not None:
        try:
            await catch_up(pair)
        except VenueError as error:
            pair.trouble("trades", str(error), "asking again")
            pair.trades_missed = True
    return max((order.epoch for order in pair.ledger.live()), default=0)


async def adopt(pair: Pair) -> int:
    """Take in the venue's own open orders; returns how many. Raises ``VenueError``."""
    listing = await pair.desk.venue.open_orders(pair.spec.symbol)
    pair.foreign = len(listing.foreign)
    for seen in listing.own:
        pair.on_event(seen)
    return len(listing.own)


async def look_outside(desk: AccountDesk, pairs: Sequence[Pair]) -> None:
    """Tell of own orders in symbols that the profile does not make: they are left alone. Raises ``VenueError``."""
    made = {pair.spec.symbol for pair in pairs}
    listing = await patiently(desk.clock, partial(desk.venue.open_orders, None))
    outside: dict[str, int] = {}
    for seen in listing.own:
        if seen.symbol and seen.symbol not in made:
            outside[seen.symbol] = outside.get(seen.symbol, 0) + 1
    for symbol, count in sorted(outside.items()):
        pairs[0].fault(
            "outside_profile",
            f"{count} own orders are open in {symbol}, which this run does not make",
            "left alone: `mmctl cancel-all` ends them",
        )
