"""One layer's turn, decided: book -> quotes -> risk -> plan. Nothing here does anything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mmctl.core.book import Book
from mmctl.core.instrument import Instrument
from mmctl.core.ladder import LayerQuoter
from mmctl.core.order import Layer, Order, Quote, Side
from mmctl.core.own import without_own
from mmctl.core.plan import Plan, Policy, Waiting, plan
from mmctl.core.report import Refusal
from mmctl.core.risk import Room, approve, touch_ticks
from mmctl.core.spec import PairSpec

WAITS = {
    "unsettled_at_price": "an order at this price has no answer yet",
    "unconfirmed_cancel": "an earlier cancel of this side is not confirmed yet",
    "would_cross_own": "it would cross a live own order",
    "open_order_cap": "there is no room for another open order",
    "balance": "the free balance is too small",
    "max_position": "filled, it and the live orders could come to more than the maximum position",
}
"""Why a quote waits, for people; the keys are the planner's reasons."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What one layer wants now, and what that means for the live orders.

    ``target`` is what is left after risk; ``refused`` what the ladder and the limits would not have, and
    what the plan makes wait.
    """

    layer: Layer
    book: Book
    target: tuple[Quote, ...]
    refused: tuple[Refusal, ...]
    plan: Plan
    forced: bool


class PairDecider:
    """Decides for one pair. It holds what follows from spec and instrument alone, and no state."""

    def __init__(self, spec: PairSpec, instrument: Instrument) -> None:
        self.spec = spec
        self.instrument = instrument
        self._quoters = {layer.layer: LayerQuoter(spec.name, layer, instrument, spec.seed) for layer in spec.layers}

    def reference(self, book: Book, live: Iterable[Order]) -> Book:
        """The book to quote on: less own quantity, where own orders rest in the market that is followed.

        What comes back may have a ``fault`` that ``book`` had not; it is then not quoted on.
        """
        return without_own(book, live, self.instrument) if self.spec.shares_market else book

    def decide(
        self, layer: Layer, book: Book, live: Sequence[Order], room: Room, *, forced: bool, refreshes: int
    ) -> Decision:
        """The decision of ``layer`` on a fresh and usable reference ``book``.

        ``live`` are the own orders of both layers; ``refreshes`` counts the layer's forced refreshes, this
        one included where ``forced``.
        """
        quoter = self._quoters[layer]
        spec = quoter.spec
        ladder = quoter.ladder(book, refreshes)
        touch = touch_ticks(book, self.instrument)
        quotes, inside = self._outside_near(layer, book, [*ladder.asks, *ladder.bids])
        quotes, limited = approve(quotes, book, touch, self.instrument, self.spec.collar_bps, quoter.max_units)
        policy = Policy(
            layer=layer,
            diff_bps=spec.diff_per_round_bps,
            tolerance=spec.qty_tolerance,
            max_units=quoter.max_units,
            ladder_asks=spec.levels(Side.SELL),
            ladder_bids=spec.levels(Side.BUY),
            force=forced,
            touch=touch,
            room=room,
        )
        made = plan(quotes, live, policy)
        waits = [_refusal(waiting) for waiting in made.wait]
        return Decision(layer, book, tuple(quotes), (*ladder.refused, *inside, *limited, *waits), made, forced)

    def _outside_near(self, layer: Layer, book: Book, quotes: list[Quote]) -> tuple[list[Quote], list[Refusal]]:
        """Far quotes that lie nearer than near's innermost quote of their side are refused."""
        near = self._quoters.get(Layer.NEAR)
        if layer is Layer.NEAR or near is None:
            return quotes, []
        ask, bid = near.innermost(book, Side.SELL), near.innermost(book, Side.BUY)
        good: list[Quote] = []
        refused: list[Refusal] = []
        for quote in quotes:
            limit = bid if quote.side is Side.BUY else ask
            nearer = limit is not None and (quote.price > limit if quote.side is Side.BUY else quote.price < limit)
            if nearer:
                detail = f"{self.instrument.price_text(quote.price)} is nearer than near's innermost quote"
                refused.append(Refusal(layer, quote.side, quote.level, "inside_near", detail))
            else:
                good.append(quote)
        return good, refused


def _refusal(waiting: Waiting) -> Refusal:
    quote = waiting.quote
    return Refusal(quote.layer, quote.side, quote.level, waiting.reason, WAITS[waiting.reason])
