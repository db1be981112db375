"""Quoting, show-book and diff on books out of a real Redis, in the original's layout, and Redis going away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis

from .harness import (
    QUICK,
    ROOT,
    Caller,
    Publisher,
    RedisServer,
    book_at,
    ended,
    environment,
    is_round,
    mmctl,
    put,
    quick_profile,
    read_until,
    started,
)

ORIGINAL = str(ROOT / "tests" / "test_mm_params_bn.json")


@pytest.fixture
def published(server: RedisServer) -> Iterator[RedisServer]:
    with Publisher(server.port):
        time.sleep(0.3)
        yield server


def test_the_originals_file_quotes_as_it_is(published: RedisServer) -> None:
    done = mmctl(
        *("dry-run", "--profile", ORIGINAL, "--feed", "redis", "--redis-url", published.url),
        *("--rounds", "2", "--output", "json"),
    )
    assert done.code == 0
    rounds = done.of("round")
    assert [one["layer"] for one in rounds] == ["near", "far", "near"]
    near = rounds[0]
    assert near["book"]["source"] == "redis"
    assert 61799 < Decimal(near["book"]["bid"]) < Decimal(near["book"]["ask"]) < 61802
    assert len(near["target"]) == 10
    for quote in near["target"]:
        assert Decimal(quote["price"]) % Decimal("0.01") == 0
        assert Decimal(quote["qty"]) % Decimal("0.00001") == 0
        assert 5 <= Decimal(quote["price"]) * Decimal(quote["qty"]) <= 2000
    assert len(rounds[1]["target"]) == 10
    assert done.events[-1]["faults"] == 0
    # What the margins come to is shown before anybody trusts them.
    first = {quote["side"]: quote for quote in reversed(near["target"])}
    (told,) = [line for line in done.err.splitlines() if "first near quotes" in line]
    for side in ("buy", "sell"):
        assert f"{side} {first[side]['price']} x {first[side]['qty']}" in told
    assert f"bid {near['book']['bid']}, ask {near['book']['ask']}" in told


def test_the_address_may_come_from_the_environment(published: RedisServer) -> None:
    env = environment(MMCTL_REDIS_URL=published.url, MMCTL_PROFILE=ORIGINAL)
    assert mmctl("dry-run", "--feed", "redis", "--rounds", "1", "--output", "json", env=env).code == 0


def test_show_book_and_diff_on_the_same_redis(published: RedisServer, call: Caller, tmp_path: Path) -> None:
    at = ("--profile", quick_profile(tmp_path), "--feed", "redis", "--redis-url", published.url, "--pair", "BTC-USDT")
    shown = call("show-book", *at, "--output", "json")
    (book,) = shown.events
    assert shown.code == 0
    assert (book["exchange"], book["symbol"], book["source"]) == ("binance_spot", "BTCUSDT", "redis")
    assert len(book["bids"]) == len(book["asks"]) == 20
    assert book["age_ms"] < 2000
    changed = call("diff", *at, "--output", "json")
    (plan,) = changed.events
    assert (changed.code, plan["changes"]) == (1, 20)
    text = call("show-book", *at)
    assert "BTC-USDT binance_spot BTCUSDT at " in text.out
    assert text.out.count("  bid ") == text.out.count("  ask ") == 20


def is_skip(reason: str, layer: str = "near") -> Any:
    return lambda one: one["event"] == "skip" and one["layer"] == layer and one["reason"] == reason


def test_redis_killed_and_started_again_while_quoting(tmp_path: Path) -> None:
    """Quoting stops with a reason, orders go at the quote timeout, and all goes on by itself."""
    server = RedisServer(tmp_path)
    path = quick_profile(tmp_path, text=QUICK)
    try:
        with (
            Publisher(server.port),
            started(
                *("dry-run", "--profile", path, "--feed", "redis", "--redis-url", server.url, "--output", "json")
            ) as process,
        ):
            read = read_until(process, is_round("far"))
            killed_ms = time.time() * 1000
            server.kill()
            read += read_until(process, is_skip("feed_unreachable"))
            gone = read_until(process, lambda one: one["event"] == "fault" and "far" in one["action"])
            read += gone
            server.start()
            started_ms = time.time() * 1000
            read += read_until(process, is_round("near"))
            again_ms = time.time() * 1000
            read += read_until(process, is_round("far"))
            process.terminate()
            done = ended(process, read)
    finally:
        server.kill()
    assert done.code == 0
    assert done.err == ""
    faults = done.of("fault")
    near, far = (next(one for one in faults if layer in one["action"]) for layer in ("near", "far"))
    assert "127.0.0.1" in near["detail"]
    # The timeouts are 0.6 and 1.0 s from the newest book, which may be 0.2 s old by then; the machine may be busy.
    assert 300 <= near["ts_ms"] - killed_ms <= 1200
    assert 700 <= far["ts_ms"] - killed_ms <= 1600
    assert again_ms - started_ms < 3000
    # No busy loop: while Redis was away each layer kept to its interval.
    skips = [one for one in done.of("skip") if one["layer"] == "near"]
    assert len(skips) <= (again_ms - killed_ms) / 100 + 3
    assert done.events[-1]["open_orders"] == []
    assert done.events[-1]["placed"] == done.events[-1]["cancelled"]


def test_a_writer_that_stops_makes_quoting_stop(server: RedisServer, quick: str) -> None:
    with started(
        *("dry-run", "--profile", quick, "--feed", "redis", "--redis-url", server.url, "--output", "json")
    ) as process:
        with Publisher(server.port):
            read = read_until(process, is_round("near"))
        read += read_until(process, is_skip("stale_book"))
        with Publisher(server.port):
            read += read_until(process, is_round("near"))
        process.terminate()
        done = ended(process, read)
    assert done.code == 0
    assert any("near" in one["action"] for one in done.of("fault"))


def test_a_clock_a_second_behind_the_writers_is_borne(
    server: RedisServer, books: redis.Redis, quick: str, call: Caller
) -> None:
    put(books, book_at(61800), ago_s=-0.7)
    done = call("show-book", "--profile", quick, "--feed", "redis", "--redis-url", server.url, "--output", "json")
    assert (done.code, done.events[0]["age_ms"]) == (0, pytest.approx(0, abs=50))
