"""Whether an account can be listed and cancelled on, tried before it matters: else a guard would watch in vain."""

from __future__ import annotations

import asyncio

from mmctl.bootstrap_stop import stop_venue
from mmctl.cli.stop_targets import Target
from mmctl.core.events import CancelRefused, Event, Unsettled
from mmctl.core.order import CancelOrder, Layer, Side, encode_own_id
from mmctl.engine.swept import StopVenue
from mmctl.errors import VenueRefused, VenueUnreachable

NEVER_PLACED = encode_own_id(Layer.NEAR, Side.BUY, 0, 0)
"""No engine has the epoch 0."""

ANSWERED_WITHIN_S = 5.0


async def try_venue(target: Target) -> None:
    """List orders of ``target`` and cancel one that never was, where a symbol is known.

    Raises ``UsageError`` where keys are missing, ``VenueRefused``, and ``VenueUnreachable``.
    """
    venue = stop_venue(target.account, several=target.several, bulk=False)
    symbols = target.symbols or tuple(pair.symbol for pair in target.pairs)
    try:
        listing = await venue.open_orders(symbols[0] if symbols else None)
        if symbol := next(iter(symbols), "") or next((seen.symbol for seen in listing.own), ""):
            await try_cancel(venue, symbol)
    finally:
        await venue.close()


async def try_cancel(venue: StopVenue, symbol: str) -> None:
    """Cancel an order of ``symbol`` that never was: a venue that does not know it would have cancelled one.

    Raises ``VenueRefused`` where it does not cancel for this key, and ``VenueUnreachable`` where it does not say.
    """
    answer: asyncio.Future[Event] = asyncio.get_running_loop().create_future()

    def take(_symbol: str, event: Event) -> None:
        if isinstance(event, CancelRefused | Unsettled) and event.client_id == NEVER_PLACED and not answer.done():
            answer.set_result(event)

    venue.listen(take)
    venue.submit((), [CancelOrder(symbol, NEVER_PLACED, None)])
    await asyncio.wait((answer,), timeout=ANSWERED_WITHIN_S)
    told = answer.result() if answer.done() else None
    if isinstance(told, CancelRefused):
        if not told.not_found:
            raise VenueRefused(f"{venue.name} refused a cancel: {told.reason}: this guard could end nothing")
        return
    raise VenueUnreachable(f"{venue.name} did not say whether this key may cancel")
