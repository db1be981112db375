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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import zip_longest
from typing import NamedTuple

from mmctl.core.order import CancelState, Layer, Order, Quote, Side, State
from mmctl.core.report import Wanted
from mmctl.core.risk import UNBOUNDED, Room, Touch


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
    orders = [order for order in live if order.is_live]
    cancel = _crossing(target, orders, policy)
    crossing = {wanted.order.client_id for wanted in cancel}
    keep: list[Order] = []
    place: list[Quote] = []
    wait: list[Waiting] = []
    for side in (Side.SELL, Side.BUY):
        quotes = [quote for quote in target if quote.side is side]
        own = [order for order in orders if order.side is side and order.layer is policy.layer]
        free = [order for order in own if order.cancel is CancelState.NONE and order.client_id not in crossing]
        matched, left = _match(quotes, free, policy)
        keep.extend(matched.values())
        cancel.extend(Wanted(order, _why_not_kept(order, quotes, policy)) for order in left if _settled(order))
        cancel.extend(Wanted(order, "cancel_again") for order in own if order.cancel is CancelState.UNKNOWN)
        unmatched = [quote for quote in quotes if quote.price not in matched]
        placed, waiting = _after_loan(unmatched, own, left, policy.ladder(side))
        place.extend(placed)
        wait.extend(waiting)
    placed, waiting = _with_room(_interleave(place), orders, cancel, policy.room)
    return Plan(
        keep=tuple(keep),
        place=tuple(placed),
        cancel=tuple(_interleaved_cancels(cancel)),
        wait=(*wait, *waiting),
    )


def cancel_all(live: Iterable[Order], reason: str) -> Plan:
    """The plan of an empty target: every live order that can be cancelled now is, whatever its layer."""
    wanted = [Wanted(order, reason) for order in live if order.is_live and order.cancel is not CancelState.SENT]
    return Plan((), (), tuple(_interleaved_cancels(wanted)), ())


def _settled(order: Order) -> bool:
    return order.state is State.OPEN


def _crossing(target: Sequence[Quote], orders: Sequence[Order], policy: Policy) -> list[Wanted]:
    """Cancels of live orders that meet a wanted quote of the other side or the reference's opposite touch."""
    lowest_ask = min((quote.price for quote in target if quote.side is Side.SELL), default=None)
    highest_bid = max((quote.price for quote in target if quote.side is Side.BUY), default=None)
    found: list[Wanted] = []
    for order in orders:
        if order.cancel is CancelState.SENT or not _settled(order):
            continue
        if order.side is Side.BUY:
            meets_touch = policy.touch is not None and order.price >= policy.touch.ask
            meets_target = lowest_ask is not None and order.price >= lowest_ask
        else:
            meets_touch = policy.touch is not None and order.price <= policy.touch.bid
            meets_target = highest_bid is not None and order.price <= highest_bid
        if meets_touch or meets_target:
            if order.cancel is CancelState.UNKNOWN and order.layer is policy.layer:
                continue  # cancelled again below, with its own reason
            found.append(Wanted(order, "crosses_touch" if meets_touch else "crosses_target"))
    return found


def _match(quotes: Sequence[Quote], free: Sequence[Order], policy: Policy) -> tuple[dict[int, Order], list[Order]]:
    """Kept orders by the price of the quote that each serves, and the orders that serve none.

    On a forced refresh only orders in flight or unknown are matched: they cannot be replaced yet, and their
    levels must not be quoted twice.
    """
    keeps_settled = not policy.force and policy.diff_bps > 0
    usable = [order for order in free if keeps_settled or not _settled(order)]
    by_price: defaultdict[int, list[Order]] = defaultdict(list)
    for order in usable:
        by_price[order.price].append(order)
    matched: dict[int, Order] = {}
    taken: set[str] = set()
    for quote in quotes:
        fitting = [order for order in by_price.get(quote.price, ()) if _fits(order, quote, policy)]
        if fitting:
            best = min(fitting, key=lambda order: (abs(order.remaining - quote.qty), order.client_id))
            matched[quote.price] = best
            taken.add(best.client_id)
    rest = sorted((order for order in usable if order.client_id not in taken), key=lambda o: (o.price, o.client_id))
    if rest and len(matched) < len(quotes):
        _match_nearest(quotes, rest, matched, policy)
        taken = {order.client_id for order in matched.values()}
    return matched, [order for order in free if order.client_id not in taken]


def _match_nearest(quotes: Sequence[Quote], rest: list[Order], matched: dict[int, Order], policy: Policy) -> None:
    """Give each unmatched quote, from the touch outward, the nearest fitting order of ``rest``."""
    num, den = policy.diff_bps.as_integer_ratio()
    prices = [order.price for order in rest]
    used = [False] * len(rest)
    for quote in quotes:
        if quote.price in matched:
            continue
        reach = max(0, quote.price * num // (den * 10_000))
        above = bisect_left(prices, quote.price)
        below = above - 1
        while True:
            gap_above = prices[above] - quote.price if above < len(rest) else reach + 1
            gap_below = quote.price - prices[below] if below >= 0 else reach + 1
            if min(gap_above, gap_below) > reach:
                break
            if gap_below <= gap_above:
                at, below = below, below - 1
            else:
                at, above = above, above + 1
            if not used[at] and _fits(rest[at], quote, policy):
                used[at] = True
                matched[quote.price] = rest[at]
                break


def _fits(order: Order, quote: Quote, policy: Policy) -> bool:
    """Whether the order's remaining quantity serves the quote, within tolerance and maximum."""
    if order.price * order.remaining > policy.max_units:
        return False
    num, den = (1 - policy.tolerance).as_integer_ratio()
    return order.remaining * den >= quote.qty * num and order.remaining * num <= quote.qty * den


def _why_not_kept(order: Order, quotes: Sequence[Quote], policy: Policy) -> str:
    if policy.force:
        return "forced"
    if policy.ladder(order.side) == 0 or not quotes:
        return "not_wanted"
    return "qty" if any(quote.price == order.price for quote in quotes) else "moved"


def _after_loan(
    unmatched: list[Quote], own: Sequence[Order], left: Sequence[Order], ladder: int
) -> tuple[list[Quote], list[Waiting]]:
    """Placing first is a loan of at most one ladder: each cancel still unconfirmed from an earlier round,
    and each unwanted order that cannot be cancelled yet, takes the place of one new quote of its side."""
    held = [order for order in left if not _settled(order)]
    pending = [order for order in own if order.cancel is not CancelState.NONE]
    held_prices = {order.price for order in held}
    waiting = [Waiting(quote, "unsettled_at_price", False) for quote in unmatched if quote.price in held_prices]
    placed = [quote for quote in unmatched if quote.price not in held_prices]
    lent = max(0, len(held) + len(pending) - len(waiting))
    allowed = max(0, min(len(placed) - lent, 2 * ladder - len(own)))
    waiting.extend(Waiting(quote, "unconfirmed_cancel", False) for quote in placed[allowed:])
    return placed[:allowed], waiting


def _with_room(
    quotes: Iterable[Quote], orders: Sequence[Order], cancel: Sequence[Wanted], room: Room
) -> tuple[list[Quote], list[Waiting]]:
    """Spend the room from the touch outward; what would cross a live own order waits for its end."""
    lowest_ask = min((order.price for order in orders if order.side is Side.SELL), default=None)
    highest_bid = max((order.price for order in orders if order.side is Side.BUY), default=None)
    freed = Counter(wanted.order.side for wanted in cancel)
    left = {Side.SELL: room.base_lots, Side.BUY: room.quote_units}
    slots = room.orders
    placed: list[Quote] = []
    waiting: list[Waiting] = []
    for quote in quotes:
        if quote.side is Side.BUY:
            crosses = lowest_ask is not None and quote.price >= lowest_ask
            need = quote.price * quote.qty
        else:
            crosses = highest_bid is not None and quote.price <= highest_bid
            need = quote.qty
        funds = left[quote.side]
        if crosses:
            waiting.append(Waiting(quote, "would_cross_own", bool(freed)))
        elif slots is not None and slots < 1:
            waiting.append(Waiting(quote, "open_order_cap", bool(freed)))
        elif funds is not None and funds < need:
            waiting.append(Waiting(quote, "balance", freed[quote.side] > 0))
        else:
            placed.append(quote)
            if slots is not None:
                slots -= 1
            if funds is not None:
                left[quote.side] = funds - need
    return placed, waiting


def _interleave(quotes: Sequence[Quote]) -> list[Quote]:
    """Asks and bids in turn, each from the touch outward, so that a batch cut short leaves a balanced ladder."""
    asks = sorted((quote for quote in quotes if quote.side is Side.SELL), key=lambda quote: quote.price)
    bids = sorted((quote for quote in quotes if quote.side is Side.BUY), key=lambda quote: -quote.price)
    return [quote for both in zip_longest(asks, bids) for quote in both if quote is not None]


def _interleaved_cancels(cancels: Iterable[Wanted]) -> list[Wanted]:
    cancels = list(cancels)
    asks = sorted((one for one in cancels if one.order.side is Side.SELL), key=lambda one: one.order.price)
    bids = sorted((one for one in cancels if one.order.side is Side.BUY), key=lambda one: -one.order.price)
    return [one for both in zip_longest(asks, bids) for one in both if one is not None]
