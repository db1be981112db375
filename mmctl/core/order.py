"""Orders: sides, layers, states, and the client order id that tells whose an order is.

A client order id is ``N0`` (near) or ``F0`` (far), ``B`` or ``S`` for the side, seven digits of epoch,
eight of sequence and two check digits, all in base 36 with capitals: 20 letters and digits, which is
within every venue's limit (OKX's 32 is the strictest). What does not decode fully is not ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple


class Side(StrEnum):
    """The side of an order; a bid is a buy, an ask is a sell, on spot and on futures alike."""

    BUY = "buy"
    SELL = "sell"

    @property
    def opposite(self) -> Side:
        return Side.SELL if self is Side.BUY else Side.BUY


class Layer(StrEnum):
    """Which of the two ladders an order belongs to."""

    NEAR = "near"
    FAR = "far"


class TimeInForce(StrEnum):
    """How long an order may stand; ``GTX`` is post-only: refused rather than taking liquidity."""

    GTC = "GTC"
    GTX = "GTX"


class State(StrEnum):
    """Where an order is in its life. ``in_flight``, ``open`` and ``unknown`` are live; the rest are ends.

    ``never_landed`` is the end of a placement that two queries after the landing time did not find;
    ``gone`` that of an accepted order that the venue no longer knows by the same evidence.
    """

    IN_FLIGHT = "in_flight"
    OPEN = "open"
    UNKNOWN = "unknown"
    FILLED = "filled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    NEVER_LANDED = "never_landed"
    GONE = "gone"


LIVE = frozenset({State.IN_FLIGHT, State.OPEN, State.UNKNOWN})
ENDS = frozenset(State) - LIVE


class CancelState(StrEnum):
    """What is known of the cancel of a live order."""

    NONE = "none"
    SENT = "sent"
    UNKNOWN = "unknown"


class Quote(NamedTuple):
    """A wanted order: price in ticks, quantity in lots.

    ``level`` counts from 1 at the touch: of the mirrored reference level for ``mirror``, the k of the
    formula for ``spread``.
    """

    layer: Layer
    side: Side
    price: int
    qty: int
    level: int


@dataclass(frozen=True, slots=True)
class Order:
    """An own order as the ledger knows it: price in ticks, quantities in lots.

    ``signed_at_s`` is the monotonic time at which its placement was signed, ``None`` for one adopted from
    a listing. ``filled`` counts what trades and the venue's own totals say, whichever is more.
    """

    client_id: str
    layer: Layer
    side: Side
    price: int
    qty: int
    filled: int = 0
    state: State = State.IN_FLIGHT
    order_id: str | None = None
    epoch: int = 0
    signed_at_s: float | None = None
    cancel: CancelState = CancelState.NONE
    reason: str = ""

    @property
    def remaining(self) -> int:
        """Lots not filled yet."""
        return self.qty - self.filled

    @property
    def is_live(self) -> bool:
        """Whether it may rest on the venue now, as far as anybody knows."""
        return self.state in LIVE


@dataclass(frozen=True, slots=True)
class NewOrder:
    """A placement as a venue is asked for it: price in quote currency, quantity in base currency."""

    symbol: str
    client_id: str
    side: Side
    price: Decimal
    qty: Decimal
    time_in_force: TimeInForce


@dataclass(frozen=True, slots=True)
class CancelOrder:
    """A cancel as a venue is asked for it; the client order id is what counts."""

    symbol: str
    client_id: str
    order_id: str | None = None


class OwnId(NamedTuple):
    """What a client order id of ours says."""

    layer: Layer
    side: Side
    epoch: int
    sequence: int


REMEMBERED_IDS = 4096
"""Ids whose decoding is remembered: an order's is asked for with everything that is told of it."""

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_PREFIX_OF = {Layer.NEAR: "N0", Layer.FAR: "F0"}
_LAYER_OF = {text: layer for layer, text in _PREFIX_OF.items()}
_LETTER_OF = {Side.BUY: "B", Side.SELL: "S"}
_SIDE_OF = {text: side for side, text in _LETTER_OF.items()}
_EPOCH_DIGITS, _SEQUENCE_DIGITS, _CHECK_DIGITS = 7, 8, 2
OWN_ID_LENGTH = 3 + _EPOCH_DIGITS + _SEQUENCE_DIGITS + _CHECK_DIGITS
MAX_EPOCH = 36**_EPOCH_DIGITS - 1
MAX_SEQUENCE = 36**_SEQUENCE_DIGITS - 1


def _base36(number: int, width: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits.rjust(width, "0")


def _check(body: str) -> str:
    total = 0
    for character in body:
        total = (total * 37 + ord(character)) % 1291  # the largest prime below 36 squared
    return _base36(total, _CHECK_DIGITS)


def encode_own_id(layer: Layer, side: Side, epoch: int, sequence: int) -> str:
    """The client order id of an own order.

    Raises ``ValueError`` when ``epoch`` or ``sequence`` is out of range: an id is never cut short.
    """
    if not 0 <= epoch <= MAX_EPOCH:
        raise ValueError(f"epoch {epoch} does not fit {_EPOCH_DIGITS} base-36 digits")
    if not 0 <= sequence <= MAX_SEQUENCE:
        raise ValueError(f"sequence {sequence} does not fit {_SEQUENCE_DIGITS} base-36 digits")
    body = f"{_PREFIX_OF[layer]}{_LETTER_OF[side]}{_base36(epoch, _EPOCH_DIGITS)}{_base36(sequence, _SEQUENCE_DIGITS)}"
    return body + _check(body)


@lru_cache(REMEMBERED_IDS)
def decode_own_id(client_id: str) -> OwnId | None:
    """What ``client_id`` says, or ``None`` where it is not one of ours to the last letter."""
    if len(client_id) != OWN_ID_LENGTH or not all(character in _DIGITS for character in client_id):
        return None
    body, check = client_id[:-_CHECK_DIGITS], client_id[-_CHECK_DIGITS:]
    layer, side = _LAYER_OF.get(body[:2]), _SIDE_OF.get(body[2])
    if layer is None or side is None or check != _check(body):
        return None
    middle = 3 + _EPOCH_DIGITS
    return OwnId(layer, side, int(body[3:middle], 36), int(body[middle:], 36))
