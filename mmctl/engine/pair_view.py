"""How a pair looks now: its orders, its book, its layers' counters, and why it does not quote, if so."""

from __future__ import annotations

from mmctl.core.order import Order, Side, State
from mmctl.core.report import LayerView, PairView
from mmctl.engine.pair import LayerState, Pair


def view_of(pair: Pair) -> PairView:
    """``pair`` as the live view draws it."""
    now_s, wall_ms = pair.clock.monotonic(), pair.clock.wall_ms()
    orders = tuple(pair.ledger.live())
    age_s = pair.age.age_s(wall_ms, now_s)
    status, quoting = _status(pair, wall_ms, now_s)
    totals = pair.totals
    return PairView(
        pair=pair.spec.name,
        venue=pair.desk.venue.name,
        account=pair.desk.venue.account,
        mode=pair.desk.venue.mode,
        source=pair.age.book.source if pair.age.book else "",
        instrument=pair.instrument,
        book=pair.age.book,
        age_ms=None if pair.age.book is None else age_s * 1000,
        status=status,
        quoting=quoting,
        orders=orders,
        layers=tuple(_layer_view(state, orders) for state in pair.layers.values()),
        kept=totals.kept,
        placed=totals.placed,
        cancelled=totals.cancelled,
        rejected=totals.rejected,
        fills=totals.fills,
        faults=totals.faults,
        unknown=sum(order.state is State.UNKNOWN for order in orders),
        foreign=pair.foreign,
        position=pair.ledger.position,
        last_fault=totals.last_fault,
        elapsed_ms=(now_s - pair.started_s) * 1000,
    )


def _status(pair: Pair, wall_ms: int, now_s: float) -> tuple[str, bool]:
    """Whether the pair quotes, and the first reason why not, in words."""
    holds = [hold for layer in pair.layers if (hold := pair.gate.hold(layer)) is not None]
    if holds:
        return f"{holds[0].reason}: {holds[0].detail}", len(holds) < len(pair.layers)
    if pair.feed_fault:
        return pair.feed_fault, False
    for state in pair.layers.values():
        stale = pair.age.stale(state.spec.quote_timeout_s, wall_ms, now_s)
        if stale is not None:
            return f"{stale.reason}: {stale.detail}", False
        if state.backoff_until_s > now_s:
            return f"backing off for {state.backoff_until_s - now_s:.0f} s: {pair.totals.last_fault}", False
    return "quoting", True


def _layer_view(state: LayerState, orders: tuple[Order, ...]) -> LayerView:
    own = [order for order in orders if order.layer is state.spec.layer]
    return LayerView(
        layer=state.spec.layer,
        interval_s=state.spec.interval_s,
        rounds=state.rounds,
        previous_asks=sum(order.side is Side.SELL for order in own),
        previous_bids=sum(order.side is Side.BUY for order in own),
        rounds_since_refresh=state.since_refresh,
        force_refresh_num=state.spec.force_refresh_num,
        keeps=state.keeps,
        places=state.places,
        cancels=state.cancels,
        refused=state.refused,
        status=state.status,
    )
