"""One symbol's filters: how they are checked, and how ``exchangeInfo`` shows them."""

from __future__ import annotations

from dataclasses import dataclass

from mmctl.sandbox.numbers import LEGAL_NUMBER, ONE, NoNumber, TooPrecise, parse_units, text, units
from mmctl.sandbox.options import SymbolSpec
from mmctl.sandbox.refusals import Refusal, filter_failure, illegal, too_precise

ORDER_TYPES = ("LIMIT", "LIMIT_MAKER", "MARKET")
TIMES_IN_FORCE = ("GTC", "IOC", "FOK")
STP_MODES = ("NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT")
DEFAULT_STP = "EXPIRE_MAKER"


def number(name: str, given: object) -> int:
    """A parameter in 1e-8. Raises ``Refusal``."""
    try:
        return parse_units(given if isinstance(given, str) else str(given))
    except NoNumber:
        raise illegal(name, LEGAL_NUMBER) from None
    except TooPrecise:
        raise too_precise(name) from None


@dataclass(slots=True)
class Rules:
    """A symbol's rules in 1e-8; ``amount`` is what one lot costs at one tick."""

    spec: SymbolSpec
    tick: int
    lot: int
    amount: int
    open_order_cap: int
    min_price: int
    max_price: int
    max_qty: int
    min_notional: int
    max_notional: int
    status: str = "TRADING"

    @classmethod
    def of(cls, spec: SymbolSpec, open_order_cap: int) -> Rules:
        tick, lot = units(spec.tick_size), units(spec.lot_size)
        return cls(
            spec, tick, lot, tick * lot // ONE, open_order_cap, units(spec.min_price), units(spec.max_price),
            units(spec.max_qty), units(spec.min_notional), units(spec.max_notional),
        )  # fmt: skip

    def price_text(self, ticks: int) -> str:
        return text(ticks * self.tick)

    def qty_text(self, lots: int) -> str:
        return text(lots * self.lot)

    def quote_text(self, ticks_times_lots: int) -> str:
        return text(ticks_times_lots * self.amount)

    def price(self, given: object) -> int:
        """A price in ticks. Raises ``Refusal`` where it breaks PRICE_FILTER."""
        price = number("price", given)
        if not self.min_price <= price <= self.max_price or price % self.tick:
            raise filter_failure("PRICE_FILTER")
        return price // self.tick

    def qty(self, given: object, *, market: bool = False) -> int:
        """A quantity in lots. Raises ``Refusal`` where it breaks LOT_SIZE."""
        qty = number("quantity", given)
        if not self.lot <= qty <= self.max_qty or qty % self.lot:
            raise filter_failure("MARKET_LOT_SIZE" if market and qty > self.max_qty else "LOT_SIZE")
        return qty // self.lot

    def check_notional(self, ticks_times_lots: int) -> None:
        if not self.min_notional <= ticks_times_lots * self.amount <= self.max_notional:
            raise filter_failure("NOTIONAL")

    def check_percent_price(self, ticks: int, average_ticks: int) -> None:
        """PERCENT_PRICE_BY_SIDE, whose multipliers are the same for both sides here as on the live venue."""
        if average_ticks and not (
            self.spec.multiplier_down * average_ticks <= ticks <= self.spec.multiplier_up * average_ticks
        ):
            raise filter_failure("PERCENT_PRICE_BY_SIDE")

    def check_status(self) -> None:
        if self.status != "TRADING":
            raise Refusal(-1013, "Market is closed.")

    def info(self) -> dict[str, object]:
        """The symbol in ``exchangeInfo``."""
        spec = self.spec
        return {
            "symbol": spec.symbol,
            "status": self.status,
            "baseAsset": spec.base,
            "baseAssetPrecision": 8,
            "quoteAsset": spec.quote,
            "quotePrecision": 8,
            "quoteAssetPrecision": 8,
            "baseCommissionPrecision": 8,
            "quoteCommissionPrecision": 8,
            "orderTypes": list(ORDER_TYPES),
            "icebergAllowed": False,
            "ocoAllowed": False,
            "otoAllowed": False,
            "opoAllowed": False,
            "quoteOrderQtyMarketAllowed": True,
            "allowTrailingStop": False,
            "cancelReplaceAllowed": False,
            "amendAllowed": False,
            "pegInstructionsAllowed": False,
            "isSpotTradingAllowed": True,
            "isMarginTradingAllowed": False,
            "filters": self.filters(),
            "permissions": [],
            "permissionSets": [["SPOT"]],
            "defaultSelfTradePreventionMode": DEFAULT_STP,
            "allowedSelfTradePreventionModes": list(STP_MODES),
        }

    def filters(self) -> list[dict[str, object]]:
        up, down = str(self.spec.multiplier_up), str(self.spec.multiplier_down)
        lots = {"minQty": text(self.lot), "maxQty": text(self.max_qty), "stepSize": text(self.lot)}
        return [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": text(self.min_price),
                "maxPrice": text(self.max_price),
                "tickSize": text(self.tick),
            },
            {"filterType": "LOT_SIZE", **lots},
            {"filterType": "MARKET_LOT_SIZE", **lots, "minQty": text(0), "stepSize": text(0)},
            {
                "filterType": "PERCENT_PRICE_BY_SIDE",
                "bidMultiplierUp": up,
                "bidMultiplierDown": down,
                "askMultiplierUp": up,
                "askMultiplierDown": down,
                "avgPriceMins": 5,
            },
            {
                "filterType": "NOTIONAL",
                "minNotional": text(self.min_notional),
                "applyMinToMarket": True,
                "maxNotional": text(self.max_notional),
                "applyMaxToMarket": False,
                "avgPriceMins": 5,
            },
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": self.open_order_cap},
        ]
