"""What a journal holds: one entry for each thing that was decided, asked, told or done.

An entry carries plain values only (text, whole numbers, lists and objects of them): prices and quantities as
fixed-point text, times as ms since the epoch. It never holds a key, a signature or an address.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from mmctl.core.order import Layer, Side

Plain = str | int | bool | None | Sequence["Plain"] | Mapping[str, "Plain"]
"""What stands in an entry: it goes to JSON and back unchanged."""


class Kind(StrEnum):
    """What an entry tells.

    ``decision``: what a round wanted, with the digest of its book. ``intent``: an order is about to be placed.
    ``request``: a placement or a cancel was handed over. ``reply``: the venue told something of an order that is
    not its end. ``fill`` and ``end``: a trade; an order is over, by what evidence. ``adopted``: an order of an
    earlier run was taken in.
    ``trades``: how far the venue's own list of trades was read and counted.
    ``fault``: what should not have happened, and what was done. ``halt``, ``resume``, ``stop``: what a person or a
    process asked for, a stop with its whole receipt. ``start``, ``ended``: an engine began and ended.
    """

    START = "start"
    ENDED = "ended"
    DECISION = "decision"
    INTENT = "intent"
    REQUEST = "request"
    REPLY = "reply"
    FILL = "fill"
    END = "end"
    ADOPTED = "adopted"
    TRADES = "trades"
    FAULT = "fault"
    HALT = "halt"
    RESUME = "resume"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. ``symbol``, ``client_id`` and ``order_id`` are empty where it is not about one.

    ``account`` is its name in the profile; ``owner`` is what it is recalled by: the venue's own id of the account,
    for a name can come to stand for another one (a sandbox that was started anew). Empty: its name will do.
    """

    kind: Kind
    at_ms: int
    venue: str
    account: str
    owner: str = ""
    symbol: str = ""
    client_id: str = ""
    order_id: str = ""
    body: Mapping[str, Plain] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An order that the journal says was about to be placed, or rests, and whose end it does not know.

    ``price`` is in quote currency, ``qty`` in base currency; ``intended_at_ms`` is the wall time of the intent.
    ``accepted`` says whether the venue was ever heard to have taken it; ``trades`` are its fills in the journal, by
    trade id and quantity in base currency.
    """

    client_id: str
    layer: Layer
    side: Side
    price: Decimal
    qty: Decimal
    epoch: int
    intended_at_ms: int
    accepted: bool
    trades: tuple[tuple[str, Decimal], ...] = ()


@dataclass(frozen=True, slots=True)
class Recalled:
    """What a journal knows of one symbol of an account (an ``owner``) from earlier runs.

    ``position`` is what the fills since the last run that ended in good order (its ``ended`` entry) add up to, in base
    currency: a run that was killed is gone on with. ``last_trade_id`` is the newest trade of all runs.

    A kill can lose a trade that is older than that. So the venue's list of trades is to be read on from ``read_from``,
    where it was last read to; ``counted`` are those after it that are counted. Orders of an epoch up to ``ended_epoch``
    are those of runs that ended in good order.
    """

    unfinished: tuple[Unfinished, ...] = ()
    position: Decimal = Decimal(0)
    last_trade_id: str | None = None
    read_from: str | None = None
    counted: frozenset[str] = frozenset()
    ended_epoch: int = 0
    trades: Mapping[str, tuple[tuple[str, Decimal], ...]] = field(default_factory=dict)
    """The newest trades that are counted, by the order's client id: a listing that lags can show it once more."""
