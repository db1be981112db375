"""``exchangeInfo`` (filters.md): a symbol's filters as our ``Instrument``, and which of them a refused order broke."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

import msgspec

from mmctl.core.instrument import Instrument, plain
from mmctl.core.order import NewOrder, Side
from mmctl.wire.binance import UnknownShape
from mmctl.wire.binance_limits import Limit, WireLimit, limits_of
from mmctl.wire.binance_orders import check_amounts


@dataclass(frozen=True, slots=True)
class PriceShare:
    """How far a price may lie from the venue's average: as shares of it, lower and upper."""

    down: Decimal
    up: Decimal


@dataclass(frozen=True, slots=True)
class SymbolRules:
    """One symbol: its ``status`` (``TRADING``, ...), instrument, and rules that an instrument has no place for."""

    status: str
    instrument: Instrument
    max_notional: Decimal | None = None
    max_position: Decimal | None = None
    bid_share: PriceShare | None = None
    ask_share: PriceShare | None = None
    prevention_modes: tuple[str, ...] = ()

    @property
    def trading(self) -> bool:
        return self.status == "TRADING"


class _Filter(msgspec.Struct, frozen=True):
    """All fields of all filters that count for a limit order; each filter has its own few."""

    filterType: str  # noqa: N815 - Binance's own names, here and below
    minPrice: Decimal = Decimal(0)  # noqa: N815
    maxPrice: Decimal = Decimal(0)  # noqa: N815
    tickSize: Decimal = Decimal(0)  # noqa: N815
    minQty: Decimal = Decimal(0)  # noqa: N815
    maxQty: Decimal = Decimal(0)  # noqa: N815
    stepSize: Decimal = Decimal(0)  # noqa: N815
    minNotional: Decimal = Decimal(0)  # noqa: N815
    maxNotional: Decimal = Decimal(0)  # noqa: N815
    multiplierUp: Decimal = Decimal(0)  # noqa: N815
    multiplierDown: Decimal = Decimal(0)  # noqa: N815
    bidMultiplierUp: Decimal = Decimal(0)  # noqa: N815
    bidMultiplierDown: Decimal = Decimal(0)  # noqa: N815
    askMultiplierUp: Decimal = Decimal(0)  # noqa: N815
    askMultiplierDown: Decimal = Decimal(0)  # noqa: N815
    maxNumOrders: int = 0  # noqa: N815
    maxPosition: Decimal = Decimal(0)  # noqa: N815

    def __post_init__(self) -> None:
        check_amounts(*(Decimal(one) for one in msgspec.structs.astuple(self)[1:]))


class _Symbol(msgspec.Struct, frozen=True):
    symbol: str
    status: str
    baseAsset: str  # noqa: N815
    quoteAsset: str  # noqa: N815
    filters: tuple[_Filter, ...] = ()
    allowedSelfTradePreventionModes: tuple[str, ...] = ()  # noqa: N815
    baseAssetPrecision: int = 8  # noqa: N815
    quoteAssetPrecision: int = 8  # noqa: N815


class _ExchangeInfo(msgspec.Struct, frozen=True):
    symbols: tuple[_Symbol, ...]
    rateLimits: tuple[WireLimit, ...] | None = None  # noqa: N815


_INFOS = msgspec.json.Decoder(_ExchangeInfo)


@dataclass(frozen=True, slots=True)
class ExchangeInfo:
    """The limits in force (``None`` where they are not told), and the rules of each symbol that was asked for."""

    limits: tuple[Limit, ...] | None
    symbols: dict[str, SymbolRules]


def read_exchange_info(body: bytes) -> ExchangeInfo:
    """``exchangeInfo``. Raises ``UnknownShape``."""
    try:
        info = _INFOS.decode(body)
        limits = None if info.rateLimits is None else limits_of(info.rateLimits)
        return ExchangeInfo(limits, {one.symbol: _rules(one) for one in info.symbols})
    except (msgspec.DecodeError, ValueError, ArithmeticError):
        raise UnknownShape("an exchangeInfo of an unknown shape") from None


def _rules(symbol: _Symbol) -> SymbolRules:
    """Filters that are missing, or whose rule is 0, set no bound; the finest step is then the assets' precision."""
    by_type = {one.filterType: one for one in symbol.filters}
    none = _Filter("")
    price, lot = by_type.get("PRICE_FILTER", none), by_type.get("LOT_SIZE", none)
    notional = by_type.get("NOTIONAL", none)
    smallest = max(notional.minNotional, by_type.get("MIN_NOTIONAL", none).minNotional)
    caps = [one.maxNumOrders for one in symbol.filters if one.filterType == "MAX_NUM_ORDERS" and one.maxNumOrders]
    both, by_side = by_type.get("PERCENT_PRICE"), by_type.get("PERCENT_PRICE_BY_SIDE")
    bid_share = ask_share = PriceShare(both.multiplierDown, both.multiplierUp) if both else None
    if by_side:
        bid_share = PriceShare(by_side.bidMultiplierDown, by_side.bidMultiplierUp)
        ask_share = PriceShare(by_side.askMultiplierDown, by_side.askMultiplierUp)
    instrument = Instrument(
        symbol=symbol.symbol,
        base=symbol.baseAsset,
        quote=symbol.quoteAsset,
        tick_size=price.tickSize or Decimal(1).scaleb(-symbol.quoteAssetPrecision),
        lot_size=lot.stepSize or Decimal(1).scaleb(-symbol.baseAssetPrecision),
        min_qty=lot.minQty,
        max_qty=lot.maxQty or None,
        min_notional=smallest,
        min_price=price.minPrice,
        max_price=price.maxPrice or None,
        max_open_orders=min(caps, default=None),
    )
    return SymbolRules(
        status=symbol.status,
        instrument=instrument,
        max_notional=notional.maxNotional or None,
        max_position=by_type.get("MAX_POSITION", none).maxPosition or None,
        bid_share=bid_share,
        ask_share=ask_share,
        prevention_modes=symbol.allowedSelfTradePreventionModes,
    )


def broken_rule(rules: SymbolRules, order: NewOrder, code: str) -> tuple[str, str] | None:
    """Which rule an order broke that the venue refused as ``code``: a narrower code, and a text with the values.

    The venue names the filter alone; ``None`` where none of the values in our own copy of it is at odds.
    """
    for narrow, wide, text in _complaints(rules, order):
        if code in wide:
            return narrow, text
    return None


_PRICE = ("filter_price", "filter_precision", "price_band", "percent_price")
_LOT = ("filter_lot_size", "filter_precision", "min_qty")
_AMOUNT = ("filter_notional", "min_notional")


_Complaint = tuple[str, tuple[str, ...], str]
"""The narrower code, the venue's codes that it explains, and the text."""


def _complaints(rules: SymbolRules, order: NewOrder) -> Iterator[_Complaint]:
    yield from _price_complaints(rules.instrument, order.price)
    yield from _qty_complaints(rules.instrument, order.qty)
    yield from _amount_complaints(rules, order.price * order.qty)
    one = rules.instrument
    share = rules.bid_share if order.side is Side.BUY else rules.ask_share
    if share is not None:
        span = f"{plain(share.down)} to {plain(share.up)}"
        text = f"price {plain(order.price)} is outside {span} times the venue's average price"
        yield "percent_price", ("percent_price",), text
    if one.max_open_orders is not None:
        text = f"the account has {one.max_open_orders} open orders on {one.symbol}, the most that are allowed"
        yield "open_order_cap", ("open_order_cap",), text
    if rules.max_position is not None:
        text = f"balance and open buys of {one.base} would pass the maximum position {plain(rules.max_position)}"
        yield "max_position", ("max_position",), text


def _price_complaints(one: Instrument, price: Decimal) -> Iterator[_Complaint]:
    if not one.on_tick(price):
        yield "filter_tick", _PRICE, f"price {plain(price)} is off tick: the tick size is {plain(one.tick_size)}"
    if price < one.min_price or (one.max_price is not None and price > one.max_price):
        top = "any" if one.max_price is None else plain(one.max_price)
        yield "price_band", _PRICE, f"price {plain(price)} is outside {plain(one.min_price)} to {top}"


def _qty_complaints(one: Instrument, qty: Decimal) -> Iterator[_Complaint]:
    if not one.on_lot(qty):
        yield "filter_lot", _LOT, f"quantity {plain(qty)} is off lot: the lot size is {plain(one.lot_size)}"
    if qty <= 0 or qty < one.min_qty:
        yield "min_qty", _LOT, f"quantity {plain(qty)} is under the minimum quantity {plain(one.min_qty)}"
    if one.max_qty is not None and qty > one.max_qty:
        yield "max_qty", _LOT, f"quantity {plain(qty)} is over the maximum quantity {plain(one.max_qty)}"


def _amount_complaints(rules: SymbolRules, amount: Decimal) -> Iterator[_Complaint]:
    least = rules.instrument.min_notional
    if amount < least:
        yield "min_notional", _AMOUNT, f"amount {plain(amount)} is under the minimum notional {plain(least)}"
    if rules.max_notional is not None and amount > rules.max_notional:
        most = plain(rules.max_notional)
        yield "max_notional", _AMOUNT, f"amount {plain(amount)} is over the maximum notional {most}"
