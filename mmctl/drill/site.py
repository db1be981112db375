"""The venue of a drill, made for a profile: the sandbox's exchange with the profile's symbols, accounts and money."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial

from mmctl.core.book import BookKey
from mmctl.core.order import Side
from mmctl.core.spec import PairSpec
from mmctl.drill.market import T0_MS, Reference, Street, wall_ms
from mmctl.drill.network import Air, Witness
from mmctl.drill.timeline import Timeline
from mmctl.errors import UsageError
from mmctl.profile_spec import Profile
from mmctl.sandbox.api import Api
from mmctl.sandbox.exchange import Exchange
from mmctl.sandbox.faults import Faults
from mmctl.sandbox.limits import BINANCE, LimitRule, Limits
from mmctl.sandbox.options import KNOWN_SYMBOLS, AccountSpec, SandboxOptions, SymbolSpec, account

OPEN_ORDER_CAP = 200
PLENTY = 10
"""How many times a ladder's need an account holds, as a mock venue's does."""
SCARCE = Decimal("1.3")
TIGHT_LIMITS = (
    LimitRule("REQUEST_WEIGHT", "MINUTE", 1, 1200),
    LimitRule("ORDERS", "SECOND", 10, 40),
    LimitRule("ORDERS", "DAY", 1, 200_000),
    LimitRule("RAW_REQUESTS", "MINUTE", 5, 61_000),
)


@dataclass(frozen=True, slots=True)
class Script:
    """What one seed is played with."""

    specs: tuple[PairSpec, ...]
    symbols: tuple[SymbolSpec, ...]
    starts: tuple[Decimal, ...]


def script_of(profile: Profile, pairs: Sequence[PairSpec]) -> Script:
    """The pairs as they are made on the drill's venue. Raises ``UsageError`` for what the venue cannot stand for."""
    specs, symbols, starts = [], [], []
    taken: set[tuple[str, str, str]] = set()
    for spec in pairs:
        made = replace(spec, symbol=spec.base + spec.quote)
        if made.key in taken:
            raise UsageError(f"two pairs trade {made.symbol} on account {spec.account}", "drill one: --pair NAME")
        taken.add(made.key)
        start, symbol = _symbol(profile, made)
        specs.append(made)
        starts.append(start)
        symbols.append(symbol)
    return Script(tuple(specs), tuple(symbols), tuple(starts))


def _symbol(profile: Profile, spec: PairSpec) -> tuple[Decimal, SymbolSpec]:
    known = KNOWN_SYMBOLS.get(spec.symbol)
    stated = profile.mock.start_prices[spec.follow]
    start = known.start_price if known is not None and stated == 100 else stated
    tick = known.tick_size if known is not None else Decimal("0.01")
    lot = known.lot_size if known is not None else Decimal("0.0001")
    if spec.price_decimals is not None:
        tick = Decimal(1).scaleb(-spec.price_decimals)
    if spec.qty_decimals is not None:
        lot = Decimal(1).scaleb(-spec.qty_decimals)
    return start, SymbolSpec(
        spec.base, spec.quote, tick, lot, start,
        min_notional=Decimal(5) if spec.quote.startswith(("USD", "FDUSD")) else tick * lot,
        min_price=tick, max_price=max(Decimal(1_000_000), start * 10), max_qty=Decimal(90_000_000),
    )  # fmt: skip


class Site:
    """A seed's venue and everything around it but the engines."""

    def __init__(self, script: Script, timeline: Timeline, witness: Witness, seed: int) -> None:
        dice = random.Random(f"site {seed}")
        self.script, self.timeline = script, timeline
        self.tight = dice.random() < 0.3
        self.wall_step_ms = 0
        self.disk_full = False
        self.disk_slow_s = 0.0
        rules = TIGHT_LIMITS if dice.random() < 0.25 else BINANCE
        options = SandboxOptions(
            seed=seed, symbols=script.symbols, accounts=_accounts(script, self.tight), open_order_cap=OPEN_ORDER_CAP
        )
        faults = Faults({}, seed)
        self.exchange = Exchange(options, partial(wall_ms, timeline))
        self.limits = Limits(rules, monotonic=lambda: timeline.now_s)
        self.api = Api(self.exchange, self.limits, faults)
        self.faults = faults
        self.air = Air(timeline, self.api, witness, random.Random(f"air {seed}"))
        self.streets: dict[BookKey, Street] = {}
        for number, (spec, start) in enumerate(zip(script.specs, script.starts, strict=True)):
            market = self.exchange.market(spec.symbol)
            if spec.follow not in self.streets:
                reference = Reference(spec, market, start, timeline, dice.getrandbits(63))
                made = random.Random(f"street {seed} {number}")
                self.streets[spec.follow] = Street(reference, self.exchange, market, faults, made)

    def wall_ms(self) -> int:
        """What the engines' machine takes the time for."""
        return T0_MS + int(self.timeline.now_s * 1000) + self.wall_step_ms

    def account_key(self, name: str) -> tuple[str, str]:
        made = self.exchange.accounts[name]
        return made.key, made.secret.decode()


def _accounts(script: Script, tight: bool) -> tuple[AccountSpec, ...]:
    names = dict.fromkeys(spec.account for spec in script.specs)
    return tuple(
        replace(account(name, 1001 + number), balances=_need(script, name, tight)) for number, name in enumerate(names)
    )


def _need(script: Script, name: str, tight: bool) -> dict[str, Decimal]:
    """Some ladders' worth of each asset."""
    times = SCARCE if tight else Decimal(PLENTY)
    need: dict[str, Decimal] = {}
    for spec, start in zip(script.specs, script.starts, strict=True):
        if spec.account != name:
            continue
        for layer in spec.layers:
            for side in Side:
                amount = layer.levels(side) * layer.max_amount * times
                asset, much = (spec.quote, amount) if side is Side.BUY else (spec.base, amount / start)
                need[asset] = need.get(asset, Decimal(0)) + much
    return {asset: much.quantize(Decimal("0.00000001")) for asset, much in need.items()}
