"""Whether a profile's ladders fit a venue: its filters, its order cap, and what the account holds.

All is judged from values that were read before. A ladder's *need* is what it locks when every level stands at its
largest amount; a mirror ladder of small reference sizes locks less.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from math import ceil

from mmctl.core.checks import About, Check
from mmctl.core.events import Balance
from mmctl.core.instrument import Instrument, decimals_of, plain
from mmctl.core.order import NewOrder, Side, encode_own_id
from mmctl.core.spec import LayerSpec, PairSpec
from mmctl.errors import EXIT_USAGE, EXIT_VENUE

OVERLAP = 2
"""New orders leave before old ones are cancelled, so for a moment both ladders stand."""

CLOCK_WARN_MS = 500
CLOCK_FAIL_MS = 2000
"""For how long the venue takes a request up. mmctl reckons with the offset; ages of books are off with the clock."""

_LIMITS_HINT = "set max_position, max_fills_per_min and max_basis_bps: see profiles/binance-spot.toml"


@dataclass(frozen=True, slots=True)
class SymbolFacts:
    """One symbol as the venue tells it; ``mid`` is the venue's own, ``None`` where there is none."""

    status: str
    trading: bool
    instrument: Instrument
    max_notional: Decimal | None
    mid: Decimal | None

    @property
    def smallest(self) -> Decimal:
        """The smallest amount of an order, in quote currency."""
        return max(self.instrument.min_notional, self.instrument.min_qty * (self.mid or 0))


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """The account behind a key: the venue's number of it, whether it may trade, and all that it holds."""

    user_id: str | None
    may_trade: bool
    assets: Mapping[str, Balance]


@dataclass(frozen=True, slots=True)
class KeyRights:
    """What a key itself may do; the account may do more. ``any_address``: it is good from any network address."""

    may_trade: bool
    may_withdraw: bool
    any_address: bool


def key(about: About, account: AccountFacts, rights: KeyRights | None) -> Check:
    """Whether the key may trade, and no more than that; ``rights`` is ``None`` where the venue does not tell."""
    who = "the account" if account.user_id is None else f"account {account.user_id}"
    if not account.may_trade:
        return about.fail(f"{who} may not trade", "enable spot trading for the account", EXIT_VENUE)
    if rights is None:
        return about.ok(f"{who} may trade; what this key may do the venue does not tell")
    if not rights.may_trade:
        return about.fail(f"the key of {who} may not trade", "allow it spot trading, or take another", EXIT_VENUE)
    where = "from any address" if rights.any_address else "from listed addresses"
    if rights.may_withdraw:
        said = f"the key of {who} may trade and also withdraw, {where}"
        return about.warn(said, "take a key that may not: mmctl never withdraws")
    return about.ok(f"the key of {who} may trade and may not withdraw, {where}")


def clock(about: About, offset_ms: int, round_trip_ms: int) -> Check:
    """``offset_ms`` is the venue's time less ours."""
    side = "behind" if offset_ms > 0 else "ahead of"
    said = f"this machine's clock is {abs(offset_ms) / 1000:.3f} s {side} the venue's, to {round_trip_ms / 2000:.3f} s"
    if abs(offset_ms) > CLOCK_FAIL_MS:
        return about.fail(said, "set this machine's clock (NTP)", EXIT_VENUE)
    return about.warn(said, "set this machine's clock (NTP)") if abs(offset_ms) > CLOCK_WARN_MS else about.ok(said)


def symbol(spec: PairSpec, facts: SymbolFacts) -> Check:
    """Whether it is traded now, and is the market that the pair's name says."""
    about, one = About("symbol", pair=spec.name), facts.instrument
    if not facts.trading:
        hint = "wait until the venue trades it, or drop the pair"
        return about.fail(f"{spec.symbol} is not trading: its status is {facts.status}", hint, EXIT_VENUE)
    if (one.base, one.quote) != (spec.base, spec.quote):
        return about.fail(f"{spec.symbol} trades {one.base} for {one.quote}", "mend the pair's name or symbol")
    mid = "" if facts.mid is None else f", mid {plain(facts.mid)}"
    return about.ok(f"{spec.symbol} is trading{mid}")


def filters(spec: PairSpec, facts: SymbolFacts) -> Iterator[Check]:
    """The venue's steps and amounts against the profile's: what is at odds, or one line where nothing is."""
    about, one = About("filters", pair=spec.name), facts.instrument
    found = [*_decimals(about, spec, one)]
    for layer in spec.layers:
        found += _amounts(about, layer, facts)
    if found:
        yield from found
        return
    yield about.ok(f"tick {_text(one.tick_size)}, lot {_text(one.lot_size)}, smallest amount {_text(one.min_notional)}")


def _decimals(about: About, spec: PairSpec, one: Instrument) -> Iterator[Check]:
    """A coarser step of the profile is its own choice, as long as the venue has every multiple of it."""
    for name, decimals, what, step in (
        ("price_decimals", spec.price_decimals, "tick", one.tick_size),
        ("qty_decimals", spec.qty_decimals, "lot", one.lot_size),
    ):
        if decimals is None:
            continue
        own = Decimal(1).scaleb(-decimals)
        hint = f"set {name} = {decimals_of(step)}, or leave it out"
        if own < step:
            yield about.warn(f"{name} {decimals} is finer than the venue's {what} {_text(step)}, which wins", hint)
        elif own % step:
            yield about.fail(f"{name} {decimals} is off the venue's {what} {_text(step)}", hint)


def _amounts(about: About, layer: LayerSpec, facts: SymbolFacts) -> Iterator[Check]:
    """Whether the layer's orders are large enough for the venue, and small enough."""
    one, name = facts.instrument, layer.layer
    least = one.min_notional
    if 0 < layer.min_amount < least:
        said = f"{name}.min_amount {_text(layer.min_amount)} is under the venue's minimum {_text(least)}, which wins"
        yield about.warn(said, f"set {name}.min_amount = {_text(least)}")
    if 0 < layer.min_qty < one.min_qty:
        said = f"{name}.min_qty {_text(layer.min_qty)} is under the venue's minimum {_text(one.min_qty)}, which wins"
        yield about.warn(said, f"set {name}.min_qty = {_text(one.min_qty)}")
    if facts.max_notional is not None and layer.max_amount > facts.max_notional:
        most = _text(facts.max_notional)
        yield about.warn(f"{name}.max_amount {_text(layer.max_amount)} is over the venue's largest amount {most}")
    needed = max(facts.smallest, layer.min_amount)
    largest = layer.max_amount
    if facts.mid:
        largest = one.lots(layer.max_amount / facts.mid) * one.lot_size * facts.mid
    if largest < needed:
        said = f"{name}.max_amount {_text(layer.max_amount)} leaves no order that the venue's lot and minimum allow"
        yield about.fail(said, f"set {name}.max_amount well above {_text(needed)}", EXIT_USAGE)


def order_cap(spec: PairSpec, facts: SymbolFacts, foreign: int) -> Check:
    """The ladders against the open orders that profile and venue allow; foreign orders count at the venue."""
    about = About("order_cap", pair=spec.name)
    ladder = sum(layer.levels(side) for layer in spec.layers for side in Side)
    cap, whose = spec.max_open_orders, "max_open_orders"
    venue_cap = facts.instrument.max_open_orders
    if venue_cap is not None and venue_cap - foreign < cap:
        cap = max(0, venue_cap - foreign)
        whose = f"the venue's cap{f' less {foreign} foreign' if foreign else ''}"
    said = f"the ladders have {ladder} orders, {whose} is {cap}"
    if ladder > cap:
        return about.fail(said, "quote fewer levels", EXIT_USAGE)
    if ladder * OVERLAP > cap:
        return about.warn(f"{said}: new orders wait for the old ones' end", f"{ladder * OVERLAP} leave room for both")
    return about.ok(said)


def limits(spec: PairSpec, mid: Decimal | None) -> Check:
    """A pair on a live venue must have limits; its ladders should fit into them."""
    about, given = About("limits", pair=spec.name), spec.limits
    if given is None:
        return about.fail("the limits that a live venue needs are not set", _LIMITS_HINT)
    said = (
        f"position {_text(given.max_position)} {spec.base}, {given.max_fills_per_min} fills a minute,"
        f" basis {_text(given.max_basis_bps)} bps"
    )
    need = max((_locked(spec, side) for side in Side), default=Decimal(0)) / mid if mid else Decimal(0)
    if need > given.max_position:
        text = f"{said}: full ladders have {_rounded(need)} {spec.base} on a side, and the outer levels will be missing"
        return about.warn(text, "raise max_position, or quote less")
    return about.ok(said)


def balances(
    account: str,
    pairs: Sequence[tuple[PairSpec, SymbolFacts]],
    held: Mapping[str, Decimal],
    *,
    complete: bool,
) -> Iterator[Check]:
    """What the account holds of each asset, against all ladders that use it.

    ``held`` is what is free or locked by own orders. ``complete`` says whether these are all of the account's pairs.
    """
    needs = [need for pair in pairs for need in _needs(*pair)]
    for asset in dict.fromkeys(need.asset for need in needs):
        about = About("balance", account=account)
        of_asset = [need for need in needs if need.asset == asset]
        have = held.get(asset, Decimal(0))
        if any(need.full is None or need.smallest is None for need in of_asset):
            yield about.skip(f"{_rounded(have)} {asset}: what the ladders need is not known without a mid")
            continue
        full = sum((need.full for need in of_asset if need.full is not None), Decimal(0))
        smallest = min(need.smallest for need in of_asset if need.smallest is not None)
        and_more = "" if complete else " at least"
        said = f"{_rounded(have)} {asset}, full ladders need{and_more} {_rounded(full)}"
        if have < smallest:
            yield about.fail(f"{said}, one order {_rounded(smallest)}", f"fund the account with {asset}", EXIT_VENUE)
        elif have < full:
            yield about.warn(f"{said}: outer levels will be missing", f"fund the account with {asset}, or quote less")
        else:
            yield about.ok(said)


def smallest_order(spec: PairSpec, instrument: Instrument, mid: Decimal) -> NewOrder | None:
    """A small order such as the pair would place, for the venue to look at; ``None`` where it quotes nothing."""
    for layer, side in ((layer, side) for layer in spec.layers for side in Side if layer.levels(side)):
        margin = layer.margin_bps(side) / 10_000 * (-1 if side is Side.BUY else 1)
        ticks = instrument.ticks(mid * (1 + margin), side)
        # A lot of room above the smallest: the venue may weigh the amount at a price of its own.
        amount = max(instrument.min_notional, layer.min_amount) * 2
        price = instrument.price(ticks)
        if price <= 0:
            return None
        lots = max(ceil(amount / price / instrument.lot_size), ceil(instrument.min_qty / instrument.lot_size), 1)
        client_id = encode_own_id(layer.layer, side, 0, 0)
        return NewOrder(spec.symbol, client_id, side, price, instrument.qty(lots), layer.time_in_force)
    return None


@dataclass(frozen=True, slots=True)
class _Need:
    """What one side of a pair's ladders locks of an asset in full, and with one smallest order."""

    asset: str
    full: Decimal | None
    smallest: Decimal | None


def _needs(spec: PairSpec, facts: SymbolFacts) -> Iterator[_Need]:
    one, mid = facts.instrument, facts.mid
    for side, asset in ((Side.BUY, one.quote), (Side.SELL, one.base)):
        layers = [layer for layer in spec.layers if layer.levels(side)]
        if not layers:
            continue
        full = _locked(spec, side)
        smallest = min(max(facts.smallest, layer.min_amount) for layer in layers)
        if side is Side.BUY:
            yield _Need(asset, full, smallest)
        elif mid:
            yield _Need(asset, full / mid, max(smallest / mid, one.lot_size))
        else:
            yield _Need(asset, None, None)


def _locked(spec: PairSpec, side: Side) -> Decimal:
    """The amount of one side's full ladders, in quote currency."""
    return sum((layer.levels(side) * layer.max_amount for layer in spec.layers), Decimal(0))


def _text(value: Decimal) -> str:
    """Without the zeros that venues pad with: 5 for 5.00000000."""
    return plain(value.normalize()) if value else "0"


def _rounded(value: Decimal) -> str:
    """A balance or a need to eight digits at most, needs upward."""
    return _text(value.quantize(Decimal("0.00000001"), ROUND_CEILING))
