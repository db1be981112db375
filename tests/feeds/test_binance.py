"""The direct feed against a server that plays Binance's streams and its depth request, and every fault of both."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import sys
import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from binance_script import (
    BTC,
    BTC_DIFF,
    BTC_TOP,
    ETH,
    PATIENCE_S,
    QUICK,
    ScriptedBinance,
    depth,
    diff,
    playing,
    until,
    urls_of,
)

from mmctl.clock import SystemClock
from mmctl.core.book import Book, BookKey
from mmctl.errors import FeedUnreachable, NoBook, UsageError
from mmctl.feeds.binance import BinanceFeed
from mmctl.feeds.binance_rest import DepthRequests
from mmctl.ports import Feed
from mmctl.wire.binance_urls import LIVE, BinanceUrls

D = Decimal


async def followed_up(script: ScriptedBinance, feed: BinanceFeed, last_id: int = 1) -> Book:
    """The first book, by the socket."""
    script.greeting = [(BTC_TOP, depth(last_id))]
    return await feed.read(BTC)


async def read_until(feed: BinanceFeed, bid: str, key: BookKey = BTC) -> Book:
    """Read until the best bid is ``bid``; books with another and ``FeedError`` go by."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                book = await feed.read(key)
            except (NoBook, FeedUnreachable):
                book = None
            if book is not None and book.best_bid == D(bid):
                return book
            await asyncio.sleep(0.01)


def age_ms(book: Book) -> int:
    return SystemClock().wall_ms() - book.ts_ms


# One socket for all


async def test_the_first_read_connects_and_waits_for_the_first_book() -> None:
    async with playing(BTC, ETH) as (script, feed):
        port: Feed = feed
        assert script.opened == 0
        script.greeting = [(BTC_TOP, depth(1)), ("ethusdt@depth20@100ms", depth(2, bids=[("9.50", "1")]))]
        assert (await port.read(BTC)).best_bid == D("99.5")
        eth = await feed.read(ETH)
        assert (eth.best_bid, eth.key, eth.source) == (D("9.5"), ETH, "binance")
        assert script.opened == 1
        assert script.streams == [BTC_TOP, "ethusdt@depth20@100ms"]
        assert script.asked == []


async def test_a_book_in_memory_is_answered_at_once() -> None:
    async with playing() as (script, feed):
        await followed_up(script, feed)
        await script.say(BTC_TOP, depth(2, bids=[("99.7", "1")]))
        await read_until(feed, "99.7")
        began_s = time.perf_counter()
        for _ in range(20):
            await feed.read(BTC)
        assert time.perf_counter() - began_s < 10 * QUICK.poll_wait_s


async def test_many_symbols_share_few_sockets() -> None:
    keys = [BookKey("binance_spot", f"A{number}USDT") for number in range(150)]
    async with playing(*keys) as (script, feed):
        script.greeting = [("a149usdt@depth20@100ms", depth(1))]
        await feed.read(keys[149])
        assert script.opened == 2


async def test_one_symbol_in_two_spellings_is_one_market() -> None:
    lower = BookKey("binance_spot", "btcusdt")
    async with playing(BTC, lower) as (script, feed):
        await followed_up(script, feed)
        assert (await feed.read(lower)).key == lower
        assert script.streams == [BTC_TOP]


async def test_trades_are_followed_where_they_are_wanted() -> None:
    async with playing(trades=True) as (script, feed):
        await followed_up(script, feed)
        assert script.streams == [BTC_TOP, "btcusdt@trade"]
        for number in (7, 8):
            await script.say("btcusdt@trade", {"e": "trade", "t": number, "p": "1.5", "q": "2", "T": 5, "m": True})
        await until(lambda: len(feed.trades(BTC, 0)) == 2)
        assert [trade.trade_id for trade in feed.trades(BTC, 7)] == [8]
        assert feed.trades(BTC, 8) == []


# Silence, dead sockets, streams that stand still


async def test_a_quiet_market_is_asked_for_and_stays_fresh() -> None:
    async with playing() as (script, feed):
        script.depths["BTCUSDT"] = depth(9)
        await followed_up(script, feed)
        began_s = time.monotonic()
        for number in range(1, 11):
            await asyncio.sleep(0.1)
            age = age_ms(await feed.read(BTC))
            held_up_ms = 1000 * (time.monotonic() - began_s) - 100 * number
            assert age < 600 + held_up_ms
        assert script.opened == 1
        assert 1 <= len(script.asked) <= (time.monotonic() - began_s) / QUICK.poll_every_s + 1


async def test_silence_alone_keeps_no_book_fresh() -> None:
    async with playing(timing=replace(QUICK, unreachable_after_s=3.0)) as (script, feed):
        script.rest_reply = lambda: web.Response(status=500)
        await followed_up(script, feed)
        began_s = time.monotonic()
        await asyncio.sleep(0.7)
        assert script.opened == 1
        age = age_ms(await feed.read(BTC))
        assert 300 <= age < 1000 * (time.monotonic() - began_s)
        await asyncio.sleep(3.0)
        with pytest.raises(FeedUnreachable, match=r"its stream at 127\.0\.0\.1:\d+ is silent; .*HTTP status 500"):
            await feed.read(BTC)


async def test_a_stream_that_stands_still_is_found_and_left() -> None:
    async with playing() as (script, feed):
        await followed_up(script, feed)
        script.depths["BTCUSDT"] = depth(50, bids=[("98.25", "1")])
        script.greeting = []
        await read_until(feed, "98.25")
        await until(lambda: script.opened >= 2)
        assert (await feed.read(BTC)).best_bid == D("98.25")


async def test_a_dead_socket_is_left_and_meanwhile_the_book_ages() -> None:
    async with playing() as (script, feed):
        await followed_up(script, feed)
        script.answers_pings = False
        script.rest_reply = lambda: web.Response(status=500)
        began_ms = SystemClock().wall_ms()
        await asyncio.sleep(0.3)
        assert (await feed.read(BTC)).ts_ms <= began_ms + 100
        await until(lambda: script.opened >= 2)


async def test_a_socket_that_lives_and_says_nothing_is_left() -> None:
    timing = replace(QUICK, upkeep=replace(QUICK.upkeep, silent_after_s=0.4))
    async with playing(timing=timing) as (script, feed):
        await followed_up(script, feed)
        await until(lambda: script.opened >= 3)


async def test_pings_are_answered_with_their_payload() -> None:
    async with playing() as (script, feed):
        await followed_up(script, feed)
        await script.sockets[0].ping(b"1770123456789")
        await until(lambda: script.pongs == [b"1770123456789"])


async def test_a_loop_that_stood_still_does_not_make_old_events_young() -> None:
    async with playing() as (script, feed):
        script.depths["BTCUSDT"] = depth(1)
        await followed_up(script, feed)
        await until(lambda: bool(feed._sockets[0].proof_s))
        ages = []
        taken = feed._markets["BTCUSDT"].followed.event

        def note(raw: object, now_s: float, wall_ms: int, proof_s: float) -> None:
            taken(raw, now_s, wall_ms, proof_s)  # type: ignore[arg-type]
            ages.append(wall_ms - feed._markets["BTCUSDT"].followed._stamp_ms)

        feed._markets["BTCUSDT"].followed.event = note  # type: ignore[method-assign]
        await script.say(BTC_TOP, depth(2))  # it lies in the socket's buffer while this loop is busy
        time.sleep(1.0)  # noqa: ASYNC251 - it is what is tested
        await until(lambda: bool(ages))
        assert ages[0] >= 500


# Sockets that end


async def test_it_connects_again_after_a_cut() -> None:
    async with playing() as (script, feed):
        await followed_up(script, feed)
        script.greeting = [(BTC_TOP, depth(2, bids=[("97", "1")]))]
        script.cut()
        await read_until(feed, "97")
        assert script.opened == 2


async def test_it_connects_again_when_the_server_says_that_it_goes() -> None:
    async with playing() as (script, feed):
        await followed_up(script, feed)
        await script.say("!serverShutdown", {"e": "serverShutdown", "E": 1770123456789})
        await until(lambda: script.opened == 2)


async def test_it_connects_again_when_the_server_closes() -> None:
    async with playing() as (script, feed):
        await followed_up(script, feed)
        await script.sockets[0].close(code=1008, message=b"24 hours")
        await until(lambda: script.opened == 2)


async def test_tries_are_spaced() -> None:
    timing = replace(QUICK, upkeep=replace(QUICK.upkeep, retry_least_s=0.1, retry_most_s=0.4))
    async with playing(timing=timing) as (script, feed):
        script.depths["BTCUSDT"] = depth(1)
        script.greeting = [("!serverShutdown", {})]
        await feed.read(BTC)
        began_s = time.monotonic()
        await asyncio.sleep(1.0)
        await until(lambda: script.opened >= 2)
        assert script.opened <= 10 * (time.monotonic() - began_s)


# The fall-back


async def test_requests_stand_in_for_the_socket_and_it_comes_back() -> None:
    async with playing() as (script, feed):
        script.takes_sockets = False
        script.depths["BTCUSDT"] = depth(5, bids=[("91", "1")])
        book = await feed.read(BTC)
        assert book.best_bid == D(91)
        script.depths["BTCUSDT"] = depth(6, bids=[("92", "1")])
        assert age_ms(await read_until(feed, "92")) < 5000
        script.greeting = [(BTC_TOP, depth(7, bids=[("93", "1")]))]
        script.takes_sockets = True
        await read_until(feed, "93")
        assert script.opened >= 1


async def test_requests_are_made_only_when_somebody_reads_and_not_too_often() -> None:
    async with playing() as (script, feed):
        script.takes_sockets = False
        script.depths["BTCUSDT"] = depth(5)
        await feed.read(BTC)
        asked = len(script.asked)
        await asyncio.sleep(0.5)
        assert len(script.asked) == asked
        began_s = time.monotonic()
        while time.monotonic() - began_s < 0.5:
            await asyncio.gather(*(feed.read(BTC) for _ in range(5)))
            await asyncio.sleep(0.005)
        assert len(script.asked) - asked <= (time.monotonic() - began_s) / QUICK.poll_every_s + 1


async def test_a_slow_request_holds_no_read_up_for_long() -> None:
    async with playing(timing=replace(QUICK, unreachable_after_s=30.0)) as (script, feed):
        await followed_up(script, feed)
        script.rest_delay_s = 5.0
        await asyncio.sleep(0.7)
        began_s = time.perf_counter()
        await feed.read(BTC)
        assert time.perf_counter() - began_s < 4.0


async def test_a_read_that_is_given_up_leaves_the_request_at_work() -> None:
    async with playing() as (script, feed):
        script.takes_sockets = False
        script.rest_delay_s = 0.3
        script.depths["BTCUSDT"] = depth(5)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await feed.read(BTC)
        assert (await feed.read(BTC)).best_bid == D("99.5")
        assert len(script.asked) == 1


async def test_too_many_requests_are_told_and_obeyed() -> None:
    async with playing() as (script, feed):
        script.takes_sockets = False
        text = '{"code":-1003,"msg":"Too much request weight used."}'
        script.rest_reply = lambda: web.Response(status=429, headers={"Retry-After": "30"}, text=text)
        with pytest.raises(FeedUnreachable, match=r"wants no requests for [23][0-9] s"):
            await feed.read(BTC)
        script.rest_reply = None
        await asyncio.sleep(0.5)
        with pytest.raises(FeedUnreachable, match="wants no requests"):
            await feed.read(BTC)
        assert len(script.asked) == 1


@pytest.mark.parametrize("used", ["4800", "6001"])
async def test_the_weight_that_others_use_counts(used: str) -> None:
    async with playing() as (script, feed):
        script.takes_sockets = False
        reply = depth(5)
        script.rest_reply = lambda: web.json_response(reply, headers={"X-MBX-USED-WEIGHT-1M": used})
        await feed.read(BTC)
        await asyncio.sleep(0.5)
        await feed.read(BTC)
        assert len(script.asked) == 1


async def test_the_own_weight_is_bounded() -> None:
    class Still:
        now_s = 0.0

        def monotonic(self) -> float:
            return self.now_s

        def wall_ms(self) -> int:
            return 0

        async def sleep(self, seconds: float) -> None:
            raise AssertionError

    clock = Still()
    requests = DepthRequests(clock, "https://api.binance.com", 1.0)
    assert sum(requests.may_ask(100) for _ in range(1000)) == 60
    clock.now_s = 60.0
    asked = 0
    for _ in range(600):
        clock.now_s += 0.1
        asked += requests.may_ask(100)
    assert asked * 5 <= 1200 + 300


# More than 20 levels


async def test_a_wide_book_is_kept_from_changes() -> None:
    async with playing(levels=50) as (script, feed):
        script.depths["BTCUSDT"] = depth(10)
        script.greeting = [(BTC_DIFF, diff(9, 11, bids=[("99.6", "1")]))]
        assert (await read_until(feed, "99.6")).asks
        assert script.streams == [BTC_DIFF]
        assert script.asked[0] == ("BTCUSDT", 500)
        await script.say(BTC_DIFF, diff(12, 12, bids=[("99.6", "0"), ("99.55", "3")]))
        await read_until(feed, "99.55")
        assert len(script.asked) == 1


async def test_after_a_gap_there_is_a_new_snapshot() -> None:
    async with playing(levels=50) as (script, feed):
        script.depths["BTCUSDT"] = depth(10)
        script.greeting = [(BTC_DIFF, diff(9, 11))]
        await read_until(feed, "99.5")
        script.depths["BTCUSDT"] = depth(20, bids=[("95", "1")])
        await script.say(BTC_DIFF, diff(15, 20))
        await read_until(feed, "95")
        await script.say(BTC_DIFF, diff(21, 21, bids=[("96", "1")]))
        await read_until(feed, "96")
        assert len(script.asked) == 2


async def test_a_snapshot_that_is_older_than_the_stream_is_asked_for_again() -> None:
    async with playing(levels=50) as (script, feed):
        script.depths["BTCUSDT"] = depth(10)
        script.greeting = [(BTC_DIFF, diff(15, 16))]
        await read_until(feed, "99.5")
        script.depths["BTCUSDT"] = depth(16, bids=[("94", "1")])

        async def go_on() -> None:
            for number in range(17, 100):
                await script.say(BTC_DIFF, diff(number, number))
                await asyncio.sleep(0.05)

        going = asyncio.create_task(go_on())
        await read_until(feed, "94")
        await script.say(BTC_DIFF, diff(1, 2))
        going.cancel()
        await asyncio.gather(going, return_exceptions=True)


async def test_a_snapshot_from_before_the_socket_is_not_carried_on() -> None:
    async with playing(levels=50) as (script, feed):
        script.takes_sockets = False
        script.rest_delay_s = 0.4
        script.depths["BTCUSDT"] = depth(10)
        reading = asyncio.create_task(feed.read(BTC))
        await until(lambda: bool(script.asked))
        script.takes_sockets = True
        await until(lambda: script.opened == 1)
        assert (await reading).best_bid == D("99.5")
        assert feed._markets["BTCUSDT"].followed.wants_snapshot
        script.rest_delay_s = 0.0
        await script.say(BTC_DIFF, diff(10, 11))
        await until(lambda: script.asked == [("BTCUSDT", 100), ("BTCUSDT", 500)])


# What is wrong


async def test_an_unknown_symbol_is_named_and_not_asked_for_again_and_again() -> None:
    async with playing() as (script, feed):
        for _ in range(5):
            with pytest.raises(NoBook, match=r"no symbol BTCUSDT: -1121 Invalid symbol.*follow_symbol"):
                await feed.read(BTC)
            await asyncio.sleep(0.1)
        assert len(script.asked) == 1


async def test_a_key_that_is_not_followed_is_named() -> None:
    async with playing() as (_, feed):
        with pytest.raises(NoBook, match=r"does not follow binance_spot ethusdt .*BTCUSDT"):
            await feed.read(ETH)
        with pytest.raises(UsageError, match="okx_spot"):
            await feed.read(BookKey("okx_spot", "BTCUSDT"))


async def test_neither_way_answers() -> None:
    server = TestServer(ScriptedBinance().app())
    await server.start_server()
    urls = urls_of(server)
    await server.close()
    feed = BinanceFeed(SystemClock(), urls, [BTC], timing=QUICK)
    began_s = time.perf_counter()
    with pytest.raises(FeedUnreachable) as told:
        await feed.read(BTC)
    assert time.perf_counter() - began_s < 10.0
    await feed.close()
    line = str(told.value)
    assert "streams at 127.0.0.1" in line
    assert "REST interface at 127.0.0.1" in line
    assert "MMCTL_BINANCE_STREAM_URL" in line
    assert "\n" not in line


async def test_a_silent_server_is_waited_for_a_bounded_time() -> None:
    async with playing(timeout_s=0.5) as (script, feed):
        script.rest_delay_s = 5
        began_s = time.perf_counter()
        with pytest.raises(FeedUnreachable, match="is silent"):
            await feed.read(BTC)
        assert time.perf_counter() - began_s < 4.0


@pytest.mark.parametrize("text", ["<html>", '{"stream":', "[1]", '{"result":null,"id":1}', '{"stream":"x@y","data":1}'])
async def test_garbage_is_borne_a_few_times(text: str) -> None:
    async with playing() as (script, feed):
        await followed_up(script, feed)
        for _ in range(3):
            await script.say_raw(text)
        await script.say(BTC_TOP, depth(2, bids=[("99.9", "1")]))
        await read_until(feed, "99.9")
        assert script.opened == 1
        for _ in range(5):
            await script.say_raw(text)
        await until(lambda: script.opened == 2)


async def test_an_unreadable_book_is_asked_for_or_told() -> None:
    async with playing() as (script, feed):
        await followed_up(script, feed)
        await script.say(BTC_TOP, {"lastUpdateId": 2, "bids": [["x", "1"]], "asks": []})
        await until(lambda: feed._markets["BTCUSDT"].followed._fault != "")
        script.rest_reply = lambda: web.Response(status=500)
        with pytest.raises(NoBook, match="btcusdt@depth20@100ms has"):
            await feed.read(BTC)
        script.rest_reply = lambda: web.json_response(depth(3, bids=[("98", "1")]))
        await read_until(feed, "98")


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (web.Response(text="<html>"), "is not JSON"),
        (web.Response(text="{}"), "has another shape"),
        (web.Response(status=302, headers={"Location": "/elsewhere"}), "HTTP status 302"),
        (web.Response(status=403, text="<html>"), "HTTP status 403"),
        (web.Response(text='{"lastUpdateId":1,"bids":[],"asks":[],"more":"' + "x" * 2_100_000 + '"}'), "is not JSON"),
    ],
)
async def test_what_is_no_answer(reply: web.Response, told: str) -> None:
    async with playing() as (script, feed):
        script.takes_sockets = False
        script.rest_reply = lambda: reply
        with pytest.raises(FeedUnreachable, match=told):
            await feed.read(BTC)


@pytest.mark.parametrize(
    "urls",
    [
        BinanceUrls("http://api.binance.com", LIVE.ws_api, LIVE.stream),
        BinanceUrls(LIVE.rest, LIVE.ws_api, "ws://192.168.0.1:9443"),
        BinanceUrls(LIVE.rest, LIVE.ws_api, "https://stream.binance.com"),
    ],
)
async def test_only_this_machine_is_spoken_to_in_the_clear(urls: BinanceUrls) -> None:
    with pytest.raises(UsageError):
        BinanceFeed(SystemClock(), urls, [BTC])


@pytest.fixture
def self_signed(tmp_path: Path) -> ssl.SSLContext:
    """A server's TLS with a certificate that nobody vouches for."""
    if shutil.which("openssl") is None:
        pytest.skip("a certificate is made with openssl")
    made = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -keyout key.pem -out cert.pem"
    subprocess.run(made.split(), cwd=tmp_path, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    return context


async def test_a_certificate_that_nobody_vouches_for_is_refused(self_signed: ssl.SSLContext) -> None:
    script = ScriptedBinance()
    script.depths["BTCUSDT"] = depth(1)
    server = TestServer(script.app())
    await server.start_server(ssl=self_signed)
    place = f"127.0.0.1:{server.port}"
    feed = BinanceFeed(SystemClock(), BinanceUrls(f"https://{place}", "", f"wss://{place}"), [BTC], timing=QUICK)
    with pytest.raises(FeedUnreachable, match=r"streams at .* has a certificate .* interface at .* has a certificate"):
        await feed.read(BTC)
    await feed.close()
    await server.close()
    assert (script.opened, script.asked) == (0, [])


@pytest.mark.parametrize("levels", [0, 1001])
def test_levels_have_bounds(levels: int) -> None:
    with pytest.raises(UsageError, match=f"{levels} levels"):
        BinanceFeed(SystemClock(), LIVE, [BTC], levels=levels)


# Closing


async def test_a_feed_that_never_read_has_nothing_to_close() -> None:
    await BinanceFeed(SystemClock(), LIVE, [BTC]).close()


async def test_a_feed_whose_socket_ends_meanwhile_closes() -> None:
    """Of an end and a cancel at once, a group of tasks raises the end alone."""
    for turns in range(40):
        async with playing() as (script, feed):
            await followed_up(script, feed)
            await script.say("!serverShutdown", {"e": "serverShutdown", "E": 1770123456789})
            for _ in range(turns):
                await asyncio.sleep(0)
            async with asyncio.timeout(PATIENCE_S / 3):
                await feed.close()


@pytest.mark.parametrize("alive", [True, False])
async def test_nothing_is_left_after_closing(alive: bool) -> None:
    async with playing() as (script, feed):
        before = asyncio.all_tasks()
        await followed_up(script, feed)
        script.answers_pings = alive
        script.rest_delay_s = 5.0
        await asyncio.sleep(0.4)
        reading = asyncio.create_task(feed.read(BTC))
        await asyncio.sleep(0.05)
        began_s = time.perf_counter()
        await feed.close()
        assert time.perf_counter() - began_s < 4.0
        await asyncio.gather(reading, return_exceptions=True)
        await until(lambda: not script.sockets)
        own = [task for task in asyncio.all_tasks() - before if "mmctl" in repr(task)]
        assert own == []
        with pytest.raises(FeedUnreachable, match="closed"):
            await feed.read(BTC)


def test_aiohttp_is_imported_when_a_feed_is_made() -> None:
    code = "import sys, mmctl.feeds.binance; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
