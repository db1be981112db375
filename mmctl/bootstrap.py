"""The only wiring point: profile and options -> feed, venues, clock and engine.

What a verb is (live, dry run) is which objects it asks for here; nothing behind this module knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from pathlib import Path

from mmctl.core.instrument import Instrument, plain
from mmctl.core.report import Report
from mmctl.core.spec import PairSpec
from mmctl.engine.desk import AccountDesk
from mmctl.engine.epoch import next_epoch
from mmctl.engine.halt import FileHaltLatch
from mmctl.engine.loop import Engine
from mmctl.engine.pair import Pair
from mmctl.errors import UsageError
from mmctl.markets import MOCK, has_adapter
from mmctl.ports import Clock, Feed, Venue
from mmctl.profile_spec import Profile

PRIME_TIMEOUT_S = 0.5
FEEDS = ("redis", "mock")
"""Feeds that can be had; ``binance`` is known, and comes with its venue."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What a verb works on: the chosen pairs of a profile, and where their books and state are."""

    profile: Profile
    pairs: tuple[PairSpec, ...]
    feed: str
    redis_url: str | None
    state_dir: Path
    clock: Clock


@dataclass(frozen=True, slots=True)
class Opened:
    """A venue ready for use, and the pairs on it as they are made there."""

    venue: Venue
    pairs: tuple[PairSpec, ...]
    notes: tuple[str, ...] = ()


VenueChoice = Callable[[Setup, Feed, AsyncExitStack], AsyncIterator[Opened]]
"""Which venues a verb works on: ``own_venues``, ``stand_ins`` or ``readable_venues``."""


def make_feed(setup: Setup) -> Feed:
    """The feed that the setup names. Raises ``UsageError`` for one that cannot be had."""
    if setup.feed == "mock":
        from mmctl.feeds.mock import MockFeed, MockMarket

        markets = {
            spec.follow: MockMarket(setup.profile.mock.start_prices[spec.follow], *_steps(spec)) for spec in setup.pairs
        }
        return MockFeed(setup.clock, markets, setup.profile.mock.seed)
    if setup.feed == "redis":
        if setup.redis_url is None:
            raise UsageError(
                "the redis feed has no address", "give --redis-url redis://HOST:PORT/0, or set MMCTL_REDIS_URL"
            )
        from mmctl.feeds.redis import RedisFeed

        return RedisFeed(setup.redis_url, setup.clock, timeout_s=setup.profile.redis.timeout_ms / 1000)
    raise UsageError(f"the feed {setup.feed!r} cannot be had yet", f"choose --feed {' or '.join(FEEDS)}")


async def stand_ins(setup: Setup, feed: Feed, stack: AsyncExitStack) -> AsyncIterator[Opened]:
    """A mock venue for each account, whatever its venue: nothing that could send an order is made."""
    for (venue, account), specs in _by_account(setup.pairs).items():
        made = tuple(replace(spec, venue=MOCK, shares_market=False) for spec in specs)
        yield Opened(await _mock_venue(setup, feed, account, made, stack), made, _stand_in_notes(venue, made))


async def own_venues(setup: Setup, feed: Feed, stack: AsyncExitStack) -> AsyncIterator[Opened]:
    """Each account's own venue. Raises ``UsageError`` for one that mmctl has no adapter for."""
    for (venue, account), specs in _by_account(setup.pairs).items():
        if venue == MOCK:
            yield Opened(await _mock_venue(setup, feed, account, specs, stack), specs)
        else:
            made = live_venue(venue, account)
            stack.push_async_callback(made.close)
            await made.open()
            yield Opened(made, specs)


async def readable_venues(setup: Setup, feed: Feed, stack: AsyncExitStack) -> AsyncIterator[Opened]:
    """Each account's own venue where mmctl can read it, else a stand-in: for verbs that only look."""
    for (venue, _), specs in _by_account(setup.pairs).items():
        choice = own_venues if has_adapter(venue) else stand_ins
        async for opened in choice(replace(setup, pairs=specs), feed, stack):
            yield opened


def live_venue(venue: str, account: str) -> Venue:
    """The adapter of a live venue, not yet open; for stops it needs no more than keys.

    Raises ``UsageError`` where mmctl knows ``venue`` but cannot trade on it yet.
    """
    raise UsageError(
        f"mmctl has no adapter for the venue {venue!r} (account {account}) yet",
        "`mmctl dry-run` shows what it would do there, on a mock venue",
    )


@asynccontextmanager
async def open_pairs(
    setup: Setup, choice: VenueChoice, report: Callable[[Report], None], note: Callable[[str], None]
) -> AsyncIterator[tuple[Feed, list[Pair]]]:
    """The feed and the pairs on their open venues; leaving lets go of sockets and tasks, not of orders.

    ``note`` is given lines that the operator should read first. Raises ``UsageError`` or ``VenueError``.
    """
    async with AsyncExitStack() as stack:
        feed = make_feed(setup)
        stack.push_async_callback(feed.close)
        latch = FileHaltLatch(setup.state_dir)
        pairs: list[Pair] = []
        async for opened in choice(setup, feed, stack):
            desk = AccountDesk(opened.venue, setup.clock, report)
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
    """An engine that is ready to run: own orders adopted, an epoch taken. Its orders are the caller's to stop.

    Raises as ``open_pairs``, and ``StateUnreadable`` where no epoch can be had.
    """
    async with open_pairs(setup, choice, report, note) as (feed, pairs):
        made = Engine(pairs, feed, setup.clock)
        await made.prepare(partial(_take_epoch, setup))
        yield made


def _take_epoch(setup: Setup, desk: AccountDesk, seen: int) -> int:
    venue = desk.venue
    return next_epoch(setup.state_dir, venue.name, venue.account, wall_ms=setup.clock.wall_ms(), seen=seen)


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
    setup: Setup, feed: Feed, account: str, specs: Sequence[PairSpec], stack: AsyncExitStack
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
    instruments = {spec.symbol: _mock_instrument(spec, mock.open_order_cap) for spec in specs}
    venue = MockVenue(setup.clock, instruments, mock.balances or {}, options, account=account)
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


def _mock_instrument(spec: PairSpec, open_order_cap: int) -> Instrument:
    tick, lot = _steps(spec)
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


def _profile_steps(spec: PairSpec) -> tuple[Decimal | None, Decimal | None]:
    return (
        None if spec.price_decimals is None else Decimal(1).scaleb(-spec.price_decimals),
        None if spec.qty_decimals is None else Decimal(1).scaleb(-spec.qty_decimals),
    )


def _stand_in_notes(venue: str, specs: Sequence[PairSpec]) -> tuple[str, ...]:
    if venue == MOCK:
        return ()
    return tuple(
        f"{spec.name}: the mock venue stands in for {venue}; "
        f"tick {plain(tick)} and lot {plain(lot)} are from the profile's decimals"
        for spec in specs
        for tick, lot in (_steps(spec),)
    )


def system_clock() -> Clock:
    """The clock of everything that is not a test."""
    from mmctl.clock import SystemClock

    return SystemClock()
