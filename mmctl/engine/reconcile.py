"""Finding out: the fate of every order that is not known, and every difference between the ledger and the venue.

The venue is the truth. What cannot be read proves nothing, and what differs is repaired and told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from mmctl.core.events import Ended, Fill, NotFound, Seen
from mmctl.core.order import Side, decode_own_id
from mmctl.engine.guard import POLL_S
from mmctl.engine.pair import Pair
from mmctl.errors import JournalUnwritable, VenueError

QUERY_EVERY_S = 0.5
"""How soon an unknown order is asked for again; doubled up to ``QUERY_AT_MOST_S``."""

QUERY_AT_MOST_S = 2.0

COMPARE_EVERY_S = 60.0
"""How often the ledger is compared with the venue's listing when nothing else asks for it."""

COMPARE_RETRY_S = 2.0

TRADES_EVERY_S = 60.0
"""How often the venue's own list of trades is read, whatever its stream told."""

TELL_AGAIN_S = 3600.0
"""How soon the journal is told again how far that list was read, though nothing was new: old entries go."""

TRADES_SETTLE_MS = 10_000
"""A trade younger than this may stand in the venue's list before one with a smaller number does."""

BALANCES_EVERY_S = 60.0
"""How often an account's balances are read again; between that the venue's stream tells of them."""


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
    """Ask for each unsettled order and each stranger once; says whether any is left to ask for.

    The trades, which alone can speak against an order's being over, are read once for all that were not found.
    """
    asked = [order.client_id for order in pair.ledger.unsettled()] + sorted(pair.strangers)
    concluding: list[NotFound] = []
    failed: VenueError | JournalUnwritable | None = None
    for client_id in asked:
        try:
            answer = await pair.desk.venue.query(pair.spec.symbol, client_id)
        except VenueError as error:
            if failed is not None:
                break  # it is the venue, and not this one order
            failed = error
            continue
        if isinstance(answer, NotFound) and _may_conclude(pair, answer):
            concluding.append(answer)
        else:
            _take_answer(pair, client_id, answer)
    try:
        if concluding:
            await catch_up(pair)
    except (VenueError, JournalUnwritable) as error:
        failed, concluding = error, []
    for answer in concluding:
        _take_answer(pair, answer.client_id, answer)
    if failed is not None:
        pair.trouble("query", str(failed), "asking again")
        return True
    if asked:
        pair.over("query")
    return bool(pair.ledger.unsettled() or pair.strangers)


def _take_answer(pair: Pair, client_id: str, answer: Seen | Ended | NotFound) -> None:
    if client_id in pair.strangers:
        _take_in_stranger(pair, client_id, answer)
    else:
        pair.on_event(answer)


def _may_conclude(pair: Pair, answer: NotFound) -> bool:
    """Whether an order may be taken for over because of ``answer``; only no trade of it may speak against that."""
    order = pair.ledger.find(answer.client_id)
    if order is None:
        return False
    return order.signed_at_s is None or answer.asked_at_s >= order.signed_at_s + pair.desk.venue.landing_time_s


async def catch_up(pair: Pair) -> None:
    """Take in the trades of our orders that the venue's stream did not tell, and tell of them. Raises ``VenueError``.

    The list is read on from where it was last read to, less what is so new that it may still be incomplete. Raises
    ``JournalUnwritable`` too, at the first time, where it cannot be told what earlier runs placed.

    One reads at a time; who waits meanwhile takes what another reads that begins after it was asked for.
    """
    begun = pair.trades_begun
    async with pair.reading_trades:
        if pair.trades_done <= begun:
            pair.trades_begun += 1
            await _read_trades(pair)
            pair.trades_done = pair.trades_begun


async def _read_trades(pair: Pair) -> None:
    asked_ms = pair.clock.wall_ms()
    fills = await pair.desk.venue.fills(pair.spec.symbol, pair.trades_read_to)
    counted, position = pair.totals.fills, pair.ledger.position  # not before: the stream goes on meanwhile
    if pair.past is not None:
        await _count_past(pair, [one for one in fills if pair.ledger.find(one.client_id) is None])
    for fill in fills:
        if pair.ledger.find(fill.client_id) is not None:
            pair.on_event(fill)
        if asked_ms - fill.at_ms > TRADES_SETTLE_MS:
            pair.trades_read_to = fill.trade_id
    _tell_how_far(pair)
    pair.trades_due_s = pair.clock.monotonic() + TRADES_EVERY_S
    if missed := pair.totals.fills - counted:
        moved = pair.ledger.position - position
        action = f"counted now, the position moves by {moved:f}" if moved else "noted, their quantities were counted"
        pair.fault("trades", f"{missed} fills had not been told", action)


def _tell_how_far(pair: Pair) -> None:
    """Tell the journal how far the list was read: a run after this one reads on from there."""
    told, now_s = pair.read_to_told, pair.clock.monotonic()
    if told is None or told[0] != pair.trades_read_to or now_s >= told[1] + TELL_AGAIN_S:
        pair.desk.scribe.read_trades(pair.spec.symbol, pair.trades_read_to)
        pair.read_to_told = (pair.trades_read_to, now_s)


async def _count_past(pair: Pair, fills: Sequence[Fill]) -> None:
    """Count trades that a killed run had not written down of orders that were over by its journal.

    Raises ``JournalUnwritable`` where the journal cannot be asked which orders those are.
    """
    past, pair.past = pair.past, None
    assert past is not None
    own = pair.desk.epoch  # this run's went through its ledger, whether or not that still remembers the order
    missed = [one for one in fills if one.trade_id not in past.counted and past.ended_epoch < _epoch(one) != own]
    try:
        known = await pair.desk.scribe.knows([one.client_id for one in missed]) if missed else frozenset[str]()
    except JournalUnwritable:
        pair.past = past
        raise
    for fill in missed:
        if fill.client_id in known:
            pair.totals.fills += 1
            pair.ledger.position += fill.qty if fill.side is Side.BUY else -fill.qty
            pair.desk.scribe.filled(pair.spec.symbol, fill)


def _epoch(fill: Fill) -> int:
    own = decode_own_id(fill.client_id)
    return 0 if own is None else own.epoch


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
        except (VenueError, JournalUnwritable) as error:
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
    Raises ``VenueError`` where one of these cannot be read, ``JournalUnwritable`` where the journal cannot.
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
        detail = f"{len(missing)} orders are not in the venue's listing"
        pair.trouble("missing", detail, "asking for each, and for those of the next listings", kind="listing")
        pair.doubts.set()
    else:
        pair.over("missing")
    await _roll_back(pair, [seen for seen in unknown if seen.client_id in suspects])
    cancel_unwanted(pair)
    # What comes up while these are read is another doubt, and stays.
    missed, pair.trades_missed = pair.trades_missed, False
    try:
        if missed or pair.clock.monotonic() >= pair.trades_due_s:
            await catch_up(pair)
            missed = False
        await pair.desk.refresh_balances(BALANCES_EVERY_S)
    except BaseException:
        pair.trades_missed |= missed
        raise
    return {seen.client_id for seen in unknown} - suspects


def cancel_unwanted(pair: Pair) -> None:
    """Orders of a ladder that the profile has switched off have no target but none."""
    orders = [order for order in pair.cancellable(None) if order.layer not in pair.layers]
    if orders:
        layer = orders[0].layer
        pair.fault("unwanted", f"{len(orders)} own orders are of the {layer} ladder, which is off", "cancelling them")
        pair.cancel(orders, "unwanted")


async def _roll_back(pair: Pair, shown: list[Seen]) -> None:
    """Cancel own orders that two listings showed and nobody here placed; what the journal knows is taken in.

    Raises ``JournalUnwritable`` where that cannot be told apart: then nothing is done.
    """
    if not shown:
        return
    known = await pair.desk.scribe.knows([seen.client_id for seen in shown])
    for seen in shown:
        pair.on_event(seen)
    ghosts = [seen for seen in shown if seen.client_id not in known]
    if known:
        pair.fault("adopted", f"{', '.join(sorted(known))} of an earlier run appeared", "the ladder goes on with it")
    if not ghosts:
        return
    names = ", ".join(seen.client_id for seen in ghosts)
    pair.fault("rollback", f"the venue shows orders that nobody here placed: {names}", "cancelling them")
    orders = [order for seen in ghosts if (order := pair.ledger.find(seen.client_id)) is not None and order.is_live]
    pair.cancel(orders, "rollback")
