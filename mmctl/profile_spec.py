"""What a profile comes to, whichever file it was read from, and the checks that both kinds of file share.

A ``Profile`` holds core specs and plain values. Its secrets (a file's keys, the address of Redis) are
``SecretStr``: printing a profile shows none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from pydantic import SecretStr

from mmctl.core.book import BookKey
from mmctl.core.instrument import plain
from mmctl.core.limits import LiveLimits
from mmctl.core.order import Layer, Side
from mmctl.core.spec import LayerSpec, PairSpec, Strategy
from mmctl.markets import VENUES, fold, shares_market
from mmctl.profile_check import Table
from mmctl.profile_model import DEFAULT_MOCK_PRICE, FarModel, MockModel, NearModel, PairModel, RedisModel
from mmctl.settings import Credentials, checked_redis_url


@dataclass(frozen=True, slots=True)
class AccountSpec:
    """One account on one venue; ``keys`` are those of the file, which the environment overrides.

    ``exclusive`` says that every order of the account is mmctl's. The addresses are ``None`` where the file
    states none: REST without a path, the WebSocket API, streams.
    """

    name: str
    venue: str
    keys: Credentials | None = None
    exclusive: bool = False
    rest_url: str | None = None
    ws_url: str | None = None
    stream_url: str | None = None


@dataclass(frozen=True, slots=True)
class RedisSpec:
    """Where hosts share halts and leases, and books may be read; ``url`` is ``None`` where the profile names none."""

    url: SecretStr | None
    timeout_ms: int


@dataclass(frozen=True, slots=True)
class MockSpec:
    """The built-in feed and venue. Rates are shares from 0 to 1, fees basis points of the amount.

    ``balances`` is ``None`` where the profile sets none. ``start_prices`` has every followed book of the
    profile, in quote currency.
    """

    seed: int
    latency_ms: int
    latency_jitter_ms: int
    reject_rate: float
    timeout_rate: float
    landing_time_s: float
    listing_lag_ms: int
    maker_fee_bps: Decimal
    taker_fee_bps: Decimal
    open_order_cap: int
    balances: Mapping[str, Decimal] | None
    start_prices: Mapping[BookKey, Decimal] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Profile:
    """A loaded profile. ``original`` says that it is the original's parameter file, whose quotes are to be
    shown before they are trusted; ``warnings`` are one line each.

    Names of pairs are unique in TOML; in the original's file two accounts may make the same pair.
    """

    path: Path
    feed: str
    pairs: tuple[PairSpec, ...]
    accounts: Mapping[str, AccountSpec]
    redis: RedisSpec
    mock: MockSpec
    warnings: tuple[str, ...] = ()
    original: bool = False

    @property
    def several_accounts(self) -> bool:
        """Whether key variables must name the account."""
        return len(self.accounts) > 1


@dataclass(frozen=True, slots=True)
class PairTables:
    """One pair as its file has it: its own table, and one for each ladder that is on."""

    name: str
    base: str
    quote: str
    table: Table
    near: Table | None
    far: Table | None


@dataclass(frozen=True, slots=True)
class MadePair:
    """A pair that was read: what comes of it, and where to point when it clashes with another."""

    spec: PairSpec
    mock_price: Decimal | None
    table: Table
    warnings: tuple[str, ...]


def make_pair(tables: PairTables, accounts: Mapping[str, AccountSpec], default_account: str | None) -> MadePair:
    """The pair's spec. Raises ``UsageError`` for the first mistake in any of its tables."""
    model = tables.table.read(PairModel)
    account = accounts.get(model.account or default_account or "")
    if account is None:
        said = f"{model.account!r} is not an account" if model.account else "is missing, and there are several accounts"
        raise tables.table.wrong("account", said, f"accounts of this profile: {', '.join(accounts)}")
    symbol = model.symbol or tables.base + tables.quote
    follow = BookKey(model.follow_exchange or VENUES[account.venue].exchange, model.follow_symbol or symbol)
    layers = {which: (table, _layer(which, table)) for which, table in _ladders(tables)}
    spec = PairSpec(
        name=tables.name,
        base=tables.base,
        quote=tables.quote,
        symbol=symbol,
        venue=account.venue,
        account=account.name,
        follow=follow,
        near=layers[Layer.NEAR][1] if Layer.NEAR in layers else None,
        far=layers[Layer.FAR][1] if Layer.FAR in layers else None,
        collar_bps=model.collar_bps,
        max_open_orders=model.max_open_orders,
        frozen_after_s=model.frozen_after_s,
        seed=model.seed,
        price_decimals=model.price_decimals,
        qty_decimals=model.qty_decimals,
        shares_market=shares_market(account.venue, symbol, follow.exchange, follow.symbol),
        limits=_limits(tables.table, model),
    )
    warnings = tuple(warning for table, layer in layers.values() for warning in _tolerance_warnings(table, layer))
    return MadePair(spec, model.mock_price, tables.table, warnings)


LIMIT_FIELDS = ("max_position", "max_fills_per_min", "max_basis_bps")


def _limits(table: Table, model: PairModel) -> LiveLimits | None:
    """The limits that a live venue needs; they go together."""
    if model.max_position is None and model.max_fills_per_min is None and model.max_basis_bps is None:
        return None
    if model.max_position is None or model.max_fills_per_min is None or model.max_basis_bps is None:
        missing = next(name for name in LIMIT_FIELDS if getattr(model, name) is None)
        raise table.wrong(missing, "is missing", f"{', '.join(LIMIT_FIELDS)} go together")
    return LiveLimits(model.max_position, model.max_fills_per_min, model.max_basis_bps)


def _ladders(tables: PairTables) -> list[tuple[Layer, Table]]:
    both = ((Layer.NEAR, tables.near), (Layer.FAR, tables.far))
    return [(which, table) for which, table in both if table is not None]


def _layer(which: Layer, table: Table) -> LayerSpec:
    model = table.read(NearModel if which is Layer.NEAR else FarModel)
    if model.strategy is Strategy.SPREAD:
        for name in ("buy_margin_bps", "sell_margin_bps"):
            if getattr(model, name) == 0:
                raise table.wrong(
                    name, "0 is no margin: spread puts level k at the touch times (1 ± margin)^k", "above 0"
                )
    return LayerSpec(layer=which, **model.model_dump())


def _tolerance_warnings(table: Table, layer: LayerSpec) -> list[str]:
    quoted = [side for side in Side if layer.levels(side) > 0]
    margin = min((layer.margin_bps(side) for side in quoted), default=None)
    if margin is None or layer.diff_per_round_bps == 0 or layer.diff_per_round_bps < margin:
        return []
    said = (
        f"{plain(layer.diff_per_round_bps)} is not below the margin of {plain(margin)} basis points: "
        "an order may be kept that a move of the book has left without its margin"
    )
    return [table.wrong("diff_per_round_bps", said).message]


def check_clashes(made: Iterable[MadePair]) -> None:
    """Raises ``UsageError`` where two pairs have the same venue, account and symbol."""
    seen: dict[tuple[str, str, str], str] = {}
    for pair in made:
        venue, account, symbol = pair.spec.key
        key = (venue, account, fold(symbol))
        if key in seen:
            said = f"{symbol} on {venue}, account {account}, is made by two pairs, {seen[key]} and {pair.spec.name}"
            raise pair.table.wrong("symbol", said, "drop one, or give it another account")
        seen[key] = pair.spec.name


def mock_spec(table: Table, made: Iterable[MadePair]) -> MockSpec:
    """The ``[mock]`` table and the pairs' start prices; two pairs that follow one book must agree on its price."""
    stated: dict[BookKey, Decimal] = {}
    follows: list[BookKey] = []
    for pair in made:
        follows.append(pair.spec.follow)
        if pair.mock_price is not None and stated.setdefault(pair.spec.follow, pair.mock_price) != pair.mock_price:
            said = f"{plain(pair.mock_price)} is not what another pair says that follows {pair.spec.follow}"
            raise pair.table.wrong("mock_price", said, f"write {plain(stated[pair.spec.follow])} in both, or in one")
    prices = {follow: stated.get(follow, DEFAULT_MOCK_PRICE) for follow in follows}
    return MockSpec(**table.read(MockModel).model_dump(), start_prices=prices)


def redis_spec(table: Table) -> RedisSpec:
    """The ``[redis]`` table. Raises ``UsageError`` for an address that is none."""
    model = table.read(RedisModel)
    if model.url is not None:
        checked_redis_url(model.url.get_secret_value(), table.name("url"))
    return RedisSpec(model.url, model.timeout_ms)
