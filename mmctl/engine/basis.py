"""The wrong market: the reference mid against the maker venue's own mid, own orders taken off.

A pair that follows one market and rests its orders in another must see both. Beyond ``max_basis_bps``, or
where the venue's own mid cannot be read, nothing is quoted and what rests is cancelled.
"""

from __future__ import annotations

from mmctl.core.book import Book
from mmctl.core.freshness import Stale
from mmctl.core.limits import basis_bps
from mmctl.core.own import without_own
from mmctl.engine.pair import Pair
from mmctl.errors import VenueError

MEASURE_EVERY_S = 5.0
MEASURE_RETRY_S = 1.0

OWN_MID_GOOD_FOR_S = 20.0
"""How long a mid that was read may stand for the venue's present one, suspended time of the machine counted."""


async def measure(pair: Pair) -> bool:
    """Read the venue's own mid into the pair; says whether that could be done."""
    asked_s = pair.clock.boot_s()
    try:
        book = await pair.desk.venue.depth(pair.spec.symbol)
    except VenueError as error:
        pair.trouble("own_market", str(error), "asking again")
        return False
    mid = without_own(book, pair.ledger.live(), pair.instrument).mid
    if mid is None:
        pair.trouble("own_market", f"{pair.spec.symbol} has no two sides but our own", "asking again")
        return False
    pair.over("own_market")
    pair.own_mid = (mid, asked_s)
    return True


def wrong_market(pair: Pair, reference: Book | None) -> Stale | None:
    """Why the reference may not be quoted on at this venue, or ``None``; always that without live limits."""
    limits = pair.spec.limits
    if limits is None or reference is None or reference.mid is None:
        return None
    if pair.own_mid is None or pair.clock.boot_s() - pair.own_mid[1] > OWN_MID_GOOD_FOR_S:
        return Stale("basis_unknown", f"the own mid of {pair.spec.symbol} on {pair.desk.venue.name} is not known")
    basis = basis_bps(reference.mid, pair.own_mid[0])
    if basis <= limits.max_basis_bps:
        return None
    detail = (
        f"the reference mid {reference.mid:f} is {basis:.1f} bps from the venue's own {pair.own_mid[0]:f}, "
        f"the maximum is {limits.max_basis_bps:f}"
    )
    return Stale("basis", detail)


async def watch_basis(pair: Pair) -> None:
    """Measure on and on, and cancel what rests in the wrong market."""
    while pair.spec.limits is not None:
        measured = await measure(pair)
        wrong = wrong_market(pair, pair.age.book)
        if wrong is None:
            pair.over("basis")
        elif orders := pair.cancellable(None):
            pair.trouble("basis", wrong.detail, f"cancelling {len(orders)} orders", kind=wrong.reason)
            pair.cancel(orders, wrong.reason)
        await pair.clock.sleep(MEASURE_EVERY_S if measured else MEASURE_RETRY_S)
