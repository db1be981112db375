"""What watches beside the rounds: stale books, halts, unknown fates, and differences from the venue.

Each is a task of its own, so that a round that waits for its venue delays none of them.
"""

from __future__ import annotations

import asyncio

from mmctl.core.events import Seen
from mmctl.core.order import CancelState, State, decode_own_id
from mmctl.engine.cycle import observe
from mmctl.engine.pair import LayerState, Pair
from mmctl.errors import FeedError, VenueError
from mmctl.ports import Feed

POLL_S = 0.1
"""How often the guards look at the halt latch, and at the latest at what rests on a book."""

QUERY_EVERY_S = 0.5
"""How soon an unknown order is asked for again; doubled up to ``QUERY_AT_MOST_S``."""

QUERY_AT_MOST_S = 5.0

COMPARE_EVERY_S = 60.0
"""How often the ledger is compared with the venue's listing when nothing else asks for it."""

COMPARE_RETRY_S = 2.0


async def watch_book(pair: Pair, feed: Feed) -> None:
    """Cancel a layer's orders when the book that they rest on passes its quote timeout.

    Shortly before that the feed is read once more, so that a long interval alone never looks stale.
    """
    while True:
        live = {order.layer for order in pair.ledger.live()}
        watched = [state for layer, state in pair.layers.items() if layer in live]
        if not watched:
            pair.orders_sent.clear()
            await pair.orders_sent.wait()
            continue
        lefts = [(_left_s(pair, state), state) for state in watched]
        for left_s, state in lefts:
            if left_s <= 0:
                _cancel_stale(pair, state)
        ahead = [(left_s, state) for left_s, state in lefts if left_s > 0]
        near_end = [left_s for left_s, state in ahead if left_s <= _lead_s(state)]
        if near_end:
            await _read_again(pair, feed, min(near_end))
        else:
            # Never past a poll: orders with an earlier deadline may come meanwhile.
            until_lead_s = min((left_s - _lead_s(state) for left_s, state in ahead), default=POLL_S)
            await pair.clock.sleep(min(until_lead_s, POLL_S))


def _left_s(pair: Pair, state: LayerState) -> float:
    """Seconds until the layer's orders rest on a stale book."""
    now_s = pair.clock.monotonic()
    return pair.age.deadline_s(state.spec.quote_timeout_s, pair.clock.wall_ms(), now_s) - now_s


def _lead_s(state: LayerState) -> float:
    """How long before the deadline the feed is read once more."""
    return min(0.5, state.spec.quote_timeout_s / 4)


async def _read_again(pair: Pair, feed: Feed, left_s: float) -> None:
    """One more look at the feed, over in time for the deadline whatever the feed does."""
    until_s = pair.clock.monotonic() + left_s
    try:
        await observe(pair, feed, left_s)
        pair.feed_fault = ""
    except FeedError as error:
        pair.feed_fault = f"{error.kind}: {error}"
    await pair.clock.sleep(min(POLL_S, max(0.0, until_s - pair.clock.monotonic())))


def _cancel_stale(pair: Pair, state: LayerState) -> None:
    layer, timeout_s = state.spec.layer, state.spec.quote_timeout_s
    orders = pair.cancellable(layer)
    if not orders:
        return
    stale = pair.age.stale(timeout_s, pair.clock.wall_ms(), pair.clock.monotonic())
    reason = "stale_book" if stale is None else stale.reason
    detail = f"no usable book within the quote timeout of {timeout_s:g} s" if stale is None else stale.detail
    if pair.feed_fault:
        detail = f"{detail}; {pair.feed_fault}"
    pair.fault(reason, detail, f"cancelling {len(orders)} {layer} orders until the book is fresh")
    pair.cancel(orders)


async def watch_halts(pair: Pair) -> None:
    """Cancel a halted layer's orders as soon as the halt is seen, not only in the layer's next turn."""
    while True:
        await pair.clock.sleep(POLL_S)
        for layer, state in pair.layers.items():
            hold = pair.gate.hold(layer)
            if hold is not None and hold.halted and (orders := pair.cancellable(layer)):
                state.status = f"{hold.reason}: {hold.detail}"
                pair.fault("halted", hold.detail, f"cancelling {len(orders)} {layer} orders")
                pair.cancel(orders)


async def settle_unknown(pair: Pair) -> None:
    """Ask the venue for every order whose fate is unknown, until it is known."""
    while True:
        await pair.doubts.wait()
        pair.doubts.clear()
        pause_s = QUERY_EVERY_S
        while await ask_once(pair):
            await pair.clock.sleep(pause_s)
            pause_s = min(2 * pause_s, QUERY_AT_MOST_S)


async def ask_once(pair: Pair) -> bool:
    """Ask for each unsettled order and each stranger once; says whether any is left to ask for."""
    wanted = [order.client_id for order in pair.ledger.unsettled()] + sorted(pair.strangers)
    for client_id in wanted:
        try:
            answer = await pair.desk.venue.query(pair.spec.symbol, client_id)
        except VenueError as error:
            if not pair.totals.last_fault.startswith("query"):
                pair.fault("query", str(error), "asking again")
            return True
        pair.strangers.discard(client_id)
        pair.on_event(answer)
    return bool(pair.ledger.unsettled() or pair.strangers)


async def compare_now_and_then(pair: Pair) -> None:
    """Compare the ledger with the venue's listing on a schedule, and whenever something asks for it."""
    suspects: set[str] = set()
    while True:
        try:
            async with asyncio.timeout(COMPARE_EVERY_S):
                await pair.compare_wanted.wait()
        except TimeoutError:
            pass  # the schedule's turn: nobody asked
        pair.compare_wanted.clear()
        try:
            suspects = await compare(pair, suspects)
        except VenueError as error:
            pair.fault("listing", str(error), "asking again")
            await pair.clock.sleep(COMPARE_RETRY_S)
            pair.compare_wanted.set()
            continue
        if suspects:
            await pair.clock.sleep(COMPARE_RETRY_S)
            pair.compare_wanted.set()


async def compare(pair: Pair, suspects: set[str]) -> set[str]:
    """Compare the ledger with one whole listing, which is asked for now.

    Orders that should be there and are not are asked for. Own orders that the ledger does not know are
    cancelled when they were in the listing before too (``suspects``); those seen first now are returned.
    Raises ``VenueError`` where there is no whole listing.
    """
    listing = await pair.desk.venue.open_orders(pair.spec.symbol)
    pair.foreign = len(listing.foreign)
    unknown: list[Seen] = []
    for seen in listing.own:
        order = pair.ledger.find(seen.client_id)
        if order is None:
            unknown.append(seen)
        elif order.state is not State.OPEN or order.cancel is CancelState.UNKNOWN:
            pair.on_event(seen)
    missing = pair.ledger.judge({seen.client_id for seen in listing.own}, listing.asked_at_s)
    if missing:
        pair.fault("listing", f"{len(missing)} orders are not in the venue's listing", "asking for each")
        pair.doubts.set()
    unknown = [seen for seen in unknown if not _supersedes(pair, seen)]
    _roll_back(pair, [seen for seen in unknown if seen.client_id in suspects])
    return {seen.client_id for seen in unknown} - suspects


def _supersedes(pair: Pair, seen: Seen) -> bool:
    """An own order of a later epoch means that a younger engine quotes: this one places no more."""
    own = decode_own_id(seen.client_id)
    if own is None or own.epoch <= pair.desk.epoch:
        return False
    if pair.gate.superseded_by is None:
        detail = f"{seen.client_id} is of epoch {own.epoch}, this engine is {pair.desk.epoch}"
        pair.fault("superseded", detail, "placing no more")
    pair.gate.superseded_by = own.epoch
    return True


def _roll_back(pair: Pair, ghosts: list[Seen]) -> None:
    """Cancel own orders that two listings showed and nobody here placed."""
    if not ghosts:
        return
    for seen in ghosts:
        pair.on_event(seen)
    names = ", ".join(seen.client_id for seen in ghosts)
    pair.fault("rollback", f"the venue shows orders that nobody here placed: {names}", "cancelling them")
    orders = [order for seen in ghosts if (order := pair.ledger.find(seen.client_id)) is not None and order.is_live]
    pair.cancel(orders)


async def adopt(pair: Pair) -> int:
    """Take in the venue's own open orders at the start; returns the highest epoch seen among them.

    Raises ``VenueError`` where there is no whole listing.
    """
    listing = await pair.desk.venue.open_orders(pair.spec.symbol)
    pair.foreign = len(listing.foreign)
    for seen in listing.own:
        pair.on_event(seen)
    if listing.own:
        pair.fault(
            "adopted", f"{len(listing.own)} own orders of an earlier run are open", "the ladder goes on from them"
        )
    return max((order.epoch for order in pair.ledger.live()), default=0)
