"""Binance's public market data: the names of streams, and what streams and the ``depth`` request say.

Prices and quantities go from text to ``Decimal`` and never through a binary float. Facts are from Binance's
spot documents (``web-socket-streams.md``, ``rest-api.md``). A partial depth and a snapshot have one shape and no
time; only a diff and a trade say when they happened.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple, TypeVar

import msgspec

from mmctl.core.book import BookKey, Trade
from mmctl.errors import UsageError

EXCHANGE = "binance_spot"
PARTIAL_LEVELS = 20
"""The most levels a side that a partial depth stream has."""

MAX_LEVELS = 5000
"""The most levels a side that one depth request gives."""

SHUTDOWN = "serverShutdown"
INVALID_SYMBOL = -1121

_WEIGHTS = ((100, 5), (500, 25), (1000, 50), (MAX_LEVELS, 250))
_SYMBOL = re.compile(r"[\w.-]{1,40}")  # letters of any alphabet; nothing that would begin another stream's name

PriceLevel = tuple[Decimal, Decimal]
"""Price and quantity; in a diff a quantity of zero says that the level is gone."""

_Decoded = TypeVar("_Decoded")


class Unreadable(ValueError):
    """A message is not what its stream or request should give; the text says why, to follow the message's name."""


def combined_url(stream_url: str, streams: Iterable[str]) -> str:
    """The address of one socket with all of ``streams``, each event in an envelope that names its stream."""
    return f"{stream_url}/stream?streams={'/'.join(streams)}"


def depth_url(rest_url: str) -> str:
    """The address of the depth request."""
    return f"{rest_url}/api/v3/depth"


def symbol_of(key: BookKey) -> str:
    """The symbol of ``key`` as requests spell it. Raises ``UsageError`` for another exchange, or what is no symbol."""
    if key.exchange.lower() != EXCHANGE:
        raise UsageError(
            f"the binance feed has no books of the exchange {key.exchange!r} (symbol {key.symbol})",
            f"follow {EXCHANGE}, or choose another --feed",
        )
    if not _SYMBOL.fullmatch(key.symbol):
        raise UsageError(f"{key.symbol!r} is not a symbol of Binance", "write base and quote joined, as BTCUSDT")
    return key.symbol.upper()


def partial_stream(symbol: str) -> str:
    """The stream of the top 20 levels, whole, each 100 ms in which they changed."""
    return f"{symbol.lower()}@depth{PARTIAL_LEVELS}@100ms"


def diff_stream(symbol: str) -> str:
    """The stream of changed levels, each 100 ms."""
    return f"{symbol.lower()}@depth@100ms"


def trade_stream(symbol: str) -> str:
    """The stream of single trades."""
    return f"{symbol.lower()}@trade"


def depth_limit(levels: int) -> int:
    """The largest ``limit`` of a depth request that costs no more weight than ``levels`` do."""
    return next(limit for limit, _ in _WEIGHTS if levels <= limit)


def depth_weight(limit: int) -> int:
    """The request weight of a depth request with ``limit`` levels."""
    return next(weight for most, weight in _WEIGHTS if limit <= most)


class Envelope(msgspec.Struct):
    """A message of a combined socket: the stream's name and its event, not decoded yet.

    A message that is no stream's has an empty name; ``event`` is then its type, where it has one.
    """

    stream: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")
    event: str = msgspec.field(default="", name="e")

    @property
    def is_shutdown(self) -> bool:
        """Whether the server says that it will soon end this connection."""
        return SHUTDOWN in (self.event, self.stream.removeprefix("!"))


class Depth(msgspec.Struct, frozen=True):
    """The top of a book after the update ``last_id``: a partial depth event or a snapshot, best levels first."""

    last_id: int = msgspec.field(name="lastUpdateId")
    bids: list[PriceLevel]
    asks: list[PriceLevel]


class DepthDiff(msgspec.Struct, frozen=True):
    """The levels that changed in the updates ``first_id`` to ``last_id``, at ``event_ms`` by Binance's clock."""

    event_ms: int = msgspec.field(name="E")
    first_id: int = msgspec.field(name="U")
    last_id: int = msgspec.field(name="u")
    bids: list[PriceLevel] = msgspec.field(name="b")
    asks: list[PriceLevel] = msgspec.field(name="a")


class _Trade(msgspec.Struct):
    trade_id: int = msgspec.field(name="t")
    price: Decimal = msgspec.field(name="p")
    qty: Decimal = msgspec.field(name="q")
    at_ms: int = msgspec.field(name="T")
    buyer_is_maker: bool = msgspec.field(name="m")


class ErrorReply(NamedTuple):
    """A refusal: Binance's code, below zero, and its text."""

    code: int
    text: str


class _Error(msgspec.Struct):
    code: int
    msg: str = ""


_envelopes = msgspec.json.Decoder(Envelope)
_depths = msgspec.json.Decoder(Depth)
_diffs = msgspec.json.Decoder(DepthDiff)
_trades = msgspec.json.Decoder(_Trade)
_errors = msgspec.json.Decoder(_Error)

Raw = bytes | str | msgspec.Raw


def decode_envelope(raw: Raw) -> Envelope:
    """One message of a combined socket. Raises ``Unreadable``."""
    return _decoded(_envelopes, raw)


def decode_depth(raw: Raw) -> Depth:
    """A partial depth event or a snapshot. Raises ``Unreadable``; an empty or crossed book is a book."""
    depth = _decoded(_depths, raw)
    _check(*depth.bids, *depth.asks)
    return depth


def decode_diff(raw: Raw) -> DepthDiff:
    """A diff depth event. Raises ``Unreadable``, also where its ids run backwards."""
    diff = _decoded(_diffs, raw)
    _check(*diff.bids, *diff.asks)
    if diff.first_id > diff.last_id:
        raise Unreadable(f"has its first update {diff.first_id} after its last {diff.last_id}")
    return diff


def decode_trade(raw: Raw) -> Trade:
    """A trade event. Raises ``Unreadable``."""
    trade = _decoded(_trades, raw)
    _check((trade.price, trade.qty))
    return Trade(trade.trade_id, trade.price, trade.qty, trade.buyer_is_maker, trade.at_ms)


def decode_error(raw: Raw) -> ErrorReply | None:
    """What the body of a refused request says, or ``None`` where it is not Binance's."""
    try:
        error = _errors.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return ErrorReply(error.code, " ".join(error.msg.split())[:200])


def _decoded(decoder: msgspec.json.Decoder[_Decoded], raw: Raw) -> _Decoded:
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise Unreadable(f"has another shape: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Unreadable("is not JSON") from None


def unpadded(levels: Iterable[PriceLevel]) -> list[PriceLevel]:
    """``levels`` without the zeros that Binance pads with: 61667.88 for 61667.88000000."""
    return [(price.normalize(), qty.normalize()) for price, qty in levels]


def _check(*levels: PriceLevel) -> None:
    for price, qty in levels:
        if not (price.is_finite() and qty.is_finite() and price > 0 and qty >= 0):
            raise Unreadable(f"has a level of {qty} at {price}")
