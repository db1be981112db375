"""The account's desk: one venue and account, its budget and ids, and the pairs that its events belong to."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Protocol

from mmctl.core.budget import Budget
from mmctl.core.events import Balance, BalancesChanged, Event, Gap, OrderEvent
from mmctl.core.instrument import Instrument
from mmctl.core.order import Layer, Side, encode_own_id
from mmctl.core.report import Faulted, Report
from mmctl.core.risk import Room
from mmctl.engine.beside import DoneBy, at_once
from mmctl.engine.presence import NoPresence, Presence
from mmctl.engine.scribe import Scribe
from mmctl.ports import Clock, Journal, Venue


class PairEvents(Protocol):
    """What the desk tells a pair."""

    def on_event(self, event: OrderEvent) -> None:
        """The venue told something of an order of this pair's symbol."""

    def on_gap(self, reason: str) -> None:
        """What the venue told may be incomplete: compare with its listing."""


class AccountDesk:
    """Owns what all pairs of one account share. Its listener is the only way in for the venue's events."""

    def __init__(
        self,
        venue: Venue,
        clock: Clock,
        report: Callable[[Report], None],
        journal: Journal,
        presence: Presence | None = None,
        done_by: DoneBy = at_once,
    ) -> None:
        self.venue = venue
        self.clock = clock
        self.report = report
        self.scribe = Scribe(journal, clock, venue)
        self.presence = presence or NoPresence()
        self.done_by = done_by
        self.unread = ""
        """Why the account cannot be read, where a mock stands in for it in a verb that only looks."""
        self._budget = Budget()
        self._pairs: dict[str, PairEvents] = {}
        self._sequence = 0
        self._balances_asked_s = -inf
        self.balances_in_doubt = False
        """Whether the venue refused for want of a balance that it had told of, or its stream had a gap."""
        self._told_meanwhile: list[dict[str, Balance]] = []
        self._listeners: list[Callable[[Event], None]] = []
        venue.listen(self._on_event)

    @property
    def epoch(self) -> int:
        """This engine's, 0 before it has one."""
        return self.scribe.epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self.scribe.epoch = epoch

    def register(self, symbol: str, pair: PairEvents) -> None:
        """Send the events of ``symbol`` to ``pair``."""
        self._pairs[symbol] = pair

    def tell_too(self, listener: Callable[[Event], None]) -> None:
        """Give every event to ``listener`` as well, from now on."""
        self._listeners.append(listener)

    def next_id(self, layer: Layer, side: Side) -> str:
        """A client order id that was never used before."""
        self._sequence += 1
        return encode_own_id(layer, side, self.epoch, self._sequence)

    def room(self, instrument: Instrument, own_live: int, foreign: int, max_open_orders: int) -> Room:
        """What one pair may place now; see ``Budget.room``."""
        return self._budget.room(instrument, own_live, foreign, max_open_orders)

    @property
    def budget(self) -> Budget:
        return self._budget

    async def refresh_balances(self, every_s: float = 0.0) -> None:
        """Ask for all balances, unless that was done within ``every_s`` and nothing has put them in doubt since.

        What the venue tells of them meanwhile is newer. Raises ``VenueError`` where they cannot be had.
        """
        now_s = self.clock.monotonic()
        if now_s < self._balances_asked_s + every_s and not self.balances_in_doubt:
            return
        in_doubt, self.balances_in_doubt = self.balances_in_doubt, False
        before_s, self._balances_asked_s = self._balances_asked_s, now_s
        newer: dict[str, Balance] = {}
        self._told_meanwhile.append(newer)
        try:
            told = await self.venue.balances()
        except BaseException:
            self._balances_asked_s = before_s  # nothing was read
            self.balances_in_doubt |= in_doubt
            raise
        finally:
            # By what it is, not by what it holds: two readings at once may hold the same.
            self._told_meanwhile = [one for one in self._told_meanwhile if one is not newer]
        self._budget.update({**told.assets, **newer}, told.asked_at_s, whole=True)

    def _on_event(self, symbol: str, event: Event) -> None:
        """Route one event. It runs inside the venue's reader, which must outlive a fault of ours."""
        try:
            for listener in self._listeners:
                listener(event)
            self._route(symbol, event)
        except Exception as error:  # noqa: BLE001 - saves the venue's reader; the pair compares with the venue
            detail = f"{type(error).__name__}: {error}"
            self.report(Faulted(symbol, self.clock.wall_ms(), "event", detail, "comparing with the venue"))
            for pair in self._pairs.values():
                pair.on_gap("an event could not be taken in")

    def _route(self, symbol: str, event: Event) -> None:
        if isinstance(event, BalancesChanged):
            for newer in self._told_meanwhile:
                newer.update(event.balances)
            self._budget.update(event.balances, self.clock.monotonic(), whole=False)
            return
        if isinstance(event, Gap):
            self.balances_in_doubt = True
            for pair in self._pairs.values():
                pair.on_gap(event.reason)
            return
        owner = self._pairs.get(symbol)
        if owner is not None:
            owner.on_event(event)
