"""What an engine says of its pairs to others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from mmctl.core.order import Layer, State
from mmctl.engine.pair import LayerState, Pair
from mmctl.engine.records import LayerRecord, PairRecord

Counts = Mapping[tuple[Layer, bool], int]
"""Live orders by their layer, and by whether they rest."""


def pair_records(pairs: Sequence[Pair]) -> tuple[PairRecord, ...]:
    """How each pair is now."""
    return tuple(_of(pair) for pair in pairs)


def _of(pair: Pair) -> PairRecord:
    counts = Counter((order.layer, order.state is State.OPEN) for order in pair.ledger.live())
    layers = tuple(_layer(state, counts) for state in pair.layers.values())
    # A ladder that left the profile may have orders without their answer yet.
    gone = {layer for layer, _ in counts} - pair.layers.keys()
    others = tuple(LayerRecord(one, 0.0, "not in the profile", *_resting_and_not(one, counts)) for one in sorted(gone))
    first, *rest = pair.layers
    hold = pair.gate.hold(first)
    held = hold.detail if hold is not None and all(pair.gate.hold(layer) for layer in rest) else ""
    return PairRecord(pair.spec.name, pair.spec.symbol, (*layers, *others), pair.progress_ms, pair.progress_s, held)


def _layer(state: LayerState, counts: Counts) -> LayerRecord:
    layer = state.spec.layer
    return LayerRecord(layer, state.spec.interval_s, state.status, *_resting_and_not(layer, counts))


def _resting_and_not(layer: Layer, counts: Counts) -> tuple[int, int]:
    """Orders that rest, and those without an answer that tells."""
    return counts[layer, True], counts[layer, False]
