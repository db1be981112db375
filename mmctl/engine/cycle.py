"""One layer's turn, once: observe -> decide -> gate -> send -> events -> ledger -> report."""

from __future__ import annotations

import asyncio

from mmctl.core.book import Book
from mmctl.core.decide import Decision
from mmctl.core.freshness import Stale
from mmctl.core.order import Layer, Order
from mmctl.core.report import BookLine, RoundDone
from mmctl.engine.basis import wrong_market
from mmctl.engine.batch import Batch
from mmctl.engine.hold import Hold
from mmctl.engine.pair import LayerState, Pair
from mmctl.errors import FeedError, FeedUnreachable
from mmctl.ports import Feed

READ_DEADLINE_S = 2.0
"""How long a turn waits for the feed; a pair's slow read is its own affair."""

ANSWER_GRACE_S = 1.0
"""How much later than the venue's own request time-out an answer is still waited for."""

HARMLESS_REJECTIONS = frozenset({"would_match", "venue_busy"})
"""Refusals that the next round's fresh book mends; all others are told once and backed off from."""


async def observe(pair: Pair, feed: Feed, deadline_s: float = READ_DEADLINE_S) -> None:
    """Read the newest book into the pair's ``age``. Raises ``FeedError`` where there is none."""
    try:
        async with asyncio.timeout(deadline_s):
            book = await feed.read(pair.spec.follow)
    except TimeoutError:
        raise FeedUnreachable(f"the {feed.source} feed did not answer within {deadline_s:g} s") from None
    pair.age.observe(book, pair.clock.wall_ms(), pair.clock.monotonic())
    pair.orders_sent.set()  # a deadline may be nearer now: a book can be older than none was thought to be


async def turn(pair: Pair, feed: Feed, layer: Layer) -> None:
    """Take ``layer``'s turn. Raises what went wrong, for the loop to cancel near orders and back off."""
    state = pair.layers[layer]
    state.turns += 1
    hold = pair.gate.hold(layer) or _backing_off(pair, state)
    if hold is not None:
        await _hold_back(pair, feed, state, hold)
        return
    forced = state.due_forced
    for follow_up in (False, True):
        asked_at_s = pair.clock.monotonic()
        book = await _usable_book(pair, feed, state)
        if isinstance(book, Stale):
            pair.skip(layer, book.reason, book.detail)
            return
        read_s = pair.clock.monotonic() - asked_at_s
        batch, decision = await _round(pair, state, book, read_s, forced and not follow_up, follow_up)
        # What waited for one of these cancels is decided again, on the newest book, now that it is gone.
        if not (batch.cancelled and any(waiting.freed for waiting in decision.plan.wait)):
            return


def _backing_off(pair: Pair, state: LayerState) -> Hold | None:
    left_s = state.backoff_until_s - pair.clock.monotonic()
    if left_s <= 0:
        return None
    return Hold("backing_off", f"for another {left_s:.1f} s: {state.last_alert}", hands_off=state.faulted)


async def _hold_back(pair: Pair, feed: Feed, state: LayerState, hold: Hold) -> None:
    """Place nothing. A halted layer has the empty target; of any other, what the book has left goes all the
    same, for a cancel waits for nothing."""
    layer = state.spec.layer
    orders: list[Order] = []
    if hold.halted:
        orders = pair.cancellable(layer)
    elif not hold.hands_off:
        orders = await _left_behind(pair, feed, state)
    detail = f"{hold.detail}; cancelling {len(orders)} orders" if orders else hold.detail
    pair.skip(layer, hold.reason, detail)
    if orders:
        await settle(pair, pair.cancel(orders, hold.reason))


async def _left_behind(pair: Pair, feed: Feed, state: LayerState) -> list[Order]:
    """What a round on the newest book would cancel; the stale guard sees to what rests on no usable one."""
    if not pair.cancellable(state.spec.layer):
        return []
    book = await _usable_book(pair, feed, state)
    if isinstance(book, Stale):
        return []
    live, refreshes = pair.ledger.live(), state.refreshes
    decision = pair.decider.decide(state.spec.layer, book, live, pair.room(), forced=False, refreshes=refreshes)
    return [wanted.order for wanted in decision.plan.cancel]


async def _usable_book(pair: Pair, feed: Feed, state: LayerState) -> Book | Stale:
    """The book to quote on now, or why there is none."""
    try:
        await observe(pair, feed)
        pair.feed_fault = ""
    except FeedError as error:
        pair.feed_fault = f"{error.kind}: {error}"
        return Stale(error.kind, str(error))
    stale = pair.age.stale(state.spec.quote_timeout_s, pair.clock.wall_ms(), pair.clock.monotonic())
    book = pair.age.book
    if stale is not None or book is None:
        return stale or Stale("no_book", "no book has been read yet")
    wrong = wrong_market(pair, book)
    if wrong is not None:
        return wrong
    book = pair.decider.reference(book, pair.ledger.live())
    return book if book.fault is None else Stale("unusable_book", f"without own orders {book.fault}")


async def _round(
    pair: Pair, state: LayerState, book: Book, read_s: float, forced: bool, follow_up: bool
) -> tuple[Batch, Decision]:
    """Decide on ``book``, send what came of it, wait for the answers, and tell."""
    layer = state.spec.layer
    started_s, started_boot_s = pair.clock.monotonic(), pair.clock.boot_s()
    decision = pair.decider.decide(
        layer, book, pair.ledger.live(), pair.room(), forced=forced, refreshes=state.refreshes + forced
    )
    decided_s = pair.clock.monotonic()
    book_line = _book_line(pair, book)
    entry = pair.desk.scribe.decided(pair.spec.symbol, pair.instrument, state.rounds + 1, decision, book_line)
    plan = decision.plan
    sent = await pair.gate.send(layer, plan.place, plan.cancel, decided_at_s=started_boot_s, decision=entry)
    await settle(pair, sent.batch)
    ended_s = pair.clock.monotonic()
    if not follow_up:
        state.rounds += 1
        state.since_refresh = 0 if forced else state.since_refresh + 1
        state.refreshes += forced
        pair.totals.near_turns_with_book += layer is Layer.NEAR or pair.spec.near is None
    _count(pair, state, decision, sent.batch, len(sent.refused))
    _alert(pair, state, sent.batch)
    state.status = "ok" if not sent.refused else f"{sent.refused[0].reason}: {sent.refused[0].detail}"
    pair.report(
        RoundDone(
            pair=pair.spec.name,
            ts_ms=pair.clock.wall_ms(),
            layer=layer,
            round=state.rounds,
            forced=forced,
            follow_up=follow_up,
            book=book_line,
            instrument=pair.instrument,
            target=decision.target,
            keep=decision.plan.keep,
            place=sent.placed,
            cancel=decision.plan.cancel,
            refused=(*decision.refused, *sent.refused),
            placed=sent.batch.placed,
            rejected=len(sent.batch.rejections),
            cancelled=sent.batch.cancelled,
            unknown=sent.batch.unknown,
            read_ms=read_s * 1000,
            decide_ms=(decided_s - started_s) * 1000,
            send_ms=(ended_s - decided_s) * 1000,
        )
    )
    return sent.batch, decision


async def settle(pair: Pair, batch: Batch) -> None:
    """Wait for every answer; a venue that breaks its promise of one leaves the fate unknown, and is told."""
    if not await batch.answered(pair.desk.venue.request_timeout_s + ANSWER_GRACE_S):
        pair.give_up_on(batch)


def _count(pair: Pair, state: LayerState, decision: Decision, batch: Batch, gate_refused: int) -> None:
    state.keeps = len(decision.plan.keep)
    state.places = batch.placed
    state.cancels = batch.cancelled
    state.refused = len(decision.refused) + gate_refused
    pair.totals.kept += len(decision.plan.keep)


def _alert(pair: Pair, state: LayerState, batch: Batch) -> None:
    """A refusal that the next book does not mend is told once, and the layer backs off from it."""
    serious = [one for one in batch.rejections if one.code not in HARMLESS_REJECTIONS]
    if not serious:
        state.recovered()
        return
    first = serious[0]
    pair.desk.balances_in_doubt |= any(one.code == "balance" for one in serious)
    pair.compare_wanted.set()
    wait_s = state.back_off(pair.clock.monotonic(), faulted=False)
    if state.last_alert != first.code:
        detail = f"{len(serious)} of the {state.spec.layer} ladder's orders were refused, the first: {first.code}: "
        pair.fault("rejected", detail + first.reason, f"backing off for {wait_s:g} s")
    state.last_alert = first.code


def _book_line(pair: Pair, book: Book) -> BookLine:
    age_s = pair.age.age_s(pair.clock.wall_ms(), pair.clock.monotonic())
    return BookLine(book.source, f"{book.best_bid:f}", f"{book.best_ask:f}", age_s * 1000)
