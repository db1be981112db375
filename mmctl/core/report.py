"""What the engine tells of its work: values for the live view, text and JSON alike.

Times are ms since the epoch, durations in ms, prices in ticks and quantities in lots of ``instrument``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from mmctl.core.book import Book
from mmctl.core.events import Fill
from mmctl.core.instrument import Instrument
from mmctl.core.order import Layer, Order, Quote, Side


@dataclass(frozen=True, slots=True)
class Refusal:
    """A quote that was not to be, or must wait, with a short word for why and a sentence for people."""

    layer: Layer
    side: Side
    level: int
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An order that the plan names, with its reason: kept, to be placed, or to be cancelled."""

    order: Order
    reason: str


@dataclass(frozen=True, slots=True)
class BookLine:
    """The touch that a round was decided on; prices as fixed-point text."""

    source: str
    bid: str
    ask: str
    age_ms: float


@dataclass(frozen=True, slots=True)
class Started:
    """The engine begins; ``halts`` are one line each."""

    version: str
    profile: str
    mode: str
    venue: str
    account: str
    pairs: tuple[str, ...]
    epoch: int
    halts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RoundDone:
    """One turn of one layer that had a usable book.

    ``follow_up`` marks a second pass within a turn, for placements that had waited for a cancel.
    """

    pair: str
    ts_ms: int
    layer: Layer
    round: int
    forced: bool
    follow_up: bool
    book: BookLine
    instrument: Instrument
    target: tuple[Quote, ...]
    keep: tuple[Order, ...]
    place: tuple[Order, ...]
    cancel: tuple[Wanted, ...]
    refused: tuple[Refusal, ...]
    placed: int
    rejected: int
    cancelled: int
    unknown: int
    read_ms: float
    decide_ms: float
    send_ms: float


@dataclass(frozen=True, slots=True)
class Skipped:
    """A turn that quoted nothing; ``reason`` is a short word, ``detail`` a line for people."""

    pair: str
    ts_ms: int
    layer: Layer
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Filled:
    """One trade of an own order; ``order`` is the order after it."""

    pair: str
    instrument: Instrument
    order: Order
    fill: Fill


@dataclass(frozen=True, slots=True)
class Faulted:
    """Something that should not have happened, and what the engine did about it."""

    pair: str
    ts_ms: int
    kind: str
    detail: str
    action: str


@dataclass(frozen=True, slots=True)
class PairSummary:
    """One pair at the end; ``open_orders`` is ``None`` where they could not be read."""

    pair: str
    instrument: Instrument
    position: Decimal
    open_orders: tuple[Order, ...] | None
    unread: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """The end of a run: the counts of all pairs together."""

    rounds: int
    placed: int
    kept: int
    cancelled: int
    rejected: int
    unknown: int
    fills: int
    faults: int
    pairs: tuple[PairSummary, ...]
    elapsed_ms: float
    near_turns_with_book: int = 0


Report = Started | RoundDone | Skipped | Filled | Faulted | Summary


@dataclass(frozen=True, slots=True)
class BookShown:
    """A reference book beside what the account has in its market, for ``show-book``.

    ``own`` and ``foreign`` are ``None`` where the venue was not read; ``unread`` then says why.
    """

    pair: str
    instrument: Instrument
    book: Book
    age_ms: float
    own: tuple[Order, ...] | None
    foreign: int | None
    unread: str = ""


@dataclass(frozen=True, slots=True)
class Planned:
    """What a round would do now, for ``diff``. Nothing is sent, so placements have no client order id yet: ``""``."""

    pair: str
    instrument: Instrument
    keep: tuple[Wanted, ...]
    place: tuple[Wanted, ...]
    cancel: tuple[Wanted, ...]
    refused: tuple[Refusal, ...]

    @property
    def changes(self) -> int:
        return len(self.place) + len(self.cancel)


@dataclass(frozen=True, slots=True)
class PairOrders:
    """Own orders of one pair, with the instrument that their prices are counted in."""

    pair: str
    instrument: Instrument
    orders: tuple[Order, ...]


@dataclass(frozen=True, slots=True)
class EngineSeen:
    """An engine that a stop met; ``state`` is ``acknowledged``, ``dead`` or ``not_reached``.

    ``epoch`` is ``None`` where its record cannot be read.
    """

    name: str
    epoch: int | None
    state: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """How ``cancel-near`` or ``cancel-all`` ended.

    ``remaining``, ``foreign``, ``far_left`` (own far orders that a near stop left alone) and ``position`` (in
    base currency, by pair) are ``None`` where they could not be read; ``unread`` then says why.
    ``first_empty_ms`` is the time until a listing first showed none, ``None`` if none ever did.
    """

    venue: str
    account: str
    scope: str
    pairs: tuple[str, ...]
    halt: str
    proof: str
    engines: tuple[EngineSeen, ...]
    cancelled: tuple[str, ...]
    remaining: tuple[PairOrders, ...] | None
    foreign: int | None
    far_left: int | None
    position: dict[str, Decimal] | None
    halts: tuple[str, ...]
    first_empty_ms: float | None
    took_ms: float
    unread: str = ""


@dataclass(frozen=True, slots=True)
class LayerView:
    """One layer in the context panel.

    ``previous_asks`` and ``previous_bids`` are the numbers of own orders that stood after its last round;
    ``rounds_since_refresh`` counts those without a forced refresh, of ``force_refresh_num``.
    """

    layer: Layer
    interval_s: float
    rounds: int
    previous_asks: int
    previous_bids: int
    rounds_since_refresh: int
    force_refresh_num: int
    keeps: int
    places: int
    cancels: int
    refused: int
    status: str


@dataclass(frozen=True, slots=True)
class PairView:
    """All that the live view draws of one pair at one moment.

    ``status`` is ``quoting`` or why it does not: ``stale book: 3.2 s old``, ``halted by anna: drill``.
    ``book`` is the newest that was read, ``None`` before the first; ``orders`` are the live own ones.
    """

    pair: str
    venue: str
    account: str
    mode: str
    source: str
    instrument: Instrument
    book: Book | None
    age_ms: float | None
    status: str
    quoting: bool
    orders: tuple[Order, ...]
    layers: tuple[LayerView, ...]
    kept: int
    placed: int
    cancelled: int
    rejected: int
    fills: int
    faults: int
    unknown: int
    foreign: int
    position: Decimal
    last_fault: str
    elapsed_ms: float
    layer_order: tuple[Layer, ...] = field(default=(Layer.NEAR, Layer.FAR))
