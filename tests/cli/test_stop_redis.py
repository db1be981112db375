"""Stops and resumes where hosts share a Redis: beside it, without it, and while it hangs."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from pathlib import Path

import pytest
import redis

from mmctl.core.order import Layer
from mmctl.engine.records import EngineRecord, LayerRecord, PairRecord, encoded
from mmctl.ports import HaltScope
from mmctl.shared.redis import HALTS, RedisShared

from .harness import (
    PATIENCE_S,
    ROOT,
    Caller,
    RedisServer,
    environment,
    free_port,
    mmctl,
    started,
    waited_until,
)
from .test_stop_sandbox import Exchange, engine, exchange, is_quoted, shared_exchange
from .test_stop_verbs import Held, halts, held, live, stopped

__all__ = ["exchange", "held", "live", "shared_exchange"]


@pytest.fixture
def shared(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> RedisServer:
    """An empty Redis that the environment names."""
    monkeypatch.setenv("MMCTL_REDIS_URL", server.url)
    return server


QUICK_LAYERS = (LayerRecord(Layer.NEAR, 0.1, "ok", 3), LayerRecord(Layer.FAR, 0.5, "ok", 2))


def register(
    url: str,
    *,
    acknowledged: tuple[str, ...] = (),
    host: str = "another",
    layers: tuple[LayerRecord, ...] = QUICK_LAYERS,
) -> None:
    """An engine on another host."""
    record = EngineRecord(
        "binance", "main", None, 7, host, "boot", 42, "1", "live", 0.2, 0, 0, 0.0, 1,
        (PairRecord("BTC-USDT", "BTCUSDT", layers),), acknowledged,
    )  # fmt: skip

    async def put() -> None:
        place = RedisShared(url)
        await place.put("binance", "main", 7, encoded(record))
        await place.close()

    asyncio.run(put())


def test_the_halt_is_set_in_redis_too(
    call: Caller, held: Held, live: str, shared: RedisServer, books: redis.Redis
) -> None:
    done = call("cancel-near", "--profile", live, "--pair", "BTC-USDT", "--output", "json")
    one = stopped(done)
    assert (done.code, one["halt"], one["remaining"]) == (0, "set", [])
    (line,) = books.lrange(HALTS, 0, -1)
    (halt,) = halts()
    assert json.loads(line)["uid"] == halt.uid
    assert halt.scope == HaltScope("binance", "main", "BTCUSDT", Layer.NEAR)


def test_an_engine_on_another_host_is_reckoned_with(call: Caller, held: Held, live: str, shared: RedisServer) -> None:
    register(shared.url)
    done = call("cancel-all", "--profile", live, "--output", "json")
    one = stopped(done)
    name = "engine 7 (pid 42 on another)"
    assert (done.code, one["proof"]) == (0, "waited")
    assert one["engines"] == [{"name": name, "epoch": 7, "state": "not_reached"}]
    assert f"{name}: did not acknowledge the halt; the venue was watched instead" in done.err


def test_a_running_engine_on_another_host_acknowledges(exchange: Exchange, shared: RedisServer, tmp_path: Path) -> None:
    """Two state folders are two hosts: nothing but Redis is between them."""
    of_profile = ("--profile", str(ROOT / "profiles" / "sandbox.toml"), "--output", "json")
    there, here = (environment(MMCTL_STATE_DIR=str(tmp_path / name)) for name in ("there", "here"))
    with engine(tmp_path, there) as wait_for:
        wait_for(is_quoted("near"))
        # Its record is written twice a second: at first it may tell of the moment before it had its lease.
        waited_until(lambda: mmctl("status", *of_profile, env=here).code == 0)
        done = mmctl("cancel-near", *of_profile, env=here)
        one = stopped(done)
        assert (done.code, one["halt"], one["remaining"], one["proof"]) == (0, "set", [], "acknowledged"), done
        assert {each[:2] for each in exchange.open_ids()} <= {"F0"}
        # A halt waits for its acknowledgement a second and a half: on a busy machine the next one tells.
        waited_until(lambda: mmctl("halt", *of_profile, env=here).events[0]["engines"][0]["state"] == "acknowledged")
        wait_for(lambda one: one["event"] == "skip" and (one["layer"], one["reason"]) == ("far", "halted"))
        assert mmctl("resume", *of_profile, env=here).code == 0
        wait_for(is_quoted("near"))


def test_a_resume_on_another_host_waits_for_the_end_of_a_stop(
    exchange: Exchange, shared: RedisServer, books: redis.Redis, tmp_path: Path
) -> None:
    exchange.ladder(Layer.NEAR, 1)
    register(shared.url, layers=(LayerRecord(Layer.NEAR, 25.0),))  # who is watched for as long
    of_profile = ("--profile", str(ROOT / "profiles" / "sandbox.toml"))
    there, here = (environment(MMCTL_STATE_DIR=str(tmp_path / name)) for name in ("there", "here"))
    with started("cancel-near", *of_profile, "--deadline", "30s", env=there) as process:
        waited_until(lambda: process.poll() is not None or books.exists("mmctl:stopping:binance:main", HALTS) == 2)
        assert process.poll() is None
        refused = mmctl("resume", *of_profile, env=here)
        assert refused.code == 5
        assert "a stop is sweeping binance, account main, by Redis at " in refused.err
        assert f"(pid {process.pid})" in refused.err
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_S)
    assert not books.exists("mmctl:stopping:binance:main")
    done = mmctl("resume", *of_profile, env=here)
    assert (done.code, done.out.startswith("lifted ")) == (0, True), done


def test_without_redis_the_orders_go_all_the_same(
    call: Caller, held: Held, live: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"redis://:pAssw0rdOfRedis@127.0.0.1:{free_port()}/0"
    done = call("cancel-all", "--profile", live, "--redis-url", url, "--output", "json")
    one = stopped(done)
    assert (done.code, one["halt"], one["remaining"], len(one["cancelled"])) == (1, "failed", [], 5)
    assert one["first_empty_ms"] < 10_000, "long before the deadline"
    assert one["engines"][0]["state"] == "not_reached"
    assert "the halt does not stand everywhere, an engine may quote again: Redis at 127.0.0.1:" in done.err
    assert len(halts()) == 1, "here it stands"


def test_a_redis_that_hangs_holds_up_no_cancel(
    call: Caller, held: Held, live: str, shared: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RedisShared.__init__, "__defaults__", (6.0,))
    assert shared._process is not None
    shared._process.send_signal(signal.SIGSTOP)
    try:
        done = call("cancel-all", "--profile", live, "--output", "json")
    finally:
        shared._process.send_signal(signal.SIGCONT)
    one = stopped(done)
    assert (done.code, one["halt"], one["remaining"]) == (1, "failed", [])
    assert one["first_empty_ms"] < 5000, "nobody waits for Redis before"


def test_a_redis_that_comes_back_is_told_while_the_stop_is_at_work(
    call: Caller, held: Held, live: str, shared: RedisServer
) -> None:
    held.stubborn = True
    shared.kill()
    comes_back = threading.Timer(1.0, shared.start)
    comes_back.start()
    done = call("cancel-all", "--profile", live, "--deadline", "8s", "--output", "json")
    comes_back.join()
    assert (done.code, stopped(done)["halt"]) == (1, "set"), "own orders remain, and the halt stands everywhere"
    client = redis.Redis(port=shared.port)
    assert client.llen(HALTS) == 1
    client.close()


@pytest.mark.parametrize("where", ["environment", "profile"])
def test_an_address_that_is_none_stops_no_stop(
    call: Caller, held: Held, live: str, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    if where == "environment":
        monkeypatch.setenv("MMCTL_REDIS_URL", "http://:pAssw0rdOfRedis@redis")
    else:
        text = Path(live).read_text().replace("[redis]", '[redis]\nurl = "http://:pAssw0rdOfRedis@redis"')
        Path(live).write_text(text)
    done = call("cancel-all", "--profile", live, "--output", "json")
    one = stopped(done)
    assert (done.code, one["halt"], one["remaining"]) == (1, "failed", [])
    assert "is not an address of Redis" in done.err


def test_a_wrong_option_is_wrong_usage(call: Caller, held: Held, live: str) -> None:
    done = call("cancel-all", "--profile", live, "--redis-url", "http://:pAssw0rdOfRedis@redis")
    assert (done.code, done.out) == (2, "")
    assert halts() == ()


def test_resume_lifts_in_both_places(
    call: Caller, held: Held, live: str, shared: RedisServer, books: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("cancel-all", "--profile", live).code == 0
    done = call("resume", "--profile", live)
    assert done.code == 0
    assert done.out.startswith("lifted halt 1: both layers of all symbols on binance main")
    assert "resume" in json.loads(books.lrange(HALTS, 0, -1)[-1])
    assert halts() == ()


def test_with_redis_away_resume_says_what_stays_halted(
    call: Caller, held: Held, live: str, shared: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("cancel-all", "--profile", live).code == 0
    monkeypatch.setenv("MMCTL_REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    done = call("resume", "--profile", live)
    assert done.code == 1
    assert done.out.startswith("still halted: halt 1: ")
    assert "not everything could be resumed: Redis at" in done.err
    monkeypatch.delenv("MMCTL_REDIS_URL")
    done = call("resume", "--profile", live)
    assert done.code == 1
    assert "no Redis is configured" in done.err
    assert len(halts()) == 1
    monkeypatch.setenv("MMCTL_REDIS_URL", shared.url)
    assert call("resume", "--profile", live).code == 0
    assert halts() == ()
