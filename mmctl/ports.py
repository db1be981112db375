"""The ports: what the engine needs of the world. A mode is another object behind one of these, never a flag.

Adapters implement them in ``mmctl.feeds`` and ``mmctl.venues``; ``mmctl.bootstrap`` chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Protocol

from mmctl.core.book import Book, BookKey, Trade
from mmctl.core.entries import Entry, Recalled
from mmctl.core.events import Balance, Ended, Event, Fill, NotFound, Seen
from mmctl.core.instrument import Instrument
from mmctl.core.order import CancelOrder, Layer, NewOrder, Side


class Clock(Protocol):
    """Time, passed in so that tests never sleep."""

    def monotonic(self) -> float:
        """Seconds that never step back; the origin has no meaning."""

    def wall_ms(self) -> int:
        """Milliseconds since the epoch, as this machine believes."""

    def boot_s(self) -> float:
        """As ``monotonic``, but time that the machine was suspended counts too: what a lease is measured on."""

    async def sleep(self, seconds: float) -> None:
        """Come back after ``seconds``; at once, but never without yielding, where that is not above 0."""


class Feed(Protocol):
    """Where reference books come from."""

    source: str
    """A short word for views and JSON: ``redis``, ``mock``, ``binance``."""

    async def read(self, key: BookKey) -> Book:
        """The newest book of ``key``, usable or not; its age is for the caller to judge.

        Raises ``NoBook`` where the feed has none that can be read, ``FeedUnreachable`` where it does not
        answer in time. Never returns an older book in place of a newest one that is unusable.
        """

    def trades(self, key: BookKey, after_id: int) -> Sequence[Trade]:
        """The market's trades after ``after_id`` that this feed knows of, oldest first; often none."""

    async def close(self) -> None:
        """Let go of sockets. Never raises."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A whole and successful listing of open orders; anything less is an exception.

    ``own`` decode as ours, whatever their epoch; ``foreign`` do not. ``asked_at_s`` is the monotonic time
    before which everything it does not show had changed already.
    """

    symbol: str | None
    asked_at_s: float
    own: tuple[Seen, ...]
    foreign: tuple[ForeignOrder, ...]


@dataclass(frozen=True, slots=True)
class ForeignOrder:
    """An open order that is not ours: shown and counted, never cancelled unless asked."""

    symbol: str
    order_id: str
    client_id: str
    side: Side
    price: Decimal
    remaining: Decimal


@dataclass(frozen=True, slots=True)
class Balances:
    """All assets of an account, as of ``asked_at_s`` or later."""

    asked_at_s: float
    assets: dict[str, Balance]


class Venue(Protocol):
    """A venue and one account on it.

    ``submit`` never blocks: it signs and hands over at once. What becomes of each request arrives through
    the listener, joined by client order id. Every request gets exactly one of these answers, at the
    latest ``request_timeout_s`` after ``submit``: for a placement ``Accepted``, ``Rejected``, ``Ended``
    (a taking order that was done at once) or ``Unsettled``; for a cancel ``Ended``, ``CancelRefused`` or
    ``Unsettled``. Fills, ends and balances that nobody asked for come through the same listener, at any
    time, perhaps repeated and out of order, and also after an ``Unsettled``.
    """

    name: str
    account: str
    user_id: str | None
    """The venue's own id of the account, known once it is open; ``None`` where it has none."""
    mode: str
    """``live``, ``testnet``, ``sandbox`` or ``mock``."""
    landing_time_s: float
    """How long after its signing a placement without an answer may still appear."""
    request_timeout_s: float

    def listen(self, listener: Callable[[str, Event], None]) -> None:
        """Send every event to ``listener(symbol, event)``; ``symbol`` is empty for the account's own."""

    async def open(self) -> None:
        """Connect and authenticate. Raises ``VenueRefused`` or ``VenueUnreachable``."""

    async def instrument(self, symbol: str) -> Instrument:
        """The symbol's filters. Raises ``VenueRefused`` for a symbol that is not traded."""

    def submit(self, places: Sequence[NewOrder], cancels: Sequence[CancelOrder]) -> None:
        """Hand over placements, then cancels, in order, all at once and without waiting for replies."""

    async def query(self, symbol: str, client_id: str) -> Seen | Ended | NotFound:
        """What the venue says of one own order now. Raises ``VenueUnreachable`` where it does not answer."""

    async def open_orders(self, symbol: str | None) -> Listing:
        """All open orders of ``symbol`` (of the account: ``None``). Raises rather than return a part."""

    async def balances(self) -> Balances:
        """All balances. Raises ``VenueUnreachable`` where the venue does not answer."""

    async def fills(self, symbol: str, after_trade_id: str | None) -> Sequence[Fill]:
        """Own trades of ``symbol`` after a trade id, oldest first; those of foreign orders left out."""

    async def depth(self, symbol: str) -> Book:
        """The venue's own public book of ``symbol``, own orders included. Raises ``VenueError``."""

    async def close(self) -> None:
        """Let go of sockets and tasks. Orders stay as they are. Never raises."""


@dataclass(frozen=True, slots=True)
class HaltScope:
    """What a halt covers; ``None`` means all: every symbol of the account, both layers."""

    venue: str
    account: str
    symbol: str | None = None
    layer: Layer | None = None

    def covers(self, venue: str, account: str, symbol: str, layer: Layer) -> bool:
        return (
            (self.venue, self.account) == (venue, account)
            and self.symbol in (None, symbol)
            and self.layer in (None, layer)
        )

    def words(self) -> dict[str, str | None]:
        """The scope as JSON has it, in the state folder and in Redis."""
        return {"venue": self.venue, "account": self.account, "symbol": self.symbol, "layer": self.layer}


@dataclass(frozen=True, slots=True)
class Halt:
    """A numbered record: ``scope`` is halted by ``by`` since ``at_ms`` because of ``why``.

    ``number`` is that of one state folder, 0 where the halt is not in it; ``uid`` names the halt everywhere.
    """

    number: int
    scope: HaltScope
    by: str
    at_ms: int
    why: str
    uid: str = field(default="", compare=False)

    def __str__(self) -> str:
        scope = self.scope
        what = f"{scope.layer or 'both layers'} of {scope.symbol or 'all symbols'} on {scope.venue} {scope.account}"
        since = datetime.fromtimestamp(self.at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"halt {self.number or self.uid}: {what}, by {self.by}, since {since}: {self.why}"


class Journal(Protocol):
    """The write-ahead journal: what is about to be placed is in it before its first byte leaves.

    Everything else is noted behind, in order. A cancel never waits for it.
    """

    @property
    def fault(self) -> str:
        """Why nothing can be written now, in a line for people; empty while it can."""

    async def commit(self, entries: Sequence[Entry]) -> None:
        """Write ``entries`` in one transaction, after all that was noted before.

        Comes back once they are committed. Raises ``JournalUnwritable`` where they are not, or not in time; they may
        then be in the journal all the same, as orders that were never sent.
        """

    def note(self, entry: Entry) -> None:
        """Write ``entry`` later. Never waits and never raises; what cannot be written shows in ``fault``."""

    async def recall(self, venue: str, owner: str, symbol: str) -> Recalled:
        """What earlier runs left of one symbol of an ``Entry.owner``. Raises ``JournalUnwritable`` where that cannot be
        read."""

    async def knows(self, client_ids: Sequence[str]) -> frozenset[str]:
        """Those of ``client_ids`` that the journal has an intent of. Raises ``JournalUnwritable``."""

    async def close(self) -> None:
        """Write out what was noted, and let go of the file. Never raises."""


@dataclass(frozen=True, slots=True)
class SharedHalts:
    """All that was ever said of halts in Redis, by ``uid``: ``halts`` that were set, and who lifted which, and when.

    ``rubbish`` is what of it nobody understands; any of it may be a halt.
    """

    halts: Mapping[str, Halt]
    lifted: Mapping[str, tuple[str, int]]
    rubbish: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ownership:
    """Who has the lease of one pair, for how many more seconds, and the marker of whoever quoted last.

    ``token`` is ``None`` where nobody has it; ``marker`` where the last owner released it, or nobody ever had it. A
    marker's ``lease_s`` and ``landing_time_s`` are its owner's.
    """

    token: str | None
    left_s: float = 0.0
    marker: str | None = None
    lease_s: float = 0.0
    landing_time_s: float = 0.0


class Shared(Protocol):
    """What engines and stops on several hosts share: halts, records of engines, leases and the newest epoch.

    Every method raises ``SharedUnreadable`` where it cannot be done, or not within its time-out; what was to be written
    may then be there all the same. A ``name`` of a lease stands for one venue, account and symbol.
    """

    where: str
    """What to call it in a line for people."""

    async def halts(self) -> SharedHalts:
        """Everything about halts, as it is now."""

    async def set(self, halts: Sequence[Halt]) -> None:
        """Add halts, and tell everybody at once. One that is there already stays one."""

    async def lift(self, uids: Sequence[str], *, by: str, at_ms: int) -> None:
        """Add a resume record for the halts ``uids``, and tell everybody. Takes rubbish among the halts away."""

    async def changed(self) -> None:
        """Come back when somebody tells of a change; at the latest after a while, and perhaps for no reason."""

    async def put(self, venue: str, account: str, epoch: int, record: bytes, *, ended: bool = False) -> None:
        """Keep an engine's record for some time; the last one of an engine that ``ended`` for some minutes only."""

    async def engines(self, venue: str, account: str) -> list[bytes]:
        """The records of an account's engines."""

    async def accounts(self) -> list[tuple[str, str]]:
        """The venues and accounts of which an engine ever left a record here."""

    async def reserve_epoch(self, venue: str, owner: str, floor: int) -> int:
        """One more than the largest of ``floor`` and all that were reserved; nobody else gets it."""

    async def owners(self, names: Sequence[str]) -> list[Ownership]:
        """Who has each lease."""

    async def take(self, name: str, token: str, lease_s: float) -> bool:
        """Take a lease that nobody has."""

    async def renew(self, name: str, token: str, lease_s: float) -> bool:
        """Have it for another ``lease_s`` from now; whether it was still ours."""

    async def mark(self, name: str, token: str, lease_s: float, landing_time_s: float) -> None:
        """Leave the marker of an owner that quotes from now on; it stays until ``release``."""

    async def release(self, name: str, token: str, *, settled: bool) -> None:
        """Give up a lease that is ours, and, where nothing may still appear, the marker."""

    async def mark_stop(self, venue: str, account: str, name: str, keep_s: float) -> None:
        """Say that the stop ``name`` sweeps the account, for ``keep_s`` from now; zero: no more."""

    async def stops(self, venue: str, account: str) -> list[str]:
        """The names of the stops that sweep an account now."""

    async def close(self) -> None:
        """Let go of sockets. Never raises."""


class HaltLatch(Protocol):
    """Whether quoting is halted. It survives restarts; only a resume record lifts a halt."""

    def halts(self) -> tuple[Halt, ...]:
        """The halts in force now, oldest first. Raises ``StateUnreadable``: then nothing may be placed."""

    def readable(self) -> tuple[Halt, ...]:
        """Those in force that can be understood, whatever stands beside them. Raises ``StateUnreadable``."""

    def set(self, scope: HaltScope, *, by: str, at_ms: int, why: str) -> Halt:
        """Halt ``scope``. Raises ``StateUnreadable`` where that cannot be written down."""
