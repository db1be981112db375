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
    PATIENCE_S,
    PATIENT,
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
    waited_until,
)

ORIGINAL = str(ROOT / "tests" / "test_mm_params_bn.json")


@pytest.fixture
def published(server: RedisServer, books: redis.Redis) -> Iterator[RedisServer]:
    with Publisher(server.port):
        waited_until(lambda: books.dbsize() > 2)
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
    at = (
        "--profile",
        quick_profile(tmp_path, text=PATIENT),
        "--feed",
        "redis",
        "--redis-url",
        published.url,
        "--pair",
        "BTC-USDT",
    )
    shown = call("show-book", *at, "--output", "json")
    (book,) = shown.events
    assert shown.code == 0
    assert (book["exchange"], book["symbol"], book["source"]) == ("binance_spot", "BTCUSDT", "redis")
    assert len(book["bids"]) == len(book["asks"]) == 20
    assert book["age_ms"] < 10_000
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
    patient = QUICK.replace("quote_timeout_s = 0.6", "quote_timeout_s = 2.0")
    path = quick_profile(tmp_path, text=patient.replace("quote_timeout_s = 1.0", "quote_timeout_s = 3.0"))
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
    # The timeouts count from the newest book; how much later a busy machine gets to it nobody can say.
    newest_ms = max(one["ts_ms"] - one["book"]["age_ms"] for one in done.of("round") if one["ts_ms"] <= near["ts_ms"])
    assert near["ts_ms"] - newest_ms >= 1950
    assert far["ts_ms"] - newest_ms >= 2950
    assert max(near["ts_ms"], far["ts_ms"]) - killed_ms <= 1000 * PATIENCE_S / 2
    assert again_ms - started_ms < 1000 * PATIENCE_S / 2
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
    server: RedisServer, books: redis.Redis, quick: str, call: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_ms = time.time_ns() // 1_000_000
    monkeypatch.setattr("mmctl.clock.SystemClock.wall_ms", lambda _: now_ms)
    put(books, book_at(61800), ago_s=time.time() - now_ms / 1000 - 0.7)
    done = call("show-book", "--profile", quick, "--feed", "redis", "--redis-url", server.url, "--output", "json")
    assert (done.code, done.events[0]["age_ms"] < 500) == (0, True)
