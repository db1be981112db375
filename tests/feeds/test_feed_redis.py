"""Books read from a real redis-server: which one is the newest, what it costs, and what is said where there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from feed_samples import KEY, NOW_MS, NOW_TICK, HandClock, Writer, book_at, until

from mmctl.core.book import BookKey
from mmctl.errors import NoBook
from mmctl.feeds.redis import RedisFeed


async def bid(feed: RedisFeed, key: BookKey = KEY) -> Decimal | None:
    return (await feed.read(key)).best_bid


async def test_a_fresh_book_costs_one_command(feed: RedisFeed, writer: Writer) -> None:
    writer.put(NOW_TICK, book_at("100"))
    await feed.read(KEY)
    writer.forget_commands()
    book = await feed.read(KEY)
    assert writer.commands() == {"mget": 1}
    assert (book.ts_ms, book.best_bid, book.source) == (NOW_TICK * 100, Decimal(100), "redis")


@pytest.mark.parametrize("offset", [10, 9, 1, 0, -1, -5, -10, -20])
async def test_the_first_read_of_a_writer_ahead_or_behind_costs_one_command(
    offset: int, feed: RedisFeed, writer: Writer
) -> None:
    writer.put(NOW_TICK + offset, book_at("100"))
    writer.forget_commands()
    assert (await feed.read(KEY)).ts_ms == (NOW_TICK + offset) * 100
    assert writer.commands()["mget"] == 1


@pytest.mark.parametrize("offset", [10, 0, -5, -18])
async def test_a_writer_at_a_steady_offset_costs_one_command_a_read(
    offset: int, feed: RedisFeed, writer: Writer, clock: HandClock
) -> None:
    writer.forget_commands()
    for n in range(30):
        writer.put(NOW_TICK + n + offset, book_at(str(100 + n)))
        clock.now_ms = NOW_MS + 100 * n
        assert await bid(feed) == 100 + n
    assert writer.commands()["mget"] == 30


async def test_a_writer_that_was_late_and_catches_up_is_never_read_late(
    feed: RedisFeed, writer: Writer, clock: HandClock
) -> None:
    for n, offset in enumerate([-18, 10, -3, 0, 7, -20, 10]):
        clock.now_ms = NOW_MS + 5_000 * n
        tick = NOW_TICK + 50 * n
        writer.put(tick - 25, book_at("50"))
        writer.put(tick + offset, book_at(str(100 + n)))
        assert await bid(feed) == 100 + n
        writer.client.flushall()


@pytest.mark.parametrize("age_ticks", [21, 100, 590, 599])
async def test_a_stale_book_costs_three_commands_and_keeps_its_own_time(
    age_ticks: int, feed: RedisFeed, writer: Writer
) -> None:
    writer.put(NOW_TICK - age_ticks, book_at("100"))
    writer.forget_commands()
    assert (await feed.read(KEY)).ts_ms == NOW_MS - age_ticks * 100
    assert writer.commands()["mget"] <= 3


async def test_a_book_of_more_than_a_minute_is_none(feed: RedisFeed, writer: Writer) -> None:
    writer.put(NOW_TICK - 750, book_at("100"))
    writer.forget_commands()
    with pytest.raises(NoBook, match="is 75 s old"):
        await feed.read(KEY)
    assert writer.commands()["mget"] <= 3


async def test_a_missing_symbol_costs_three_commands_and_is_named(
    feed: RedisFeed, writer: Writer, real_redis: Any
) -> None:
    writer.forget_commands()
    with pytest.raises(NoBook) as caught:
        await feed.read(KEY)
    assert writer.commands()["mget"] <= 3
    assert caught.value.message == (
        f"Redis at 127.0.0.1:{real_redis.port} has no book of binance_spot BTCUSDT:"
        " no key binance_spot_depthbtcusdt0 to 599"
    )
    assert "is the market-data process running" in caught.value.hint


async def test_the_newest_of_a_full_ring_is_read(feed: RedisFeed, writer: Writer) -> None:
    for tick in range(NOW_TICK - 599, NOW_TICK + 1):
        writer.put(tick, book_at(str(1000 + tick - NOW_TICK)))
    assert await bid(feed) == 1000
    assert await bid(feed) == 1000


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ({"asks": [], "bids": []}, "empty"),
        ({"asks": [[1, 1]], "bids": []}, "one-sided"),
        ({"asks": [[1, 1]], "bids": [[2, 1]]}, "crossed"),
    ],
)
async def test_an_unusable_newest_book_is_never_replaced_by_an_older_one(
    value: object, fault: str, feed: RedisFeed, writer: Writer
) -> None:
    writer.put(NOW_TICK - 1, book_at("100"))
    writer.put(NOW_TICK, value)
    book = await feed.read(KEY)
    assert book.ts_ms == NOW_MS
    assert book.fault is not None
    assert fault in book.fault


@pytest.mark.parametrize("bad", [1, 2, 8, 40, 90])
async def test_values_that_do_not_parse_are_passed_over(bad: int, feed: RedisFeed, writer: Writer) -> None:
    writer.put(NOW_TICK - bad, book_at("100"))
    for tick in range(NOW_TICK - bad + 1, NOW_TICK + 1):
        writer.put(tick, "not json" if tick % 2 else '{"asks": 1}')
    writer.forget_commands()
    assert await bid(feed) == 100
    assert writer.commands()["mget"] <= 3


async def test_a_missing_value_is_passed_over(feed: RedisFeed, writer: Writer) -> None:
    writer.put(NOW_TICK - 1, book_at("100"))
    writer.client.set(f"binance_spot_depthbtcusdt{NOW_TICK % 600}", NOW_TICK)
    assert await bid(feed) == 100


@pytest.mark.parametrize(
    ("value", "reason"), [("not json", "is not JSON"), ('{"asks": [[-1, 1]]}', "is not a book: -1 is not a price")]
)
async def test_where_nothing_parses_the_newest_value_is_named(
    value: str, reason: str, feed: RedisFeed, writer: Writer
) -> None:
    writer.put(NOW_TICK - 3, "[]")
    writer.put(NOW_TICK, value)
    with pytest.raises(NoBook, match=f"the value of binance_spot_depthbtcusdt{NOW_TICK % 600} {reason}"):
        await feed.read(KEY)


async def test_a_tick_that_is_not_of_its_slot_is_no_tick(feed: RedisFeed, writer: Writer) -> None:
    writer.put(NOW_TICK - 2, book_at("100"))
    writer.put(NOW_TICK, book_at("999"))
    writer.client.set(f"binance_spot_depthbtcusdt{NOW_TICK % 600}", NOW_TICK - 1)
    assert await bid(feed) == 100


async def test_keys_of_another_type_are_no_books(feed: RedisFeed, writer: Writer) -> None:
    writer.client.lpush(f"binance_spot_depthbtcusdt{NOW_TICK % 600}", "x")
    with pytest.raises(NoBook):
        await feed.read(KEY)


@pytest.mark.parametrize("ahead_ticks", [11, 20, 50, 300, 590, 36_000])
async def test_a_book_from_the_future_names_the_offset(ahead_ticks: int, feed: RedisFeed, writer: Writer) -> None:
    writer.put(NOW_TICK + ahead_ticks, book_at("100"))
    writer.forget_commands()
    with pytest.raises(NoBook, match=rf"is {ahead_ticks / 10:.1f} s ahead of this clock .set the clocks"):
        await feed.read(KEY)
    assert writer.commands()["mget"] <= 3


@pytest.mark.parametrize("ahead_ticks", [15, 50, 300])
async def test_a_running_writer_with_a_clock_ahead_is_not_taken_for_a_fresh_one(
    ahead_ticks: int, feed: RedisFeed, writer: Writer
) -> None:
    for tick in range(NOW_TICK - 100, NOW_TICK + ahead_ticks + 1):
        writer.put(tick, book_at("100"))
    with pytest.raises(NoBook, match=f"is {ahead_ticks / 10:.1f} s ahead"):
        await feed.read(KEY)


async def test_left_overs_of_a_mended_clock_do_not_stop_a_fresh_book(feed: RedisFeed, writer: Writer) -> None:
    for tick in range(NOW_TICK + 12, NOW_TICK + 50):
        writer.put(tick, book_at("999"))
    writer.put(NOW_TICK - 1, book_at("100"))
    assert await bid(feed) == 100


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (BookKey("okx_spot", "BTC-USDT"), "okx_spot_depthBTC-USDT"),
        (BookKey("okx_future", "BTC-USDT-SWAP"), "okx_future_depthBTC-USDT-SWAP"),
        (BookKey("binance_future", "BTCUSDT"), "binance_future_depthbtcusdt"),
    ],
)
async def test_other_exchanges_have_keys_and_shapes_of_their_own(
    key: BookKey, name: str, feed: RedisFeed, writer: Writer
) -> None:
    slot = NOW_TICK % 600
    writer.client.set(f"{name}{slot}_value", '{"asks": {"101.5": "2"}, "bids": {"100.5": 1, "99": "3.5"}}')
    writer.client.set(f"{name}{slot}", NOW_TICK)
    book = await feed.read(key)
    assert (book.best_bid, book.best_ask, len(book.bids)) == (Decimal("100.5"), Decimal("101.5"), 2)


async def test_many_pairs_are_read_at_once_over_a_line_each(feed: RedisFeed, writer: Writer) -> None:
    keys = [BookKey("binance_spot", f"C{n}USDT") for n in range(40)]
    for n, key in enumerate(keys):
        writer.put(NOW_TICK, book_at(str(100 + n)), key)
    before = writer.connections()
    for _ in range(3):
        books = await asyncio.gather(*(feed.read(key) for key in keys for _ in range(3)))
        assert [book.best_bid for book in books] == [100 + n // 3 for n in range(120)]
    assert writer.connections() - before == 40
    await feed.close()
    await until(lambda: writer.connections() == before)


async def test_a_feed_has_no_trades_and_can_be_used_after_close(
    writer: Writer, real_redis: Any, make_feed: Callable[..., RedisFeed]
) -> None:
    feed = make_feed(f"redis://127.0.0.1:{real_redis.port}/0")
    writer.put(NOW_TICK, book_at("100"))
    assert await bid(feed) == 100
    assert feed.trades(KEY, 0) == ()
    await feed.close()
    await feed.close()
    assert await bid(feed) == 100
