"""``plan(target, live, policy)``: what to keep, place, cancel and wait with, so that live becomes target.

A live order serves at most one quote of its own layer and side: one at the same price first, then the
nearest within ``diff_per_round`` basis points, while its remaining quantity is close enough. The planner
runs in n log n for ladders whose levels lie further apart than that difference.

Two rules stand above the matching. A live order of either layer that meets or crosses a wanted quote of the
other side, or the reference's opposite touch, is cancelled whatever the tolerance. And a quote that would
cross a live own order, or for which there is no room beside it, waits: it is never placed from this plan.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import zip_longest
from math import inf
from typing import NamedTuple

from mmctl.core.order import LIVE, CancelState, Layer, Order, Quote, Side, State
from mmctl.core.report import Wanted
from mmctl.core.risk import UNBOUNDED, Room, Touch

# Looking up a member of an enum costs more than all else that is done with an order here.
_BUY, _SELL = Side.BUY, Side.SELL
_OPEN = State.OPEN
_NO_CANCEL, _CANCEL_SENT, _CANCEL_LOST = CancelState.NONE, CancelState.SENT, CancelState.UNKNOWN


@dataclass(frozen=True, slots=True)
class Policy:
    """How one layer's plan is made.

    ``diff_bps`` at or below 0, or ``force``, keeps nothing. ``tolerance`` t keeps an order whose remaining
    quantity is within ``[(1 - t), 1 / (1 - t)]`` of its quote's, ``max_units`` one whose amount (ticks
    times lots) is not above it. ``ladder`` is the wanted number of quotes of a side: never more than twice
    as many live orders of this layer and side result. ``touch`` is the reference's, ``None`` without a book.
    """

    layer: Layer
    diff_bps: Decimal
    tolerance: Decimal
    max_units: int
    ladder_asks: int
    ladder_bids: int
    force: bool = False
    touch: Touch | None = None
    room: Room = UNBOUNDED

    def ladder(self, side: Side) -> int:
        return self.ladder_bids if side is Side.BUY else self.ladder_asks


class Waiting(NamedTuple):
    """A quote that is not placed by this plan, and what it waits for."""

    quote: Quote
    reason: str
    freed: bool
    """Whether a cancel of this very plan can make room for it: then the layer decides again."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, in the order of doing: ``place`` and ``cancel`` run from the touch outward, asks and bids
    in turn, and leave together, placements first."""

    keep: tuple[Order, ...]
    place: tuple[Quote, ...]
    cancel: tuple[Wanted, ...]
    wait: tuple[Waiting, ...]

    @property
    def is_empty(self) -> bool:
        """Nothing to place or to cancel now."""
        return not self.place and not self.cancel


def plan(target: Sequence[Quote], live: Iterable[Order], policy: Policy) -> Plan:
    """The plan that turns the live own orders of a pair into ``target``, the quotes of ``policy.layer``.

    ``live`` holds the orders of both layers. Orders in flight or unknown are matched but never cancelled: a
    cancel waits for the placement's reply. One whose cancel is on its way is neither kept nor cancelled
    again; one whose cancel was lost is.
    """
    orders = [order for order in live if order.state in LIVE]
    crossing, cancel = _crossing(target, orders, policy)
    keep: list[Order] = []
    place: list[Quote] = []
    wait: list[Waiting] = []
    for side in (_SELL, _BUY):
        quotes = [quote for quote in target if quote.side is side]
        own = [order for order in orders if order.side is side and order.layer is policy.layer]
        free = [order for order in own if order.cancel is _NO_CANCEL and order.client_id not in crossing]
        served = _match(quotes, free, policy)
        kept = {order.client_id for order in served if order is not None}
        keep.extend(order for order in served if order is not None)
        prices = {quote.price for quote in quotes}
        for order in free:
            if order.client_id not in kept and order.state is _OPEN:
                cancel.append(Wanted(order, _why_not_kept(order, prices, policy)))
        cancel.extend(
            Wanted(order, "cancel_again") for order in own if order.cancel is _CANCEL_LOST and order.state is _OPEN
        )
        unserved = [quote for quote, order in zip(quotes, served, strict=True) if order is None]
        if unserved:
            placed, waiting = _after_loan(unserved, own, kept, policy.ladder(side))
            place.extend(placed)
            wait.extend(waiting)
    placed, waiting = _with_room(_interleave(place), orders, cancel, policy.room)
    return Plan(
        keep=tuple(keep),
        place=tuple(_interleave(placed)),
        cancel=tuple(_interleaved_cancels(cancel)),
        wait=(*wait, *waiting),
    )


def _crossing(target: Sequence[Quote], orders: Sequence[Order], policy: Policy) -> tuple[set[str], list[Wanted]]:
    """Live orders that meet a wanted quote of the other side or the reference's opposite touch: their ids,
    and the cancels of those that can be cancelled now."""
    asks = [quote.price for quote in target if quote.side is _SELL]
    bids = [quote.price for quote in target if quote.side is _BUY]
    touch = policy.touch
    if touch is not None:
        asks.append(touch.ask)
        bids.append(touch.bid)
    lowest_ask, highest_bid = min(asks, default=None), max(bids, default=None)
    ids: set[str] = set()
    cancels: list[Wanted] = []
    for order in orders:
        if order.side is _BUY:
            if lowest_ask is None or order.price < lowest_ask:
                continue
            meets_touch = touch is not None and order.price >= touch.ask
        else:
            if highest_bid is None or order.price > highest_bid:
                continue
            meets_touch = touch is not None and order.price <= touch.bid
        ids.add(order.client_id)
        if order.state is not _OPEN or order.cancel is _CANCEL_SENT:
            continue
        if order.cancel is _CANCEL_LOST and order.layer is policy.layer:
            continue  # cancelled again by its own layer, with its own reason
        cancels.append(Wanted(order, "crosses_touch" if meets_touch else "crosses_target"))
    return ids, cancels


def _match(quotes: Sequence[Quote], free: Sequence[Order], policy: Policy) -> list[Order | None]:
    """The order that serves each quote, if any: at the same price first, then the nearest.

    Where nothing is kept, orders in flight or unknown still serve: they cannot be replaced yet, and their
    levels must not be quoted twice. An order above the maximum serves none.
    """
    keeps_open = not policy.force and policy.diff_bps > 0
    most = policy.max_units
    usable = [
        order for order in free if (keeps_open or order.state is not _OPEN) and order.price * order.remaining <= most
    ]
    served: list[Order | None] = [None] * len(quotes)
    if not usable or not quotes:
        return served
    fits = _Fits(policy.tolerance)
    rest = _match_equal(quotes, usable, served, fits)
    if rest and policy.diff_bps > 0 and None in served:
        _match_nearest(quotes, rest, served, fits, policy.diff_bps)
    return served


class _Fits:
    """Which remaining quantities serve a quote: between ``(1 - t)`` and ``1 / (1 - t)`` times its own."""

    def __init__(self, tolerance: Decimal) -> None:
        self._num, self._den = (1 - tolerance).as_integer_ratio()

    def bounds(self, qty: int) -> tuple[int, int | float]:
        """The least and the greatest remaining quantity that serve a quote of ``qty``."""
        num, den = self._num, self._den
        return -(-qty * num // den), qty * den // num if num > 0 else inf


def _match_equal(
    quotes: Sequence[Quote], usable: Sequence[Order], served: list[Order | None], fits: _Fits
) -> list[Order]:
    """Serve quotes from orders at their own price; returns the orders that are left.

    Several of one price are matched from the smallest up, which serves as many as can be served.
    """
    at_price: defaultdict[int, list[tuple[int, str, Order]]] = defaultdict(list)
    for order in usable:
        at_price[order.price].append((order.remaining, order.client_id, order))
    for orders in at_price.values():
        orders.sort()
    by_qty = sorted((quote.qty, at) for at, quote in enumerate(quotes) if quote.price in at_price)
    for qty, at in by_qty:
        low, high = fits.bounds(qty)
        orders = at_price[quotes[at].price]
        first = bisect_left(orders, (low,))
        if first < len(orders) and orders[first][0] <= high:
            served[at] = orders.pop(first)[2]
    return [order for orders in at_price.values() for _, _, order in orders]


def _match_nearest(
    quotes: Sequence[Quote], rest: list[Order], served: list[Order | None], fits: _Fits, diff_bps: Decimal
) -> None:
    """Give each unserved quote, from the touch outward, the nearest fitting order of ``rest`` within reach."""
    num, den = (diff_bps / 10_000).as_integer_ratio()
    rest.sort(key=lambda order: (order.price, order.client_id))
    # A stop at either end lies out of any reach, and spares a look at the bounds.
    prices = [-inf, *(order.price for order in rest), inf]
    remaining = [0, *(order.remaining for order in rest), 0]
    # The next unused order at or above, at or below: used ones are passed over in one step, not one by one.
    up, down = list(range(len(prices))), list(range(len(prices)))
    for at, quote in enumerate(quotes):
        if served[at] is not None:
            continue
        price = quote.price
        reach = price * num // den
        low, high = fits.bounds(quote.qty)
        start = bisect_left(prices, price)
        above, below = _follow(up, start), _follow(down, start - 1)
        while True:
            if price - prices[below] <= prices[above] - price:
                found = below
                if price - prices[found] > reach:
                    break
                below = _follow(down, below - 1)
            else:
                found = above
                if prices[found] - price > reach:
                    break
                above = _follow(up, above + 1)
            if low <= remaining[found] <= high:
                served[at] = rest[found - 1]
                up[found], down[found] = found + 1, found - 1
                break


def _follow(links: list[int], at: int) -> int:
    """The end of the chain of ``links`` from ``at``, which becomes shorter on the way."""
    while links[at] != at:
        links[at] = links[links[at]]
        at = links[at]
    return at


def _why_not_kept(order: Order, wanted_prices: Collection[int], policy: Policy) -> str:
    if policy.force:
        return "forced"
    if policy.ladder(order.side) == 0 or not wanted_prices:
        return "not_wanted"
    if policy.diff_bps <= 0:
        return "replaced"
    return "qty" if order.price in wanted_prices else "moved"


def _after_loan(
    unserved: list[Quote], own: Sequence[Order], kept: Collection[str], ladder: int
) -> tuple[list[Quote], list[Waiting]]:
    """Placing first is a loan of at most one ladder: each cancel still unconfirmed from an earlier round,
    and each unwanted order that cannot be cancelled yet, takes the place of one new quote of its side.

    No price is quoted beside an order that may or may not rest there.
    """
    unsettled = [order for order in own if order.state is not _OPEN]
    held = [order.price for order in unsettled if order.client_id not in kept]
    pending = sum(order.cancel is not _NO_CANCEL for order in own if order.state is _OPEN)
    doubtful = {order.price for order in unsettled}
    waiting = [Waiting(quote, "unsettled_at_price", False) for quote in unserved if quote.price in doubtful]
    placed = [quote for quote in unserved if quote.price not in doubtful]
    in_their_place = sum(one.quote.price in held for one in waiting)
    lent = pending + max(0, len(held) - in_their_place)
    allowed = max(0, min(len(placed) - lent, 2 * ladder - len(own)))
    waiting.extend(Waiting(quote, "unconfirmed_cancel", False) for quote in placed[allowed:])
    return placed[:allowed], waiting


def _with_room(
    quotes: Iterable[Quote], orders: Sequence[Order], cancel: Sequence[Wanted], room: Room
) -> tuple[list[Quote], list[Waiting]]:
    """Spend the room from the touch outward; what would cross a live own order, or one placed before it,
    waits for its end."""
    lowest_ask = min((order.price for order in orders if order.side is _SELL), default=None)
    highest_bid = max((order.price for order in orders if order.side is _BUY), default=None)
    freed = Counter(wanted.order.side for wanted in cancel)
    left = {_SELL: room.base_lots, _BUY: room.quote_units}
    exposure = {_SELL: room.sell_lots, _BUY: room.buy_lots}
    slots = room.orders
    placed: list[Quote] = []
    waiting: list[Waiting] = []
    for quote in quotes:
        if quote.side is _BUY:
            crosses = lowest_ask is not None and quote.price >= lowest_ask
            need = quote.price * quote.qty
        else:
            crosses = highest_bid is not None and quote.price <= highest_bid
            need = quote.qty
        funds, lots = left[quote.side], exposure[quote.side]
        if crosses:
            waiting.append(Waiting(quote, "would_cross_own", freed[quote.side.opposite] > 0))
        elif slots is not None and slots < 1:
            waiting.append(Waiting(quote, "open_order_cap", bool(freed)))
        elif funds is not None and funds < need:
            waiting.append(Waiting(quote, "balance", freed[quote.side] > 0))
        elif lots is not None and lots < quote.qty:
            waiting.append(Waiting(quote, "max_position", freed[quote.side] > 0))
        else:
            placed.append(quote)
            if quote.side is _BUY:
                highest_bid = quote.price if highest_bid is None else max(highest_bid, quote.price)
            else:
                lowest_ask = quote.price if lowest_ask is None else min(lowest_ask, quote.price)
            if slots is not None:
                slots -= 1
            if funds is not None:
                left[quote.side] = funds - need
            if lots is not None:
                exposure[quote.side] = lots - quote.qty
    return placed, waiting


def _interleave(quotes: Sequence[Quote]) -> list[Quote]:
    """Asks and bids in turn, each from the touch outward, so that a batch cut short leaves a balanced ladder."""
    asks = sorted((quote for quote in quotes if quote.side is _SELL), key=lambda quote: quote.price)
    bids = sorted((quote for quote in quotes if quote.side is _BUY), key=lambda quote: -quote.price)
    return [quote for both in zip_longest(asks, bids) for quote in both if quote is not None]


def _interleaved_cancels(cancels: Iterable[Wanted]) -> list[Wanted]:
    cancels = list(cancels)
    asks = sorted((one for one in cancels if one.order.side is _SELL), key=lambda one: one.order.price)
    bids = sorted((one for one in cancels if one.order.side is _BUY), key=lambda one: -one.order.price)
    return [one for both in zip_longest(asks, bids) for one in both if one is not None]
