"""What watches beside the rounds: stale books, halts, unknown fates, and differences from the venue.

Each is a task of its own, so that a round that waits for its venue delays none of them.
"""

from __future__ import annotations

import asyncio

from mmctl.core.events import Ended, NotFound, Seen
from mmctl.engine.cycle import ANSWER_GRACE_S, observe
from mmctl.engine.pair import LayerState, Pair
from mmctl.errors import FeedError, VenueError
from mmctl.ports import Feed

POLL_S = 0.1
"""How often the guards look at the halt latch, and at the latest at what rests on a book."""

LEAST_SLEEP_S = 0.001
"""What is left of a time may be less than the loop's clock can tell."""

CANCEL_AGAIN_S = 1.0
"""How soon a guard repeats a cancel that got no definite answer."""

QUERY_EVERY_S = 0.5
"""How soon an unknown order is asked for again; doubled up to ``QUERY_AT_MOST_S``."""

QUERY_AT_MOST_S = 2.0

COMPARE_EVERY_S = 60.0
"""How often the ledger is compared with the venue's listing when nothing else asks for it."""

COMPARE_RETRY_S = 2.0

BALANCES_EVERY_S = 60.0
"""How often an account's balances are read again; between that the venue's stream tells of them."""


async def watch_book(pair: Pair) -> None:
    """Cancel a layer's orders when the book that they rest on passes its quote timeout.

    It never waits for the feed: ``read_ahead`` does that.
    """
    again_s = dict.fromkeys(pair.layers, 0.0)
    while True:
        watched = _watched(pair)
        if not watched:
            pair.orders_sent.clear()
            await pair.orders_sent.wait()
            continue
        now_s = pair.clock.monotonic()
        sleep_s = POLL_S
        for state in watched:
            layer, left_s = state.spec.layer, _left_s(pair, state)
            if left_s > 0:
                pair.over(f"stale {layer}")
                sleep_s = min(sleep_s, left_s)
            elif orders := pair.cancellable(layer, again=now_s >= again_s[layer]):
                again_s[layer] = now_s + CANCEL_AGAIN_S
                _tell_stale(pair, state, len(orders))
                pair.cancel(orders)
        await pair.clock.sleep(max(LEAST_SLEEP_S, sleep_s))


async def read_ahead(pair: Pair, feed: Feed) -> None:
    """Read the feed once more shortly before a quote timeout, so that a long interval alone never looks stale."""
    while True:
        watched = _watched(pair)
        if not watched:
            await pair.orders_sent.wait()
            await pair.clock.sleep(POLL_S)
            continue
        lefts = [(_left_s(pair, state), _lead_s(state)) for state in watched]
        near_end = [left_s for left_s, lead_s in lefts if 0 < left_s <= lead_s]
        if near_end:
            try:
                await observe(pair, feed, min(near_end))
                pair.feed_fault = ""
            except FeedError as error:
                pair.feed_fault = f"{error.kind}: {error}"
        # Never past a poll: orders with an earlier deadline may come meanwhile.
        until_lead_s = min((left_s - lead_s for left_s, lead_s in lefts if left_s > lead_s), default=POLL_S)
        await pair.clock.sleep(min(max(LEAST_SLEEP_S, until_lead_s), POLL_S))


def _watched(pair: Pair) -> list[LayerState]:
    """The layers with orders that may rest."""
    live = {order.layer for order in pair.ledger.live()}
    return [state for layer, state in pair.layers.items() if layer in live]


def _left_s(pair: Pair, state: LayerState) -> float:
    """Seconds until the layer's orders rest on a stale book."""
    now_s = pair.clock.monotonic()
    return pair.age.deadline_s(state.spec.quote_timeout_s, pair.clock.wall_ms(), now_s) - now_s


def _lead_s(state: LayerState) -> float:
    """How long before the deadline the feed is read once more."""
    return min(0.5, state.spec.quote_timeout_s / 4)


def _tell_stale(pair: Pair, state: LayerState, count: int) -> None:
    """Told once, until the book is fresh again."""
    layer, timeout_s = state.spec.layer, state.spec.quote_timeout_s
    # A hair later: at the very moment of its deadline a book is not stale yet.
    stale = pair.age.stale(timeout_s, pair.clock.wall_ms(), pair.clock.monotonic() + LEAST_SLEEP_S)
    reason = "stale_book" if stale is None else stale.reason
    detail = f"no usable book within the quote timeout of {timeout_s:g} s" if stale is None else stale.detail
    if pair.feed_fault:
        detail = f"{detail}; {pair.feed_fault}"
    pair.trouble(f"stale {layer}", detail, f"cancelling {count} {layer} orders until the book is fresh", kind=reason)


async def watch_halts(pair: Pair) -> None:
    """Cancel a halted layer's orders as soon as the halt is seen, not only in the layer's next turn."""
    again_s = dict.fromkeys(pair.layers, 0.0)
    while True:
        await pair.clock.sleep(POLL_S)
        now_s = pair.clock.monotonic()
        for layer, state in pair.layers.items():
            hold = pair.gate.hold(layer)
            if hold is None or not hold.halted:
                pair.over(f"halted {layer}")
            elif orders := pair.cancellable(layer, again=now_s >= again_s[layer]):
                again_s[layer] = now_s + CANCEL_AGAIN_S
                state.status = f"{hold.reason}: {hold.detail}"
                pair.trouble(f"halted {layer}", hold.detail, f"cancelling {len(orders)} {layer} orders", kind="halted")
                pair.cancel(orders)


async def watch_answers(pair: Pair) -> None:
    """A request without an answer is unknown in the end, whoever sent it and whether or not anybody waits."""
    patience_s = pair.desk.venue.request_timeout_s + 2 * ANSWER_GRACE_S
    while True:
        await pair.clock.sleep(ANSWER_GRACE_S)
        for batch in pair.overdue(pair.clock.monotonic() - patience_s):
            pair.give_up_on(batch)


async def settle_unknown(pair: Pair) -> None:
    """Ask the venue for every order whose fate is unknown, until it is known."""
    while True:
        await pair.doubts.wait()
        pair.doubts.clear()
        pause_s = QUERY_EVERY_S
        while await ask_once(pair):
            if await _within(pair.doubts, pause_s):
                pair.doubts.clear()
                pause_s = QUERY_EVERY_S
                await pair.clock.sleep(POLL_S)
            else:
                pause_s = min(2 * pause_s, QUERY_AT_MOST_S)


async def _within(event: asyncio.Event, wait_s: float) -> bool:
    """Whether ``event`` comes within ``wait_s``."""
    try:
        async with asyncio.timeout(wait_s):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def ask_once(pair: Pair) -> bool:
    """Ask for each unsettled order and each stranger once; says whether any is left to ask for."""
    for client_id in [order.client_id for order in pair.ledger.unsettled()] + sorted(pair.strangers):
        try:
            answer = await pair.desk.venue.query(pair.spec.symbol, client_id)
            if isinstance(answer, NotFound) and _may_conclude(pair, answer):
                await catch_up(pair)
        except VenueError as error:
            pair.trouble("query", str(error), "asking again")
            return True
        pair.over("query")
        if client_id in pair.strangers:
            _take_in_stranger(pair, client_id, answer)
        else:
            pair.on_event(answer)
    return bool(pair.ledger.unsettled() or pair.strangers)


def _may_conclude(pair: Pair, answer: NotFound) -> bool:
    """Whether an order may be taken for over because of ``answer``; only no trade of it may speak against that."""
    order = pair.ledger.find(answer.client_id)
    if order is None:
        return False
    return order.signed_at_s is None or answer.asked_at_s >= order.signed_at_s + pair.desk.venue.landing_time_s


async def catch_up(pair: Pair) -> None:
    """Take in the trades of our orders that the venue's stream did not tell. Raises ``VenueError``."""
    for fill in await pair.desk.venue.fills(pair.spec.symbol, None):
        if pair.ledger.find(fill.client_id) is not None:
            pair.on_event(fill)


def _take_in_stranger(pair: Pair, client_id: str, answer: Seen | Ended | NotFound) -> None:
    """An own order that this engine never sent is taken in while it is open; one that is over needs nothing.

    What is not found may only be late.
    """
    now_s = pair.clock.monotonic()
    if isinstance(answer, NotFound) and now_s < pair.strangers[client_id] + pair.desk.venue.landing_time_s:
        return
    del pair.strangers[client_id]
    if isinstance(answer, Seen):
        pair.on_event(answer)
        pair.fault("adopted", f"{client_id} of an earlier run appeared", "the ladder goes on with it")
        pair.compare_wanted.set()


async def compare_now_and_then(pair: Pair) -> None:
    """Compare the ledger with the venue's listing on a schedule, and whenever something asks for it."""
    suspects: set[str] = set()
    while True:
        # Where nobody asks, it is the schedule's turn.
        await _within(pair.compare_wanted, COMPARE_EVERY_S)
        pair.compare_wanted.clear()
        try:
            suspects = await compare(pair, suspects)
            pair.over("listing")
        except VenueError as error:
            pair.trouble("listing", str(error), "asking again")
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
    Trades that were missed are read, and balances that may be wrong or are old.
    Raises ``VenueError`` where one of these cannot be read.
    """
    listing = await pair.desk.venue.open_orders(pair.spec.symbol)
    pair.foreign = len(listing.foreign)
    unknown: list[Seen] = []
    for seen in listing.own:
        if pair.ledger.find(seen.client_id) is not None:
            pair.on_event(seen)
        elif not pair.superseded(seen.client_id):
            unknown.append(seen)
    missing = pair.ledger.judge({seen.client_id for seen in listing.own}, listing.asked_at_s)
    if missing:
        pair.fault("listing", f"{len(missing)} orders are not in the venue's listing", "asking for each")
        pair.doubts.set()
    _roll_back(pair, [seen for seen in unknown if seen.client_id in suspects])
    cancel_unwanted(pair)
    if pair.trades_missed:
        await catch_up(pair)
        pair.trades_missed = False
    await pair.desk.refresh_balances(0.0 if pair.balances_in_doubt else BALANCES_EVERY_S)
    pair.balances_in_doubt = False
    return {seen.client_id for seen in unknown} - suspects


def cancel_unwanted(pair: Pair) -> None:
    """Orders of a ladder that the profile has switched off have no target but none."""
    orders = [order for order in pair.cancellable(None) if order.layer not in pair.layers]
    if orders:
        layer = orders[0].layer
        pair.fault("unwanted", f"{len(orders)} own orders are of the {layer} ladder, which is off", "cancelling them")
        pair.cancel(orders)


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
        pair.compare_wanted.set()
    return max((order.epoch for order in pair.ledger.live()), default=0)
