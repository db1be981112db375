"""What ``mmctl doctor`` says of each account's venue: reach, clock, key, orders, symbols and balances."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar
from urllib.parse import urlsplit

from mmctl.bootstrap import Setup, account_urls, coarser
from mmctl.bootstrap_probe import Probe, account_mode, account_probe
from mmctl.core import fits
from mmctl.core.checks import About, Check, Status
from mmctl.core.fits import AccountFacts, KeyRights, SymbolFacts
from mmctl.core.order import Side
from mmctl.core.spec import PairSpec
from mmctl.errors import MmctlError, UsageError, VenueError, VenueUnreachable
from mmctl.markets import MOCK, has_adapter, split_symbol
from mmctl.ports import ForeignOrder, Listing
from mmctl.profile import AccountSpec

ASK_TIMEOUT_S = 2.0
CLOSE_S = 0.3

_MODES = {
    "live": "LIVE: real money",
    "testnet": "TESTNET: play money",
    "sandbox": "SANDBOX: play money",
}
_HINT = "check the address and the network, and whether the venue is up"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Facts:
    """All that a venue told, or why it did not."""

    reach: tuple[int, int] | VenueError
    socket_ms: float | VenueError
    symbols: Mapping[str, SymbolFacts | VenueError]
    account: AccountFacts | MmctlError
    rights: KeyRights | None
    orders: Listing | MmctlError


def accounts_of(setup: Setup) -> list[AccountSpec]:
    """The accounts that the chosen pairs use, in the profile's order."""
    used = {spec.account for spec in setup.pairs}
    return [account for name, account in setup.profile.accounts.items() if name in used]


def mode_check(account: AccountSpec) -> Check:
    """Whether it is about real money."""
    about = About("mode", account=account.name)
    if account.venue == MOCK:
        return about.ok("MOCK: no order can leave this process")
    if not has_adapter(account.venue):
        return about.skip(f"mmctl has no adapter for {account.venue} yet")
    try:
        where = urlsplit(account_urls(account).rest).netloc
        return about.ok(f"{_MODES[account_mode(account)]}, {account.venue} at {where}")
    except UsageError as error:
        return about.fault(error)


async def venue_checks(setup: Setup, account: AccountSpec, deadline_s: float) -> list[Check]:
    """All of one account; ``deadline_s`` is of the running loop's clock."""
    specs = [spec for spec in setup.pairs if spec.account == account.name]
    if account.venue == MOCK:
        return list(_mock_checks(account, specs))
    about = About("venue", account=account.name)
    try:
        probe, no_keys = account_probe(account, several=setup.profile.several_accounts, timeout_s=ASK_TIMEOUT_S)
    except UsageError as error:
        return [about.fault(error), *_unasked(account, specs, "the venue cannot be asked")]
    await probe.open()
    try:
        facts = await _ask(probe, no_keys, specs, deadline_s)
        tests = await _test_orders(probe, specs, facts, deadline_s)
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await probe.close()
    if isinstance(facts.reach, VenueError):
        socket = _socket_check(account, facts.socket_ms)
        return [about.fault(facts.reach, _HINT), socket, *_unasked(account, specs, "the venue cannot be reached")]
    complete = len(specs) == sum(spec.account == account.name for spec in setup.profile.pairs)
    return [
        about.ok(f"{account.venue} at {probe.where} answers in {facts.reach[1]} ms"),
        fits.clock(About("clock", account=account.name), *facts.reach),
        _socket_check(account, facts.socket_ms),
        _key_check(account, facts),
        _orders_check(account, facts),
        *(check for spec in specs for check in _pair_checks(spec, facts, tests[spec.symbol])),
        *_balance_checks(account, specs, facts, complete=complete),
    ]


async def _ask(probe: Probe, no_keys: UsageError | None, specs: list[PairSpec], deadline_s: float) -> _Facts:
    """All questions: those that need no key at once, and the others when the venue's time is known."""

    async def due(question: Awaitable[_T], what: str) -> _T | VenueError:
        return await _attempt(question, what, deadline_s)

    symbols = [spec.symbol for spec in specs]
    public = asyncio.gather(*(due(probe.symbol(one), f"the filters of {one}") for one in symbols))
    socket = asyncio.ensure_future(due(probe.socket_ms(), "a ping over the WebSocket API"))
    reach = await due(probe.measure_clock(), "the time")
    account: AccountFacts | MmctlError
    orders: Listing | MmctlError
    rights: KeyRights | VenueError | None = None
    if isinstance(reach, VenueError) or no_keys is not None:
        account = orders = no_keys or VenueUnreachable("the venue cannot be reached")
    else:
        account, rights, orders = await asyncio.gather(
            due(probe.account(), "the account"),
            due(probe.rights(), "the key's permissions"),
            due(probe.open_orders(), "the open orders"),
        )
    told = dict(zip(symbols, await public, strict=True))
    return _Facts(reach, await socket, told, account, None if isinstance(rights, VenueError) else rights, orders)


async def _attempt(question: Awaitable[_T], what: str, deadline_s: float) -> _T | VenueError:
    try:
        async with asyncio.timeout_at(deadline_s):
            return await question
    except TimeoutError:
        return VenueUnreachable(f"the venue did not answer {what} in time", "is the network slow?")
    except VenueError as error:
        return error


async def _test_orders(probe: Probe, specs: list[PairSpec], facts: _Facts, deadline_s: float) -> dict[str, Check]:
    """Whether the venue would take an order of each pair: it is asked to look at one, and places nothing."""

    async def test(spec: PairSpec) -> Check:
        about, symbol = About("test_order", pair=spec.name), facts.symbols[spec.symbol]
        if isinstance(facts.account, MmctlError):
            return about.skip("the key cannot be used")
        if fits.key(about, facts.account, facts.rights).status is Status.FAIL:
            return about.skip("the key may not trade")
        if isinstance(symbol, VenueError) or not symbol.trading or symbol.mid is None:
            return about.skip("there is no market to place one in")
        order = fits.smallest_order(spec, coarser(symbol.instrument, spec), symbol.mid)
        if order is None:
            return about.skip("nothing is quoted")
        answer = await _attempt(probe.try_order(order), "a test order", deadline_s)
        if isinstance(answer, VenueError):
            return about.fault(answer, _HINT)
        return about.ok(f"the venue would take {order.side} {order.qty:f} at {order.price:f}; nothing was placed")

    checks = await asyncio.gather(*map(test, specs))
    return dict(zip([spec.symbol for spec in specs], checks, strict=True))


def _socket_check(account: AccountSpec, found: float | VenueError) -> Check:
    about = About("socket", account=account.name)
    if isinstance(found, VenueError):
        return about.fault(found, _HINT)
    return about.ok(f"the WebSocket API answers in {found:.0f} ms")


def _key_check(account: AccountSpec, facts: _Facts) -> Check:
    about = About("key", account=account.name)
    if isinstance(facts.account, MmctlError):
        return about.fault(facts.account, _HINT)
    return fits.key(about, facts.account, facts.rights)


def _orders_check(account: AccountSpec, facts: _Facts) -> Check:
    """What rests already; a foreign order on an account that says it has none is one that a stop would end."""
    about, listing = About("orders", account=account.name), facts.orders
    if isinstance(facts.account, MmctlError):
        return about.skip("the key cannot be used")
    if isinstance(listing, MmctlError):
        return about.fault(listing, _HINT)
    said = f"{len(listing.own)} own and {len(listing.foreign)} foreign orders are open"
    if listing.foreign and account.exclusive:
        where = ", ".join(sorted({order.symbol for order in listing.foreign}))
        hint = "cancel them, or take exclusive = true out of the profile"
        return about.warn(f"{said} ({where}), and the account is exclusive: a stop ends foreign orders too", hint)
    return about.ok(f"{said}; exclusive = {'true' if account.exclusive else 'false'}")


def _pair_checks(spec: PairSpec, facts: _Facts, test: Check) -> Iterator[Check]:
    found = facts.symbols[spec.symbol]
    if isinstance(found, VenueError):
        yield About("symbol", pair=spec.name).fault(found, _HINT)
        for name in ("filters", "order_cap"):
            yield About(name, pair=spec.name).skip("the symbol's filters are not known")
        yield fits.limits(spec, None)
    else:
        foreign = [order for order in _foreign(facts) if order.symbol == spec.symbol]
        yield fits.symbol(spec, found)
        yield from fits.filters(spec, found)
        yield fits.order_cap(spec, found, len(foreign))
        yield fits.limits(spec, found.mid)
    yield test


def _balance_checks(account: AccountSpec, specs: list[PairSpec], facts: _Facts, *, complete: bool) -> Iterable[Check]:
    if isinstance(facts.account, MmctlError):
        return [About("balance", account=account.name).skip("the key cannot be used")]
    known = [(spec, found) for spec in specs if isinstance(found := facts.symbols[spec.symbol], SymbolFacts)]
    if not known:
        return [About("balance", account=account.name).skip("the symbols' filters are not known")]
    held = {asset: balance.total for asset, balance in facts.account.assets.items()}
    for order in _foreign(facts):
        asset, amount = _lock(order)
        held[asset] = held.get(asset, Decimal(0)) - amount
    return fits.balances(account.name, known, held, complete=complete and len(known) == len(specs))


def _foreign(facts: _Facts) -> tuple[ForeignOrder, ...]:
    return () if isinstance(facts.orders, MmctlError) else facts.orders.foreign


def _lock(order: ForeignOrder) -> tuple[str, Decimal]:
    """What a foreign order locks, which is not there for the ladders."""
    base, quote = split_symbol(order.symbol) or ("", "")
    return (quote, order.price * order.remaining) if order.side is Side.BUY else (base, order.remaining)


def _unasked(account: AccountSpec, specs: list[PairSpec], why: str) -> Iterator[Check]:
    """The lines of a venue that tells nothing; what the profile alone shows is judged all the same."""
    yield from (About(name, account=account.name).skip(why) for name in ("clock", "key", "orders"))
    for spec in specs:
        yield from (About(name, pair=spec.name).skip(why) for name in ("symbol", "filters", "order_cap"))
        yield fits.limits(spec, None)
    yield About("balance", account=account.name).skip(why)


def _mock_checks(account: AccountSpec, specs: list[PairSpec]) -> Iterator[Check]:
    yield About("venue", account=account.name).ok("a mock: it trades inside this process alone")
    yield About("key", account=account.name).skip("a mock needs none")
    for spec in specs:
        about = About("filters", pair=spec.name)
        unset = [name for name in ("price_decimals", "qty_decimals") if getattr(spec, name) is None]
        if unset:
            yield about.fail(
                f"a mock takes tick and lot from the profile, and {unset[0]} is not set", f"set {unset[0]}"
            )
        else:
            yield about.ok(f"a mock: prices of {spec.price_decimals} and quantities of {spec.qty_decimals} decimals")
    yield About("balance", account=account.name).skip("a mock is funded as the profile says")
