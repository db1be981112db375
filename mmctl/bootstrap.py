"""The only wiring point: profile and options -> feed, venues, clock and engine.

What a verb is (live, dry run) is which objects it asks for here; nothing behind this module knows.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from pathlib import Path

from mmctl.bootstrap_presence import known_to_others
from mmctl.core.instrument import Instrument, plain
from mmctl.core.report import Report
from mmctl.core.spec import PairSpec, Strategy
from mmctl.engine.beside import beside
from mmctl.engine.desk import AccountDesk
from mmctl.engine.epoch import next_epoch
from mmctl.engine.halt import FileHaltLatch, who
from mmctl.engine.journal import SqliteJournal, journal_path
from mmctl.engine.loop import Engine
from mmctl.engine.no_journal import NoJournal
from mmctl.engine.pair import Pair
from mmctl.engine.presence import NoPresence, Presence
from mmctl.errors import NoKeys, UsageError, VenueUnreachable
from mmctl.markets import MOCK, has_adapter
from mmctl.ports import Clock, Feed, Journal, Venue
from mmctl.profile_spec import AccountSpec, Profile
from mmctl.settings import binance_mode, binance_urls, credentials, key_prefix
from mmctl.wire.binance_urls import BinanceUrls
from mmctl.wire.sandbox_keys import SANDBOX_KEY, SANDBOX_SECRET

REAL_MODES = ("live", "testnet")
"""Modes of venues that other people trade on: nothing is quoted there on a made-up book."""

PRIME_TIMEOUT_S = 0.5
FILTERS_TIMEOUT_S = 1.0
MOST_LEVELS_SEEN = 20
"""What a profile with shallow ladders reads of the direct feed: a partial depth stream, which costs least."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What a verb works on: the chosen pairs of a profile, and where their books and state are."""

    profile: Profile
    pairs: tuple[PairSpec, ...]
    feed: str
    redis_url: str | None
    state_dir: Path
    clock: Clock

    def feed_urls(self) -> BinanceUrls:
        """Where the direct feed is: with the first account on Binance, else where everybody's books are."""
        accounts = [self.profile.accounts[spec.account] for spec in self.pairs if spec.account in self.profile.accounts]
        binance = next((account for account in accounts if account.venue == "binance"), None)
        return binance_urls(os.environ) if binance is None else account_urls(binance)


PresenceMaker = Callable[[Setup, Venue, FileHaltLatch, Callable[[Report], None], Journal, AsyncExitStack], Presence]


@dataclass(frozen=True, slots=True)
class Opened:
    """A venue ready for use, and the pairs on it as they are made there."""

    venue: Venue
    pairs: tuple[PairSpec, ...]
    notes: tuple[str, ...] = ()
    unread: str = ""
    """Why the account itself cannot be read, so that a mock stands in for it."""
    presence: PresenceMaker = field(default=lambda setup, venue, latch, report, journal, stack: NoPresence())
    """How an engine there is known to others: not at all, where the venue is in this process."""


VenueChoice = Callable[[Setup, Feed, AsyncExitStack], AsyncIterator[Opened]]
"""Which venues a verb works on: ``own_venues``, ``stand_ins`` or ``readable_venues``."""


def make_feed(setup: Setup) -> Feed:
    """The feed that the setup names. Raises ``UsageError`` for one that cannot be had."""
    if setup.feed == "mock":
        from mmctl.feeds.mock import MockFeed, MockMarket

        markets = {
            spec.follow: MockMarket(setup.profile.mock.start_prices[spec.follow], *_market_steps(spec))
            for spec in setup.pairs
        }
        return MockFeed(setup.clock, markets, setup.profile.mock.seed)
    if setup.feed == "redis":
        if setup.redis_url is None:
            raise UsageError(
                "the redis feed has no address", "give --redis-url redis://HOST:PORT/0, or set MMCTL_REDIS_URL"
            )
        from mmctl.feeds.redis import RedisFeed

        return RedisFeed(setup.redis_url, setup.clock, timeout_s=setup.profile.redis.timeout_ms / 1000)
    from mmctl.feeds.binance import BinanceFeed

    keys = list(dict.fromkeys(spec.follow for spec in setup.pairs))
    return BinanceFeed(setup.clock, setup.feed_urls(), keys, levels=_levels_wanted(setup.pairs), trades=True)


async def stand_ins(setup: Setup, feed: Feed, stack: AsyncExitStack) -> AsyncIterator[Opened]:
    """A mock venue for each account, whatever its venue: nothing that could send an order is made."""
    for (venue, account), specs in _by_account(setup.pairs).items():
        made = tuple(replace(spec, venue=MOCK, shares_market=False) for spec in specs)
        filters = await _public_filters(setup.profile.accounts[account], specs)
        stand_in = await _mock_venue(setup, feed, account, made, stack, filters)
        yield Opened(stand_in, made, () if venue == MOCK else _stand_in_notes(venue, made, filters))


async def own_venues(setup: Setup, feed: Feed, stack: AsyncExitStack) -> AsyncIterator[Opened]:
    """Each account's own venue, to trade on. Raises ``UsageError`` for one that mmctl has no adapter for, and
    for a live pair without the limits that stop a loss."""
    for (venue, account), specs in _by_account(setup.pairs).items():
        if venue == MOCK:
            yield Opened(await _mock_venue(setup, feed, account, specs, stack, {}), specs)
            continue
        check_adapter(venue, account)
        for spec in specs:
            _check_limits(spec)
        made = await _open_live(setup, venue, account, stack, partial(_check_feed, setup.feed))
        yield Opened(made, specs, presence=known_to_others)


async def readable_venues(setup: Setup, feed: Feed, stack: AsyncExitStack) -> AsyncIterator[Opened]:
    """Each account's own venue where mmctl can read it, else a stand-in: for verbs that only look."""
    for (venue, account), specs in _by_account(setup.pairs).items():
        if venue != MOCK and has_adapter(venue):
            try:
                yield Opened(await _open_live(setup, venue, account, stack), specs)
                continue
            except NoKeys as error:
                unread = str(error)
        else:
            unread = ""
        async for opened in stand_ins(replace(setup, pairs=specs), feed, stack):
            yield replace(opened, unread=unread)


async def _open_live(
    setup: Setup, venue: str, account: str, stack: AsyncExitStack, check: Callable[[Venue], None] = lambda _: None
) -> Venue:
    """The account's venue, open. ``check`` may raise before anything is connected to."""
    made = live_venue(venue, setup.profile.accounts[account], several=setup.profile.several_accounts)
    stack.push_async_callback(made.close)
    check(made)
    await made.open()
    return made


def _check_feed(feed: str, venue: Venue) -> None:
    """Nothing is quoted for real on a made-up book. Raises ``UsageError``."""
    if feed == "mock" and venue.mode in REAL_MODES:
        raise UsageError(
            f"the mock feed's books are made-up, and account {venue.account} on {venue.name} is real",
            "give --feed redis or binance, or use `mmctl dry-run`",
        )


def check_adapter(venue: str, account: str) -> None:
    """Raises ``UsageError`` where mmctl knows ``venue`` but cannot trade on it yet."""
    if not has_adapter(venue):
        raise UsageError(
            f"mmctl has no adapter for the venue {venue!r} (account {account}) yet",
            "`mmctl dry-run` shows what it would do there, on a mock venue",
        )


async def _public_filters(account: AccountSpec, specs: Sequence[PairSpec]) -> Mapping[str, Instrument]:
    """The venue's own filters by symbol, where anybody may read them and they can be read now; else none."""
    if account.venue != "binance":
        return {}
    from mmctl.venues.binance_public import read_filters

    symbols = [spec.symbol for spec in specs]
    try:
        async with asyncio.timeout(2 * FILTERS_TIMEOUT_S):
            return await asyncio.to_thread(read_filters, account_urls(account).rest, symbols, FILTERS_TIMEOUT_S)
    except (VenueUnreachable, TimeoutError):
        return {}


def live_venue(venue: str, account: AccountSpec, *, several: bool) -> Venue:
    """The adapter of a live venue, not yet open. ``several``: whether key variables must name the account.

    Raises ``UsageError`` where mmctl cannot trade on ``venue`` yet, where keys are missing, and for an address
    that keys may not go to.
    """
    check_adapter(venue, account.name)
    from mmctl.venues.binance import BinanceVenue

    urls = account_urls(account)
    mode = binance_mode(urls)
    key, secret = _keys(venue, account, mode, several=several)
    return BinanceVenue(system_clock(), account=account.name, key=key, secret=secret, urls=urls, mode=mode)


def account_urls(account: AccountSpec) -> BinanceUrls:
    """Where an account on Binance is. Raises ``UsageError`` for an address that keys may not go to."""
    return binance_urls(os.environ, account.rest_url, account.ws_url, account.stream_url)


def _keys(venue: str, account: AccountSpec, mode: str, *, several: bool) -> tuple[str, str]:
    """Key and secret: the environment's, else the file's; on a local sandbox else its well-known ones."""
    found = credentials(venue, account.name, several_accounts=several, file=account.keys)
    if found is not None:
        return found.api_key.get_secret_value(), found.api_secret.get_secret_value()
    if mode == "sandbox":
        return SANDBOX_KEY, SANDBOX_SECRET
    prefix = key_prefix(venue, account.name, several_accounts=several)
    raise NoKeys(f"account {account.name} on {venue} has no keys", f"set {prefix}API_KEY and {prefix}API_SECRET")


def _check_limits(spec: PairSpec) -> None:
    """A live venue needs the limits that stop a loss. Raises ``UsageError``."""
    if spec.limits is None:
        raise UsageError(
            f"pairs.{spec.name}: max_position, max_fills_per_min and max_basis_bps are not set",
            "a live venue needs all three: see profiles/binance-spot.toml",
        )


def _levels_wanted(specs: Sequence[PairSpec]) -> int:
    """Levels a side that the ladders can use, own orders in the same market beside them."""
    mirrored = [
        max(layer.ask_levels, layer.bid_levels) * (2 if spec.shares_market else 1)
        for spec in specs
        for layer in spec.layers
        if layer.strategy is Strategy.MIRROR
    ]
    return max(MOST_LEVELS_SEEN, *mirrored, 0)


@asynccontextmanager
async def open_pairs(
    setup: Setup,
    choice: VenueChoice,
    report: Callable[[Report], None],
    note: Callable[[str], None],
    journal: Journal | None = None,
) -> AsyncIterator[tuple[Feed, list[Pair]]]:
    """The feed and the pairs on their open venues; leaving lets go of sockets and tasks, not of orders.

    Without a ``journal`` nothing can be placed through these pairs: they are to be looked at. ``note`` is given lines
    that the operator should read first. Raises ``UsageError`` or ``VenueError``.
    """
    async with AsyncExitStack() as stack:
        feed = make_feed(setup)
        stack.push_async_callback(feed.close)
        latch = FileHaltLatch(setup.state_dir)
        written = NoJournal() if journal is None else journal
        pairs: list[Pair] = []
        async for opened in choice(setup, feed, stack):
            presence = opened.presence(setup, opened.venue, latch, report, written, stack)
            desk = AccountDesk(opened.venue, setup.clock, report, written, presence, beside)
            desk.unread, desk.scribe.by = opened.unread, who()
            for spec in opened.pairs:
                instrument = coarser(await opened.venue.instrument(spec.symbol), spec)
                pairs.append(Pair(spec, instrument, desk, latch, report))
            for line in opened.notes:
                note(line)
        yield feed, pairs


@asynccontextmanager
async def open_engine(
    setup: Setup, choice: VenueChoice, report: Callable[[Report], None], note: Callable[[str], None]
) -> AsyncIterator[Engine]:
    """An engine that is ready to run: what was left taken up, an epoch taken. Its orders are the caller's to stop.

    Raises as ``open_pairs``, and ``StateUnreadable`` where the journal cannot be used, or no epoch can be had.
    """
    async with AsyncExitStack() as stack:
        journal = SqliteJournal(journal_path(setup.state_dir))
        stack.push_async_callback(journal.close)
        feed, pairs = await stack.enter_async_context(open_pairs(setup, choice, report, note, journal))
        made = Engine(pairs, feed, setup.clock)
        await made.prepare(partial(_take_epoch, setup))
        yield made


def _take_epoch(setup: Setup, desk: AccountDesk, seen: int) -> int:
    venue = desk.venue
    lasts = venue.name != MOCK  # a mock's number is its own for as long as this process lives
    return next_epoch(
        *(setup.state_dir, venue.name, venue.account),
        wall_ms=setup.clock.wall_ms(),
        seen=seen,
        user_id=venue.user_id if lasts else None,
    )


def coarser(instrument: Instrument, spec: PairSpec) -> Instrument:
    """The venue's instrument with the profile's rounding where that is coarser; the venue's wins otherwise."""
    tick, lot = _profile_steps(spec)
    return replace(
        instrument,
        tick_size=instrument.tick_size if tick is None else max(tick, instrument.tick_size),
        lot_size=instrument.lot_size if lot is None else max(lot, instrument.lot_size),
    )


def _by_account(specs: Sequence[PairSpec]) -> Mapping[tuple[str, str], tuple[PairSpec, ...]]:
    accounts: dict[tuple[str, str], tuple[PairSpec, ...]] = {}
    for spec in specs:
        key = (spec.venue, spec.account)
        accounts[key] = (*accounts.get(key, ()), spec)
    return accounts


async def _mock_venue(
    setup: Setup,
    feed: Feed,
    account: str,
    specs: Sequence[PairSpec],
    stack: AsyncExitStack,
    filters: Mapping[str, Instrument],
) -> Venue:
    """A mock venue with the market moving around it, funded for the ladders unless the profile says how."""
    from mmctl.venues.mock import MockOptions, MockVenue
    from mmctl.venues.mock_world import MockWorld

    mock = setup.profile.mock
    options = MockOptions(
        seed=mock.seed,
        latency_ms=mock.latency_ms,
        latency_jitter_ms=mock.latency_jitter_ms,
        reject_rate=mock.reject_rate,
        timeout_rate=mock.timeout_rate,
        landing_time_s=mock.landing_time_s,
        listing_lag_ms=mock.listing_lag_ms,
        maker_fee_bps=mock.maker_fee_bps,
        taker_fee_bps=mock.taker_fee_bps,
    )
    instruments = {spec.symbol: _mock_instrument(spec, mock.open_order_cap, filters.get(spec.symbol)) for spec in specs}
    # An account that ends with this process is nobody's from an earlier one, whatever its name.
    once = f"{os.getpid()}-{setup.clock.wall_ms()}"
    venue = MockVenue(setup.clock, instruments, mock.balances or {}, options, account=account, user_id=once)
    stack.push_async_callback(venue.close)
    await venue.open()
    world = MockWorld(venue, feed, setup.clock, specs, fund=mock.balances is None)
    await world.prime(PRIME_TIMEOUT_S)
    pump = asyncio.create_task(world.run())
    stack.push_async_callback(_end, pump)
    return venue


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _mock_instrument(spec: PairSpec, open_order_cap: int, real: Instrument | None) -> Instrument:
    """Tick and lot size as on the venue that is stood in for, else by the profile's decimals; no other minimum."""
    tick, lot = (real.tick_size, real.lot_size) if real is not None else _steps(spec)
    return Instrument(spec.symbol, spec.base, spec.quote, tick, lot, max_open_orders=open_order_cap)


def _steps(spec: PairSpec) -> tuple[Decimal, Decimal]:
    """Tick and lot size from the profile's decimals. Raises ``UsageError`` where it states none."""
    tick, lot = _profile_steps(spec)
    if tick is None or lot is None:
        missing = "price_decimals" if tick is None else "qty_decimals"
        raise UsageError(
            f"pairs.{spec.name}.{missing} is not set, and the venue's own filters cannot be read here",
            f"set {missing}, for example {2 if tick is None else 5}",
        )
    return tick, lot


def _market_steps(spec: PairSpec) -> tuple[Decimal, Decimal]:
    """Tick and lot size of a made-up market: the profile's, else what is usual."""
    tick, lot = _profile_steps(spec)
    return tick or Decimal("0.01"), lot or Decimal("0.00001")


def _profile_steps(spec: PairSpec) -> tuple[Decimal | None, Decimal | None]:
    return (
        None if spec.price_decimals is None else Decimal(1).scaleb(-spec.price_decimals),
        None if spec.qty_decimals is None else Decimal(1).scaleb(-spec.qty_decimals),
    )


def _stand_in_notes(venue: str, specs: Sequence[PairSpec], filters: Mapping[str, Instrument]) -> tuple[str, ...]:
    notes = []
    for spec in specs:
        real = filters.get(spec.symbol)
        tick, lot = (real.tick_size, real.lot_size) if real is not None else _steps(spec)
        source = "the venue's public filters" if real is not None else "the profile's decimals"
        notes.append(
            f"{spec.name}: the mock venue stands in for {venue}; "
            f"tick {plain(tick.normalize())} and lot {plain(lot.normalize())} are from {source}"
        )
    return tuple(notes)


def system_clock() -> Clock:
    """The clock of everything that is not a test."""
    from mmctl.clock import SystemClock

    return SystemClock()
