"""Stopping: cancel every own order in scope, and list the venue until it is proven empty of them.

Used by a shutdown, with the engine's own pairs, and by the stop verbs, from a process that runs no engine.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from decimal import Decimal

from mmctl.core.events import CancelRefused, Ended, Event, Seen, Unsettled
from mmctl.core.order import CancelOrder, State, decode_own_id
from mmctl.engine.roll import Roll, nobody
from mmctl.engine.swept import Scope, StopVenue, Swept
from mmctl.engine.waiting import news_or
from mmctl.errors import VenueError, VenueRefused
from mmctl.ports import Clock, ForeignOrder, Listing

EMPTY_LISTINGS_NEEDED = 2
LEAST_LOOK_S = 2.0
"""How long a listing may take that was asked for just before the deadline, so that the end can say what remains."""

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
ROLL_EVERY_S = 0.05
"""How often the engines are asked for while they are waited for."""

LEAST_WAIT_S = 0.001
"""What is left of a time may be less than the loop's clock can tell."""

MOST_LOOKS_KEPT = 1000
"""Looks that a receipt has room for; a sweep of a minute makes about a hundred."""

CANCEL_AGAIN_S = 1.0
"""How long a cancel may stay without effect before it is sent again."""

REFUSALS_BELIEVED = 2
"""After so many first looks that were all refused (a wrong key), asking again will not help."""


class Sweeper:
    """Sweeps one account.

    ``quiet`` says that no known engine has a placement without its answer, nor an order that it knows to rest, so
    that an empty listing cannot be overtaken and is not only late. ``roll`` knows the engines of others: until all of
    them are settled, the venue must be watched for as long as it says before its emptiness proves anything.
    """

    def __init__(
        self,
        venue: StopVenue,
        clock: Clock,
        scope: Scope,
        *,
        deadline_s: float,
        quiet: Callable[[], bool] = lambda: True,
        roll: Roll | None = None,
        longest_pause_s: float = LONGEST_PAUSE_S,
    ) -> None:
        self._venue = venue
        self._clock = clock
        self._scope = scope
        self._quiet = quiet
        self._started_s = clock.monotonic()
        self._deadline_s = self._started_s + deadline_s
        self._watched_from_s = self._started_s
        self._roll = roll or nobody()
        self._late: set[int] = set()
        """Epochs of orders that came while their engine was not settled."""
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
            # Before the listing is asked for: what it shows is to be newer than what the engines said.
            self._roll.call()
            proof = self._proof()
            found, whole = await self._look()
            empties = empties + 1 if self._is_settled(found, whole=whole) and proof and self._proof() else 0
            left_s = self._deadline_s - self._clock.monotonic()
            if empties >= EMPTY_LISTINGS_NEEDED or left_s <= 0 or self._refused_looks >= REFUSALS_BELIEVED:
                break
            await self._pause(min(pause_s, left_s) if not empties else 0.0)
            pause_s = min(self._longest_pause_s, 1.5 * pause_s)
        if (
            empties < EMPTY_LISTINGS_NEEDED and self._unanswered
        ):  # with a deadline of zero the cancels have only just left
            await self._until(lambda: not self._unanswered, self._started_s + LEAST_LOOK_S - self._clock.monotonic())
        self._conclude(proven=empties >= EMPTY_LISTINGS_NEEDED)
        return self.swept

    def _conclude(self, *, proven: bool) -> None:
        swept, roll = self.swept, self._roll
        swept.proven = proven
        swept.proof = self._proof() if proven else "not_proven"
        swept.engines, swept.not_reached = roll.seen(), roll.not_reached()
        swept.watch_s = 0.0 if proven or roll.all_settled else roll.wait_s
        # What an engine had sent before it acknowledged may have come after the first look: no harm is in that.
        swept.late_epochs |= {epoch for epoch in self._late if not roll.settled(epoch)}
        if swept.remaining is not None:
            swept.remaining = tuple(one for one in swept.remaining if one[1].client_id not in swept.cancelled)
        swept.took_ms = self._elapsed_ms()

    def _proof(self) -> str:
        """By what an empty venue would be proven empty now; nothing while somebody may still place."""
        watched_s = self._clock.monotonic() - self._watched_from_s
        return self._roll.proof if self._roll.all_settled or watched_s >= self._roll.wait_s else ""

    async def _pause(self, seconds: float) -> None:
        """Wait, but no longer than until what is waited for is there: then the venue may be empty, or proven so."""
        answers, engines = bool(self._unanswered), not self._roll.all_settled
        if not answers and not engines:
            await self._clock.sleep(seconds)
            return

        def is_there() -> bool:
            if engines:
                self._roll.call()
            return (answers and not self._unanswered) or (engines and self._roll.all_settled)

        await self._until(is_there, seconds)

    async def _until(self, is_there: Callable[[], bool], seconds: float) -> None:
        """Wait at most ``seconds``; an answer of the venue is seen at once, all else now and then."""
        ends_s = self._clock.monotonic() + seconds
        while (left_s := ends_s - self._clock.monotonic()) > 0 and not is_there():
            if self._unanswered:
                self._answered.clear()
                await news_or(self._answered, max(LEAST_WAIT_S, min(left_s, ROLL_EVERY_S)))
            else:
                await self._clock.sleep(min(left_s, ROLL_EVERY_S))

    def _is_settled(self, found: Sequence[tuple[str, Seen]], *, whole: bool) -> bool:
        """Whether a look that found none proves something; notes when the venue was first seen empty."""
        if found:
            self.swept.first_empty_ms = None
        if found or not whole:
            return False
        if self.swept.first_empty_ms is None:
            self.swept.first_empty_ms = self._elapsed_ms()
        return self._quiet()

    async def _look(self) -> tuple[list[tuple[str, Seen]], bool]:
        """Own orders in scope that the venue shows now, and whether that is all of it."""
        asked = set(self._asked)
        listings, unread = await self._listings()
        found = [one for listing in listings for one in self._own_in_scope(listing)]
        self._note_engines({seen.client_id for _, seen in found}, asked, whole=not unread)
        if len(self.swept.looks) < MOST_LOOKS_KEPT:
            self.swept.looks.append((round(self._elapsed_ms()), None if unread else len(found)))
        self.swept.unread = unread
        self.swept.remaining = None if unread else tuple(found)
        self.swept.foreign = None if unread else sum(len(listing.foreign) for listing in listings)
        self.swept.others = None if unread else sum(len(listing.own) for listing in listings) - len(found)
        if self._scope.foreign:
            found += [(order.symbol, _as_seen(order)) for listing in listings for order in listing.foreign]
        return found, not unread

    async def _list_and_cancel(self, symbol: str | None) -> Listing:
        """One listing; the cancels of what it shows wait for no other."""
        listing = await self._venue.open_orders(symbol)
        foreign = listing.foreign if self._scope.foreign else ()
        self._cancel([*self._own_in_scope(listing), *((order.symbol, _as_seen(order)) for order in foreign)])
        return listing

    def _own_in_scope(self, listing: Listing) -> list[tuple[str, Seen]]:
        return [(listing.symbol or seen.symbol, seen) for seen in listing.own if self._scope.covers(seen.client_id)]

    async def _listings(self) -> tuple[list[Listing], str]:
        """The listings of the scope, asked for at once, and why one of them could not be read, if so."""
        left_s = self._deadline_s - self._clock.monotonic()
        asked = [asyncio.create_task(self._list_and_cancel(symbol)) for symbol in self._scope.symbols or (None,)]
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

    def _note_engines(self, shown: set[str], asked: set[str], *, whole: bool) -> None:
        """Orders that the first whole look did not show come from an engine that still places, or placed until now.

        Of those ``asked`` before it, the cancel of each had been sent.
        """
        self._roll.met(_epochs(shown))
        late = shown - self._known - asked if self._looked else set()
        for epoch in _epochs(late):
            (self.swept.late_epochs if self._roll.settled(epoch) else self._late).add(epoch)
        if late and not self._roll.all_settled:
            # Somebody still places: the time in which nothing came begins again.
            self._watched_from_s = self._clock.monotonic()
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


def _epochs(client_ids: set[str]) -> set[int]:
    return {own.epoch for one in client_ids if (own := decode_own_id(one)) is not None}


def _as_seen(order: ForeignOrder) -> Seen:
    return Seen(
        order.client_id, order.order_id, order.side, order.price, order.remaining, Decimal(0), 0.0, order.symbol
    )
