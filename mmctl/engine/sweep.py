"""Stopping: cancel every own order in scope, and list the venue until it is proven empty of them.

Used by a shutdown, with the engine's own pairs, and by the stop verbs, from a process that runs no engine.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol

from mmctl.core.events import CancelRefused, Ended, Event, Seen, Unsettled
from mmctl.core.instrument import Instrument
from mmctl.core.order import CancelOrder, Layer, NewOrder, State, decode_own_id
from mmctl.errors import VenueError, VenueRefused
from mmctl.ports import Balances, Clock, ForeignOrder, Listing

EMPTY_LISTINGS_NEEDED = 2
LEAST_LOOK_S = 2.0
"""How long a listing may take that was asked for just before the deadline, so that the end can say what remains."""

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
CANCEL_AGAIN_S = 1.0
"""How long a cancel may stay without effect before it is sent again."""

REFUSALS_BELIEVED = 2
"""After so many first looks that were all refused (a wrong key), asking again will not help."""


class StopVenue(Protocol):
    """What a stop needs of a venue: a part of ``mmctl.ports.Venue``, with the same promises."""

    name: str
    account: str
    landing_time_s: float

    def listen(self, listener: Callable[[str, Event], None]) -> None: ...
    async def open(self) -> None: ...
    async def instrument(self, symbol: str) -> Instrument: ...
    def submit(self, places: Sequence[NewOrder], cancels: Sequence[CancelOrder]) -> None: ...
    async def open_orders(self, symbol: str | None) -> Listing: ...
    async def balances(self) -> Balances: ...
    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Scope:
    """What is to go: the symbols (all of the account: ``None``), the layer (both: ``None``), and the epochs up to
    ``newest_epoch`` (all: ``None``). ``foreign``: what is not ours goes too, which is in no layer."""

    symbols: tuple[str, ...] | None
    layer: Layer | None = None
    newest_epoch: int | None = None
    foreign: bool = False

    def covers(self, client_id: str) -> bool:
        own = decode_own_id(client_id)
        if own is None or self.layer not in (None, own.layer):
            return False
        return self.newest_epoch is None or own.epoch <= self.newest_epoch


@dataclass(slots=True)
class Swept:
    """How a sweep ended. ``remaining`` is ``None`` where it could not be read; ``unread`` says why."""

    proven: bool = False
    cancelled: list[str] = field(default_factory=list)
    remaining: tuple[tuple[str, Seen], ...] | None = None
    foreign: int | None = None
    unread: str = ""
    others: int | None = None
    """Own orders out of scope: far ones that a near stop leaves alone, those of a younger engine."""
    late_epochs: set[int] = field(default_factory=set)
    """Epochs of own orders that came after the first listing: an engine still places."""
    refusal: str = ""
    """Why the venue last refused a cancel, other than that it does not know the order."""
    waited: bool = False
    """Whether the venue was watched for engines that could not be asked."""
    first_empty_ms: float | None = None
    took_ms: float = 0.0


class Sweeper:
    """Sweeps one account.

    ``quiet`` says that no known engine has a placement without its answer, nor an order that it knows to rest, so
    that an empty listing cannot be overtaken and is not only late. ``stranger_wait_s`` is for engines that cannot be
    asked: once an own order was found, the venue must be watched so long before its emptiness proves anything.
    """

    def __init__(
        self,
        venue: StopVenue,
        clock: Clock,
        scope: Scope,
        *,
        deadline_s: float,
        quiet: Callable[[], bool] = lambda: True,
        stranger_wait_s: float = 0.0,
        longest_pause_s: float = LONGEST_PAUSE_S,
    ) -> None:
        self._venue = venue
        self._clock = clock
        self._scope = scope
        self._quiet = quiet
        self._started_s = clock.monotonic()
        self._deadline_s = self._started_s + deadline_s
        self._quiet_from_s = self._started_s
        self._stranger_wait_s = stranger_wait_s
        self._known: set[str] = set()
        self._looked = False
        self._longest_pause_s = longest_pause_s
        self._asked: dict[str, float] = {}
        self._unanswered: set[str] = set()
        self._answered = asyncio.Event()
        self._refused_looks = 0
        self.swept = Swept()

    def on_event(self, event: Event) -> None:
        """Note what becomes of the cancels of this sweep; give it every event of the venue."""
        if isinstance(event, Ended | CancelRefused | Unsettled) and event.client_id in self._unanswered:
            self._unanswered.discard(event.client_id)
            if not self._unanswered:
                self._answered.set()
        if isinstance(event, CancelRefused) and not event.not_found and event.client_id in self._asked:
            self.swept.refusal = event.reason
        if not isinstance(event, Ended) or event.state is not State.CANCELLED:
            return
        if event.client_id in self._asked and event.client_id not in self.swept.cancelled:
            self.swept.cancelled.append(event.client_id)

    def asked(self, client_ids: Sequence[str]) -> None:
        """Cancels for these have just been sent by somebody else."""
        self._asked.update(dict.fromkeys(client_ids, self._clock.monotonic()))

    async def run(self) -> Swept:
        """Sweep until proven empty or the deadline; never raises for what the venue does."""
        empties, pause_s = 0, FIRST_PAUSE_S
        while True:
            found, whole = await self._look()
            self._cancel(found)
            empties = empties + 1 if self._is_settled(found, whole=whole) else 0
            left_s = self._deadline_s - self._clock.monotonic()
            if empties >= EMPTY_LISTINGS_NEEDED or left_s <= 0 or self._refused_looks >= REFUSALS_BELIEVED:
                break
            await self._pause(min(pause_s, left_s) if not empties else 0.0)
            pause_s = min(self._longest_pause_s, 1.5 * pause_s)
        self.swept.proven = empties >= EMPTY_LISTINGS_NEEDED
        self.swept.took_ms = self._elapsed_ms()
        return self.swept

    async def _pause(self, seconds: float) -> None:
        """Wait, but no longer than until the last cancel is answered: the venue may be empty then."""
        if not self._unanswered:
            await self._clock.sleep(seconds)
            return
        waits = [asyncio.ensure_future(self._clock.sleep(seconds)), asyncio.ensure_future(self._answered.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    def _is_settled(self, found: Sequence[tuple[str, Seen]], *, whole: bool) -> bool:
        """Whether a look that found none proves something; notes when the venue was first seen empty."""
        if found:
            self.swept.first_empty_ms = None
        if found or not whole:
            return False
        if self.swept.first_empty_ms is None:
            self.swept.first_empty_ms = self._elapsed_ms()
        return self._quiet() and self._clock.monotonic() >= self._quiet_from_s

    async def _look(self) -> tuple[list[tuple[str, Seen]], bool]:
        """Own orders in scope that the venue shows now, and whether that is all of it."""
        listings, unread = await self._listings()
        found = [
            (listing.symbol or seen.symbol, seen)
            for listing in listings
            for seen in listing.own
            if self._scope.covers(seen.client_id)
        ]
        self._note_engines({seen.client_id for _, seen in found}, whole=not unread)
        self.swept.unread = unread
        self.swept.remaining = None if unread else tuple(found)
        self.swept.foreign = None if unread else sum(len(listing.foreign) for listing in listings)
        self.swept.others = None if unread else sum(len(listing.own) for listing in listings) - len(found)
        if self._scope.foreign:
            found += [(order.symbol, _as_seen(order)) for listing in listings for order in listing.foreign]
        return found, not unread

    async def _listings(self) -> tuple[list[Listing], str]:
        """The listings of the scope, asked for at once, and why one of them could not be read, if so."""
        left_s = self._deadline_s - self._clock.monotonic()
        asked = [asyncio.create_task(self._venue.open_orders(symbol)) for symbol in self._scope.symbols or (None,)]
        try:
            await asyncio.wait(asked, timeout=max(LEAST_LOOK_S, left_s))
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        listings: list[Listing] = []
        unread, refused = "", 0
        for task in asked:
            try:
                listings.append(task.result())
            except asyncio.CancelledError:
                unread = unread or f"the venue {self._venue.name} did not list its orders in time"
            except VenueError as error:
                unread = unread or str(error)
                refused += isinstance(error, VenueRefused)
        hopeless = refused == len(asked) and not self._looked
        self._refused_looks = self._refused_looks + 1 if hopeless else 0
        return listings, unread

    def _note_engines(self, shown: set[str], *, whole: bool) -> None:
        """Orders that the first whole look did not show come from an engine that still places."""
        if shown and self._stranger_wait_s and not self.swept.waited:
            self.swept.waited = True
            self._quiet_from_s = self._started_s + self._stranger_wait_s
        late = shown - self._known - self._asked.keys() if self._looked else set()
        self.swept.late_epochs |= {own.epoch for one in late if (own := decode_own_id(one)) is not None}
        if late and self.swept.waited:
            # Somebody still places: the time in which nothing came begins again.
            self._quiet_from_s = self._clock.monotonic() + self._stranger_wait_s
        self._known |= shown
        self._looked |= whole

    def _cancel(self, found: Sequence[tuple[str, Seen]]) -> None:
        now_s = self._clock.monotonic()
        due = [
            CancelOrder(symbol, seen.client_id, seen.order_id)
            for symbol, seen in found
            if now_s - self._asked.get(seen.client_id, -CANCEL_AGAIN_S) >= CANCEL_AGAIN_S
        ]
        if not due:
            return
        self.asked([cancel.client_id for cancel in due])
        with contextlib.suppress(Exception):  # what the venue did not take now is sent again in a second
            self._venue.submit((), due)
            self._unanswered.update(cancel.client_id for cancel in due)
            self._answered.clear()

    def _elapsed_ms(self) -> float:
        return (self._clock.monotonic() - self._started_s) * 1000


def _as_seen(order: ForeignOrder) -> Seen:
    return Seen(
        order.client_id, order.order_id, order.side, order.price, order.remaining, Decimal(0), 0.0, order.symbol
    )
