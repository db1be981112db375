"""Stopping: cancel every own order in scope, and list the venue until it is proven empty of them.

Used by a shutdown, with the engine's own pairs, and by the stop verbs, from a process that runs no engine.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mmctl.core.events import Ended, Event, Seen
from mmctl.core.order import CancelOrder, Layer, State, decode_own_id
from mmctl.errors import VenueError
from mmctl.ports import Clock, Listing, Venue

EMPTY_LISTINGS_NEEDED = 2
LEAST_LOOK_S = 2.0
"""How long a listing may take that was asked for just before the deadline, so that the end can say what remains."""

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
CANCEL_AGAIN_S = 1.0
"""How long a cancel may stay without effect before it is sent again."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What is to go: the symbols (all of the account: ``None``), the layer (both: ``None``), and the epochs up to
    ``newest_epoch`` (all: ``None``)."""

    symbols: tuple[str, ...] | None
    layer: Layer | None = None
    newest_epoch: int | None = None

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
        venue: Venue,
        clock: Clock,
        scope: Scope,
        *,
        deadline_s: float,
        quiet: Callable[[], bool] = lambda: True,
        stranger_wait_s: float = 0.0,
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
        self._asked: dict[str, float] = {}
        self.swept = Swept()

    def on_event(self, event: Event) -> None:
        """Note the ends of orders that this sweep cancelled; give it every event of the venue."""
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
            if empties >= EMPTY_LISTINGS_NEEDED or left_s <= 0:
                break
            await self._clock.sleep(min(pause_s, left_s) if not empties else 0.0)
            pause_s = min(LONGEST_PAUSE_S, 1.5 * pause_s)
        self.swept.proven = empties >= EMPTY_LISTINGS_NEEDED
        self.swept.took_ms = self._elapsed_ms()
        return self.swept

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
        unread = ""
        for task in asked:
            try:
                listings.append(task.result())
            except asyncio.CancelledError:
                unread = unread or f"the venue {self._venue.name} did not list its orders in time"
            except VenueError as error:
                unread = unread or str(error)
        return listings, unread

    def _note_engines(self, shown: set[str], *, whole: bool) -> None:
        """Orders that the first whole look did not show come from an engine that still places."""
        if shown and self._stranger_wait_s and not self.swept.waited:
            self.swept.waited = True
            self._quiet_from_s = self._started_s + self._stranger_wait_s
        late = shown - self._known - self._asked.keys() if self._looked else set()
        self.swept.late_epochs |= {own.epoch for one in late if (own := decode_own_id(one)) is not None}
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

    def _elapsed_ms(self) -> float:
        return (self._clock.monotonic() - self._started_s) * 1000
