"""What watches beside the rounds: stale books, halts, and requests that nobody answers.

Each is a task of its own, so that a round that waits for its venue delays none of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from mmctl.core.order import Layer, Order
from mmctl.engine.cycle import ANSWER_GRACE_S, observe
from mmctl.engine.pair import LayerState, Pair
from mmctl.engine.waiting import news_or
from mmctl.errors import FeedError
from mmctl.ports import Feed

POLL_S = 0.1
"""How often the guards look at the halt latch, and whether the wall clock was set."""

BOOK_LOOK_S = 1.0
"""How long the stale guard sleeps at most; orders that are sent and a wall clock that is set wake it."""

WALL_STEP_MS = 20
"""By so much the wall clock may leave the monotonic one between two looks, and was not set."""

LEAST_SLEEP_S = 0.001
"""What is left of a time may be less than the loop's clock can tell."""

CANCEL_AGAIN_S = 1.0
"""How soon a guard repeats a cancel that got no definite answer, or was refused again and again."""

FORGOTTEN_AFTER_S = 5.0
"""An order that was not cancelled for so long begins with a short pause again."""


class _Pace:
    """Which orders a guard may cancel now: each at once, and again after a pause that grows with every time.

    A venue that refuses cancels (its clock is another, its budget is used up) must not be asked ten times a second
    for long: that would use up what the next cancel needs.
    """

    def __init__(self) -> None:
        self._asked: dict[str, tuple[float, float]] = {}
        """When each was asked for, and the pause after that."""

    def due(self, orders: Sequence[Order], now_s: float) -> list[Order]:
        asked = {one: last for one, last in self._asked.items() if now_s - last[0] < FORGOTTEN_AFTER_S}
        due = []
        for order in orders:
            at_s, pause_s = asked.get(order.client_id, (-FORGOTTEN_AFTER_S, 0.0))
            if now_s - at_s >= pause_s:
                asked[order.client_id] = now_s, min(CANCEL_AGAIN_S, max(POLL_S / 2, 2 * pause_s))
                due.append(order)
        self._asked = asked
        return due


async def watch_book(pair: Pair) -> None:
    """Cancel a layer's orders when the book that they rest on passes its quote timeout.

    It never waits for the feed: ``read_ahead`` does that.
    """
    pace, again_s = _Pace(), dict.fromkeys(pair.layers, 0.0)
    while True:
        watched = _watched(pair)
        if not watched:
            pair.orders_sent.clear()
            await pair.orders_sent.wait()
            continue
        pair.orders_sent.clear()
        now_s = pair.clock.monotonic()
        sleep_s = BOOK_LOOK_S
        for state in watched:
            layer, left_s = state.spec.layer, _left_s(pair, state)
            if left_s > 0:
                pair.over(f"stale {layer}")
                sleep_s = min(sleep_s, left_s)
                continue
            sleep_s = min(sleep_s, POLL_S)  # some may have no answer to their placement yet, or to their cancel
            if orders := pace.due(pair.cancellable(layer, again=now_s >= again_s[layer]), now_s):
                again_s[layer] = now_s + CANCEL_AGAIN_S
                _tell_stale(pair, state, len(orders))
                pair.cancel(orders, "stale_book")
        await news_or(pair.orders_sent, max(LEAST_SLEEP_S, sleep_s))


async def read_ahead(pair: Pair, feed: Feed) -> None:
    """Read the feed once more shortly before a quote timeout, so that a long interval alone never looks stale."""
    # Never past a look: orders with an earlier deadline may come meanwhile.
    look_s = max(POLL_S, min(_lead_s(state) for state in pair.layers.values()))
    while True:
        watched = _watched(pair)
        if not watched:
            await pair.orders_sent.wait()
            await pair.clock.sleep(look_s)
            continue
        lefts = [(_left_s(pair, state), _lead_s(state)) for state in watched]
        near_end = [left_s for left_s, lead_s in lefts if 0 < left_s <= lead_s]
        if near_end:
            try:
                await observe(pair, feed, min(near_end))
                pair.feed_fault = ""
            except FeedError as error:
                pair.feed_fault = f"{error.kind}: {error}"
        until_lead_s = min((left_s - lead_s for left_s, lead_s in lefts if left_s > lead_s), default=POLL_S)
        await pair.clock.sleep(min(max(LEAST_SLEEP_S, until_lead_s), look_s))


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


class _HaltGuard:
    """What cancels one pair's halted orders."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._pace, self._again_s = _Pace(), dict.fromkeys(pair.layers, 0.0)
        self._halted: set[Layer] = set()
        """Layers whose halt was told, and is not over."""

    def look(self, now_s: float, *, may_be: bool) -> None:
        """Look at the pair; ``may_be``: some halt of the account is in force, or could be."""
        pair = self._pair
        may_be = may_be or pair.gate.killed
        if not may_be and not self._halted:
            return
        for layer, state in pair.layers.items():
            hold = pair.gate.hold(layer) if may_be else None
            if hold is None or not hold.halted:
                self._halted.discard(layer)
                pair.over(f"halted {layer}")
            elif orders := self._pace.due(pair.cancellable(layer, again=now_s >= self._again_s[layer]), now_s):
                self._again_s[layer] = now_s + CANCEL_AGAIN_S
                state.status = f"{hold.reason}: {hold.detail}"
                self._halted.add(layer)
                pair.trouble(f"halted {layer}", hold.detail, f"cancelling {len(orders)} {layer} orders", kind="halted")
                pair.cancel(orders, "halted")


async def watch_halts(pairs: Sequence[Pair]) -> None:
    """Cancel halted layers' orders as soon as the halt is seen, not only in a layer's next turn.

    ``pairs`` are those of one account: one look at its halts is for all of them. A wall clock that was set is seen
    here, too: it wakes the stale guards.
    """
    clock, gate, presence = pairs[0].clock, pairs[0].gate, pairs[0].desk.presence
    guards, may_be = [_HaltGuard(pair) for pair in pairs], True
    ahead_ms = clock.wall_ms() - clock.monotonic() * 1000
    while True:
        await clock.sleep(POLL_S)
        was, may_be = may_be, gate.may_be_halted()
        if may_be or was:  # with no halt at all there is nothing new to acknowledge
            presence.look()
        now_s = clock.monotonic()
        before_ms, ahead_ms = ahead_ms, clock.wall_ms() - now_s * 1000
        if abs(ahead_ms - before_ms) > WALL_STEP_MS:
            for pair in pairs:
                pair.orders_sent.set()  # a book's age is judged by both clocks: a deadline may be nearer, or past
        for guard in guards:
            guard.look(now_s, may_be=may_be)


async def watch_answers(pairs: Sequence[Pair]) -> None:
    """A request without an answer is unknown in the end, whoever sent it and whether or not anybody waits.

    ``pairs`` are those of one account. What is sent while this sleeps is due later than all that was sent before.
    """
    clock = pairs[0].clock
    patience_s = pairs[0].desk.venue.request_timeout_s + 2 * ANSWER_GRACE_S
    while True:
        now_s = clock.monotonic()
        oldest_s = min((pair.unanswered_since_s(now_s) for pair in pairs), default=now_s)
        await clock.sleep(max(LEAST_SLEEP_S, oldest_s + patience_s - now_s))
        for pair in pairs:
            for batch in pair.overdue(clock.monotonic() - patience_s):
                pair.give_up_on(batch)
