"""What a sandbox is made of: its symbols, its accounts, and how its market moves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from pathlib import Path

from mmctl.errors import UsageError
from mmctl.sandbox.numbers import units
from mmctl.wire.sandbox_keys import SANDBOX_KEY, SANDBOX_SECRET

HOST = "127.0.0.1"
EXCHANGE_PORT = 18740
CONTROL_PORT = 18741


class MarketKind(StrEnum):
    """Who else is in the market: traders that move it, traders that stand still, or nobody."""

    MOVING = "moving"
    STILL = "still"
    EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class SymbolSpec:
    """One symbol's rules, as the live venue has them. Prices in quote currency, quantities in base currency."""

    base: str
    quote: str
    tick_size: Decimal
    lot_size: Decimal
    start_price: Decimal
    min_notional: Decimal = Decimal(5)
    max_notional: Decimal = Decimal(9_000_000)
    min_price: Decimal = Decimal("0.01")
    max_price: Decimal = Decimal(1_000_000)
    max_qty: Decimal = Decimal(9000)
    multiplier_up: Decimal = Decimal(5)
    multiplier_down: Decimal = Decimal("0.2")

    def __post_init__(self) -> None:
        # Amounts are counted in 1e-8: one lot at one tick must be a whole number of them.
        if units(self.tick_size) * units(self.lot_size) % 10**8 or not units(self.tick_size) * units(self.lot_size):
            raise UsageError(f"{self.symbol}: tick times lot must be a multiple of 0.00000001", "take larger steps")

    @property
    def symbol(self) -> str:
        return self.base + self.quote


def _spec(base: str, tick: str, lot: str, price: str, max_price: str = "1000000") -> SymbolSpec:
    return SymbolSpec(
        base, "USDT", Decimal(tick), Decimal(lot), Decimal(price), min_price=Decimal(tick), max_price=Decimal(max_price)
    )


KNOWN_SYMBOLS: Mapping[str, SymbolSpec] = {
    spec.symbol: spec
    for spec in (
        _spec("BTC", "0.01", "0.00001", "61800"),
        _spec("ETH", "0.01", "0.0001", "2650"),
        _spec("BNB", "0.01", "0.001", "510"),
        _spec("SOL", "0.01", "0.001", "145"),
        _spec("XRP", "0.0001", "0.1", "0.59", "10000"),
        _spec("DOGE", "0.00001", "1", "0.105", "1000"),
    )
}
STANDARD_SYMBOLS = ("BTCUSDT", "ETHUSDT")


@dataclass(frozen=True, slots=True)
class AccountSpec:
    """One account, its key, and what the key may do. ``trade_group`` other than -1 is shared for self-trades."""

    name: str
    key: str
    secret: str
    uid: int
    balances: Mapping[str, Decimal]
    may_trade: bool = True
    may_withdraw: bool = False
    trade_group: int = -1


STANDARD_BALANCES: Mapping[str, Decimal] = {
    "USDT": Decimal(1_000_000),
    "BTC": Decimal(20),
    "ETH": Decimal(400),
    "BNB": Decimal(1000),
    "SOL": Decimal(5000),
    "XRP": Decimal(1_000_000),
    "DOGE": Decimal(5_000_000),
}


def account(name: str, uid: int, *, may_trade: bool = True, may_withdraw: bool = False) -> AccountSpec:
    """An account with a key made of its name: 64 letters and digits, as the live venue's are."""
    text = "".join(character for character in name if character.isalnum())
    key = f"mmctlSandbox{text}KeyThatIsNoSecret".ljust(64, "0")
    secret = f"mmctlSandbox{text}SecretThatIsNoSecret".ljust(64, "0")
    return AccountSpec(name, key, secret, uid, STANDARD_BALANCES, may_trade, may_withdraw)


STANDARD_ACCOUNTS = (
    AccountSpec("main", SANDBOX_KEY, SANDBOX_SECRET, 1001, STANDARD_BALANCES),
    account("second", 1002),
    account("readonly", 1003, may_trade=False),
    account("withdraw", 1004, may_withdraw=True),
)
"""``main`` is the standard one; ``readonly``'s key may not trade; ``withdraw``'s may withdraw, as no bot's should."""


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """How to start a sandbox. Port 0 takes free ports; ``faults`` are the settings of ``faults.Faults`` by name."""

    port: int = 0
    control_port: int = 0
    seed: int = 1
    symbols: tuple[SymbolSpec, ...] = tuple(KNOWN_SYMBOLS[name] for name in STANDARD_SYMBOLS)
    accounts: tuple[AccountSpec, ...] = STANDARD_ACCOUNTS
    market: MarketKind = MarketKind.MOVING
    recordings: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    limits: str = "binance"
    open_order_cap: int = 200
    maker_fee_bps: Decimal = Decimal(10)
    taker_fee_bps: Decimal = Decimal(10)
    publish: str | None = None
    faults: Mapping[str, float] = field(default_factory=dict)


QUOTE_PRICES: Mapping[str, Decimal] = {
    **dict.fromkeys(("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "USD", "EUR"), Decimal(1)),
    **{spec.base: spec.start_price for spec in KNOWN_SYMBOLS.values() if spec.base in ("BTC", "ETH", "BNB")},
}
"""Currencies that a made-up symbol may be quoted in, and what they are worth here."""

MADE_UP_PRICE = Decimal(100)
FUNDS = Decimal(1_000_000)
"""What an account holds of a currency that only made-up symbols have, in worth."""


def symbol_named(name: str) -> SymbolSpec:
    """The rules of a symbol by name, such as BTCUSDT or BTC-USDT; one that is not known is made up.

    Raises ``UsageError`` where no base and quote currency can be told apart.
    """
    symbol = "".join(part for part in name.upper() if part.isalnum())
    if found := KNOWN_SYMBOLS.get(symbol):
        return found
    quote = next((one for one in QUOTE_PRICES if symbol.endswith(one) and len(symbol) > len(one)), None)
    if quote is None or not symbol.isascii():
        raise UsageError(f"--symbols {name}: no BASE and QUOTE", f"quoted in one of {', '.join(QUOTE_PRICES)}")
    return _made_up(symbol.removesuffix(quote), quote)


def _made_up(base: str, quote: str) -> SymbolSpec:
    """Rules much as a live symbol of that price has them: a tick of a hundred thousandth, lots of some cents' worth."""
    worth, unit = _worth(base), QUOTE_PRICES[quote]
    price = worth / unit
    tick = max(_power(-8), min(Decimal("0.01"), _power(price.adjusted() - 4)))
    lot = max(min(_power(-worth.adjusted() - 1), Decimal(1)), _power(-8) / tick)
    price = price.quantize(tick)
    return SymbolSpec(
        base,
        quote,
        tick,
        lot,
        price,
        min_notional=max(Decimal(5) if unit == 1 else _power(-unit.adjusted()), _power((lot * price).adjusted() + 1)),
        min_price=tick,
        max_price=_power(price.adjusted() + 3),
        max_qty=_power(6 - worth.adjusted()),
    )


def _worth(currency: str) -> Decimal:
    known = KNOWN_SYMBOLS.get(f"{currency}USDT")
    return known.start_price if known else QUOTE_PRICES.get(currency, MADE_UP_PRICE)


def _power(exponent: int) -> Decimal:
    return Decimal(1).scaleb(exponent)


def funded(accounts: Iterable[AccountSpec], symbols: Iterable[SymbolSpec]) -> tuple[AccountSpec, ...]:
    """The accounts with something of every currency that ``symbols`` trade in."""
    assets = dict.fromkeys(asset for spec in symbols for asset in (spec.base, spec.quote))
    more = {asset: (FUNDS / _worth(asset)).quantize(_power(0)) for asset in assets}
    return tuple(replace(one, balances={**more, **one.balances}) for one in accounts)
