"""What a sweep is told and what it tells: where it lists and cancels, what is to go, and how it ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from mmctl.core.events import Event, Seen
from mmctl.core.instrument import Instrument
from mmctl.core.order import CancelOrder, Layer, NewOrder, decode_own_id
from mmctl.ports import Balances, Listing

if TYPE_CHECKING:  # a stop imports it when it has something to tell
    from mmctl.core.report import EngineSeen


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
    proof: str = "not_proven"
    """By what it is proven: ``acknowledged``, ``dead``, ``none`` or ``waited``."""
    engines: tuple[EngineSeen, ...] = ()
    not_reached: tuple[str, ...] = ()
    """The engines that may have placed all the while, and why they were not reached."""
    watch_s: float = 0.0
    """How long the venue has to be watched because of them, where it was not for so long."""
    looks: list[tuple[int, int | None]] = field(default_factory=list)
    """What was open at each look, with the ms since the start; ``None`` where that could not be read."""
    first_empty_ms: float | None = None
    took_ms: float = 0.0
