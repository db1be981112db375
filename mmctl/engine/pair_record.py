"""What an engine says of its pairs to others."""

from __future__ import annotations

from collections.abc import Sequence

from mmctl.core.order import Order, State
from mmctl.engine.pair import LayerState, Pair
from mmctl.engine.records import LayerRecord, PairRecord


def pair_records(pairs: Sequence[Pair]) -> tuple[PairRecord, ...]:
    """How each pair is now."""
    return tuple(_of(pair) for pair in pairs)


def _of(pair: Pair) -> PairRecord:
    live = pair.ledger.live()
    layers = tuple(_layer(state, live) for state in pair.layers.values())
    # A ladder that left the profile may have orders without their answer yet.
    gone = {order.layer for order in live} - pair.layers.keys()
    others = tuple(LayerRecord(layer, 0.0, "not in the profile", *_counts(layer, live)) for layer in sorted(gone))
    holds = [pair.gate.hold(layer) for layer in pair.layers]
    held = holds[0].detail if holds[0] is not None and all(holds) else ""
    return PairRecord(pair.spec.name, pair.spec.symbol, (*layers, *others), pair.progress_ms, pair.progress_s, held)


def _layer(state: LayerState, live: Sequence[Order]) -> LayerRecord:
    layer = state.spec.layer
    return LayerRecord(layer, state.spec.interval_s, state.status, *_counts(layer, live))


def _counts(layer: str, live: Sequence[Order]) -> tuple[int, int]:
    """Orders that rest, and those without an answer that tells."""
    own = [order for order in live if order.layer == layer]
    resting = sum(order.state is State.OPEN for order in own)
    return resting, len(own) - resting
