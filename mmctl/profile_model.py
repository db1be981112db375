"""The tables of a profile: every field with its unit, its bounds and its one default.

Margins and differences are in basis points (``_bps``), times in seconds (``_s``) or milliseconds (``_ms``),
amounts in quote currency, quantities in base currency. A field without a default must be written.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, StringConstraints

from mmctl.core.order import TimeInForce
from mmctl.core.spec import LayerSide, Strategy
from mmctl.markets import EXCHANGES, VENUES
from mmctl.profile_check import Num, Real, Strict, Whole, one_of

DEFAULT_ACCOUNT = "main"
DEFAULT_MOCK_PRICE = Decimal(100)

_SIDE_WORDS = {"SELL": "ASK", "BUY": "BID"}
"""The original's documents say SELL and BUY where its code wants ASK and BID: both are read."""


def _upper(value: object) -> object:
    return value.strip().upper() if isinstance(value, str) else value


def _side(value: object) -> object:
    word = _upper(value)
    return _SIDE_WORDS.get(word, word) if isinstance(word, str) else word


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


AnyCaseSide = Annotated[LayerSide, BeforeValidator(_side)]
AnyCaseStrategy = Annotated[Strategy, BeforeValidator(_lower), Field(description="how quotes are made")]
AnyCaseTimeInForce = Annotated[TimeInForce, BeforeValidator(_upper)]
Interval = Annotated[Real, Field(ge=0.05, le=3600, description="seconds between rounds")]
_OF_SYMBOLS = "letters, digits and / _ . -, at most 40"
Symbol = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9/_.-]*$", max_length=40)]

_LARGEST = Decimal(10) ** 15
_SMALLEST = Decimal("0.00000001")


class LayerModel(Strict):
    """``[pairs.X.near]`` and ``[pairs.X.far]``: one ladder."""

    interval_s: Interval
    quote_timeout_s: Real = Field(
        default=5, ge=0.1, le=3600, description="seconds of age of the book at which the ladder is cancelled"
    )
    side: AnyCaseSide = Field(default=LayerSide.BOTH, description="the sides that are quoted")
    time_in_force: AnyCaseTimeInForce = Field(default=TimeInForce.GTX, description="GTX is post-only")
    strategy: AnyCaseStrategy
    buy_margin_bps: Num = Field(ge=0, le=5000, description="basis points outward, of bids")
    sell_margin_bps: Num = Field(ge=0, le=5000, description="basis points outward, of asks")
    qty_multiplier: Num = Field(
        default=Decimal(1), ge=_SMALLEST, le=10000, description="factor on the reference quantity"
    )
    ask_levels: Whole = Field(default=5, ge=0, le=100, description="number of asks")
    bid_levels: Whole = Field(default=5, ge=0, le=100, description="number of bids")
    max_amount: Num = Field(gt=0, le=_LARGEST, description="largest price x quantity of an order, in quote currency")
    min_qty: Num = Field(default=Decimal(0), ge=0, le=_LARGEST, description="smallest quantity, in base currency")
    min_amount: Num = Field(
        default=Decimal(0), ge=0, le=_LARGEST, description="smallest price x quantity, in quote currency"
    )
    diff_per_round_bps: Num = Field(
        default=Decimal(1),
        ge=0,
        le=5000,
        description="basis points of price within which an order is kept; 0 keeps none",
    )
    qty_tolerance: Num = Field(
        default=Decimal("0.5"),
        ge=0,
        le=Decimal("0.99"),
        description="t keeps from 1 - t to 1 / (1 - t) of the quantity",
    )
    force_refresh_num: Whole = Field(
        default=100, ge=0, le=1_000_000, description="rounds after which everything is replaced; 0 is every round"
    )


class NearModel(LayerModel):
    interval_s: Interval = 3
    strategy: AnyCaseStrategy = Strategy.MIRROR


class FarModel(LayerModel):
    interval_s: Interval = 30
    strategy: AnyCaseStrategy = Strategy.SPREAD


class PairModel(Strict):
    """``[pairs.BASE-QUOTE]`` without its ladders."""

    account: str | None = Field(default=None, description="a name of [accounts]; left out, main or the only one")
    symbol: Symbol | None = Field(default=None, description=f"the venue's symbol, {_OF_SYMBOLS}; left out, BASEQUOTE")
    follow_exchange: Annotated[str, one_of(EXCHANGES)] | None = Field(
        default=None, description="whose book is followed; left out, the venue's own"
    )
    follow_symbol: Symbol | None = Field(
        default=None, description=f"whose book is followed, {_OF_SYMBOLS}; left out, the venue's symbol"
    )
    price_decimals: Whole | None = Field(default=None, ge=0, le=18, description="decimals of prices")
    qty_decimals: Whole | None = Field(default=None, ge=0, le=18, description="decimals of quantities")
    collar_bps: Num = Field(
        default=Decimal(1000), gt=0, le=5000, description="basis points from the mid beyond which nothing is quoted"
    )
    max_open_orders: Whole = Field(default=200, ge=1, le=1000, description="own open orders of the pair")
    frozen_after_s: Real = Field(
        default=30, ge=1, le=3600, description="seconds after which an unchanged book counts as stale"
    )
    seed: Whole = Field(default=0, ge=0, le=2**63 - 1, description="what random quantities are drawn from")
    max_position: Num | None = Field(
        default=None, gt=0, le=_LARGEST, description="base currency to either side, live orders counted as filled"
    )
    max_fills_per_min: Whole | None = Field(
        default=None, ge=1, le=100_000, description="fills of a minute; one more halts the pair"
    )
    max_basis_bps: Num | None = Field(
        default=None, gt=0, le=5000, description="basis points of the reference mid from the venue's own"
    )
    mock_price: Num | None = Field(
        default=None, ge=_SMALLEST, le=_LARGEST, description="where the mock feed starts, in quote currency"
    )


class AccountModel(Strict):
    """``[accounts.NAME]``: never keys, they are read from the environment."""

    venue: Annotated[str, one_of(VENUES)] = Field(description=f"one of {', '.join(VENUES)}")
    exclusive: bool = Field(
        default=False, description="true where every order of the account is mmctl's, so that a stop may end them all"
    )
    rest_url: str | None = Field(default=None, description="the venue's REST address without a path; left out, live")
    ws_url: str | None = Field(default=None, description="its WebSocket API, with /ws-api/v3; left out, live")
    stream_url: str | None = Field(default=None, description="its streams, without a path; left out, live")


class RedisModel(Strict):
    """``[redis]``: where hosts share halts and leases, and the books of ``feed = "redis"`` are read."""

    url: SecretStr | None = Field(default=None, description="an address as text, redis://HOST:PORT/NUMBER")
    timeout_ms: Whole = Field(default=1000, ge=10, le=60_000, description="ms that a read may take")


class MockModel(Strict):
    """``[mock]``: the built-in feed and venue, and the faults that they are asked to show."""

    seed: Whole = Field(default=1, ge=0, le=2**63 - 1, description="what all chance is drawn from")
    latency_ms: Whole = Field(default=20, ge=0, le=60_000, description="ms until a request is answered")
    latency_jitter_ms: Whole = Field(default=10, ge=0, le=60_000, description="ms that chance adds to it at most")
    reject_rate: Real = Field(default=0, ge=0, le=1, description="share of placements refused")
    timeout_rate: Real = Field(default=0, ge=0, le=1, description="share of requests never answered")
    landing_time_s: Real = Field(
        default=10, ge=0, le=600, description="seconds in which an unanswered order may appear"
    )
    listing_lag_ms: Whole = Field(default=0, ge=0, le=60_000, description="ms by which listings lag behind")
    maker_fee_bps: Num = Field(default=Decimal(10), ge=-100, le=1000, description="basis points of a resting fill")
    taker_fee_bps: Num = Field(default=Decimal(10), ge=-100, le=1000, description="basis points of a taking fill")
    open_order_cap: Whole = Field(default=200, ge=1, le=10_000, description="open orders the venue takes for a symbol")
    balances: dict[str, Annotated[Num, Field(ge=0, le=_LARGEST)]] | None = Field(
        default=None, description="what the account holds of each asset; left out, ten times the ladders' need"
    )


class ProfileModel(Strict):
    """The top of a profile; its tables are read one by one."""

    feed: Literal["mock", "redis", "binance"] = Field(
        default="mock", description="where books come from: mock, redis or binance"
    )
    accounts: dict[str, dict[str, object]] = Field(default={}, description="tables [accounts.NAME]")
    redis: dict[str, object] = Field(default={}, description="a table [redis]")
    mock: dict[str, object] = Field(default={}, description="a table [mock]")
    defaults: dict[str, object] = Field(default={}, description="a table [defaults] of what pairs share")
    pairs: dict[str, dict[str, object]] = Field(default={}, description="tables [pairs.BASE-QUOTE]")
