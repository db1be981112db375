"""What ``mmctl doctor`` says of the feed: whether it answers, how old its books are, and its writer's clock."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

from mmctl.bootstrap import Setup, make_feed
from mmctl.core.checks import About, Check
from mmctl.core.freshness import BookAge
from mmctl.core.instrument import plain
from mmctl.core.spec import PairSpec
from mmctl.errors import EXIT_NO_BOOK, FeedError, FeedUnreachable, NoBook, UsageError
from mmctl.ports import Clock, Feed
from mmctl.settings import masked_url

WATCH_S = 0.8
"""For how long a book is watched for changes: the moment of a change shows the writer's clock."""

LOOK_EVERY_S = 0.02
CHANGES_ENOUGH = 3
CLOSE_S = 0.3

WRITER_WARN_MS = 500
STAMP_MS = 100
"""Books in Redis are stamped in tenths of a second, rounded down."""


@dataclass(slots=True)
class _Watched:
    """One pair's book over a while; ``offsets_ms`` are its time stamp less our time at the moments it changed."""

    age: BookAge
    offsets_ms: list[int] = field(default_factory=list)


async def feed_checks(setup: Setup, deadline_s: float) -> list[Check]:
    """The feed, then each pair's book; ``deadline_s`` is of the running loop's clock."""
    about = About("feed")
    try:
        feed = make_feed(setup)
    except UsageError as error:
        return [about.fault(error), *_skipped(setup, "there is no feed")]
    try:
        seen = await asyncio.gather(*(_watch(feed, spec, setup.clock, deadline_s) for spec in setup.pairs))
    finally:
        # What a peer owes to a closing handshake is not waited for.
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await feed.close()
    unreachable = [one for one in seen if isinstance(one, FeedUnreachable)]
    if len(unreachable) == len(seen):
        return [about.fault(unreachable[0]), *_skipped(setup, "the feed cannot be reached")]
    checks = [about.ok(_where(setup))]
    for spec, one in zip(setup.pairs, seen, strict=True):
        checks += _book_checks(setup, spec, one)
    return checks


def _where(setup: Setup) -> str:
    if setup.feed == "mock":
        return "mock: a made-up market inside this process"
    if setup.feed == "redis":
        return f"Redis at {masked_url(setup.redis_url or '')} answers"
    return f"{setup.feed} answers, without Redis"


def _skipped(setup: Setup, why: str) -> list[Check]:
    return [About("book", pair=spec.name).skip(why) for spec in setup.pairs]


async def _watch(feed: Feed, spec: PairSpec, clock: Clock, deadline_s: float) -> _Watched | FeedError:
    """Read a pair's book until it has changed a few times, or a while has passed; or why it cannot be read."""
    watched = _Watched(BookAge(spec.frozen_after_s, clock.monotonic()))
    try:
        async with asyncio.timeout_at(deadline_s):
            await _read_on(watched, feed, spec, clock)
    except FeedError as error:
        if watched.age.book is None:
            return error
    except TimeoutError:
        if watched.age.book is None:
            return FeedUnreachable(f"{feed.source} did not answer in time", "is it overloaded, or the network slow?")
    return watched


async def _read_on(watched: _Watched, feed: Feed, spec: PairSpec, clock: Clock) -> None:
    last_ms: int | None = None
    ends_s: float | None = None
    while len(watched.offsets_ms) < CHANGES_ENOUGH:
        book = await feed.read(spec.follow)
        wall_ms, now_s = clock.wall_ms(), clock.monotonic()
        ends_s = now_s + WATCH_S if ends_s is None else ends_s
        watched.age.observe(book, wall_ms, now_s)
        if last_ms is not None and book.ts_ms > last_ms:
            watched.offsets_ms.append(book.ts_ms - wall_ms)
        last_ms = book.ts_ms
        if now_s >= ends_s:
            return
        await clock.sleep(LOOK_EVERY_S)


def _book_checks(setup: Setup, spec: PairSpec, seen: _Watched | FeedError) -> list[Check]:
    about = About("book", pair=spec.name)
    if isinstance(seen, FeedError):
        checks = [about.fault(seen)]
        if setup.feed == "redis" and isinstance(seen, NoBook):
            checks.append(About("writer_clock", pair=spec.name).skip("there is no book to tell it by"))
        return checks
    checks = [_book_check(about, setup, spec, seen.age)]
    if setup.feed == "redis":
        checks.append(_writer_check(spec, seen.offsets_ms))
    return checks


def _book_check(about: About, setup: Setup, spec: PairSpec, age: BookAge) -> Check:
    wall_ms, now_s = setup.clock.wall_ms(), setup.clock.monotonic()
    stales = [age.stale(layer.quote_timeout_s, wall_ms, now_s) for layer in spec.layers]
    stale = next((one for one in stales if one is not None), None)
    if stale is not None:
        return about.fail(stale.detail, "look at what writes the books", EXIT_NO_BOOK)
    book = age.book
    if book is None or book.best_bid is None or book.best_ask is None:
        return about.skip("both ladders are off")
    touch = f"bid {plain(book.best_bid)} ask {plain(book.best_ask)}"
    return about.ok(f"{book.key}: {touch}, {age.age_s(wall_ms, now_s):.1f} s old")


def _writer_check(spec: PairSpec, offsets_ms: list[int]) -> Check:
    """The largest offset is that of the book that was on its way for the shortest."""
    about = About("writer_clock", pair=spec.name)
    if not offsets_ms:
        return about.skip(f"no book came within {WATCH_S:g} s")
    offset_ms = max(offsets_ms)
    hint = "set the clocks of both machines (NTP)"
    if offset_ms > WRITER_WARN_MS:
        return about.warn(f"the writer's clock is {offset_ms / 1000:.1f} s ahead of this one", hint)
    if offset_ms < -WRITER_WARN_MS - STAMP_MS:
        said = f"the writer's clock is {-offset_ms / 1000:.1f} s behind this one, or its books come that late"
        return about.warn(said, hint)
    return about.ok(f"the writer's clock is {offset_ms / 1000:+.1f} s from this one, delay and all")
