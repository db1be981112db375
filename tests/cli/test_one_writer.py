"""One writer, in processes of their own on the sandbox: by the state folder, by Redis, after kill -9."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmctl.engine.records import decoded

from .harness import ROOT, Done, RedisServer, ended, environment, mmctl, read_until, started
from .test_stop_sandbox import Exchange, exchange, shared_exchange

__all__ = ["exchange", "shared_exchange"]

SANDBOX = ("--profile", str(ROOT / "profiles" / "sandbox.toml"))
RUN = ("run", *SANDBOX, "--pair", "BTC-USDT", "--output", "json")


def placed(one: dict[str, Any]) -> bool:
    return one["event"] == "round" and one["outcome"]["placed"] > 0


def skipped(words: str) -> Callable[[dict[str, Any]], bool]:
    return lambda one: one["event"] == "skip" and words in one["detail"]


def refused(done: Done, words: str) -> None:
    assert done.code == 5, done
    (told,) = done.events
    assert told["kind"] == "pair_held"
    assert words in told["message"], told


@pytest.mark.long
def test_a_second_engine_is_refused_until_the_first_is_dead(exchange: Exchange) -> None:
    env = environment(MMCTL_REDIS_URL=None)
    with started(*RUN, env=env) as first:
        read_until(first, placed)
        refused(mmctl(*RUN, env=env), f"(pid {first.pid} on ")
        assert first.poll() is None
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        before = exchange.open_ids()
        assert before
        with started(*RUN, env=env) as second:
            read = read_until(second, placed)
            second.terminate()
            assert ended(second, read).code == 0
    assert exchange.open_ids() == set()
    folder = Path(env["MMCTL_STATE_DIR"]) / "engines"
    last_words = [decoded(path.read_bytes()).ended for path in sorted(folder.glob("*.json"))]
    assert last_words == [False, True], "the dead one's record is left, and the word of the other"


@pytest.mark.long
def test_hosts_that_share_a_redis_exclude_each_other_and_share_halts(
    exchange: Exchange, server: RedisServer, tmp_path: Path
) -> None:
    here = environment(MMCTL_REDIS_URL=server.url)
    there = environment(MMCTL_REDIS_URL=server.url, MMCTL_STATE_DIR=str(tmp_path / "there"))
    with started(*RUN, env=here) as first:
        read_until(first, placed)
        refused(mmctl(*RUN, env=there), "by its lease in Redis at 127.0.0.1:")
        stop = mmctl("cancel-all", *SANDBOX, "--output", "json", env=there)
        assert stop.code == 0, stop
        read_until(first, lambda one: one["event"] == "skip" and one["reason"] == "halted")
        assert exchange.open_ids() == set()
        first.terminate()
        assert ended(first).code == 0
    halts = (Path(here["MMCTL_STATE_DIR"]) / "halts.jsonl").read_text().splitlines()
    assert json.loads(halts[0])["uid"] in (tmp_path / "there" / "halts.jsonl").read_text()
    assert mmctl("resume", *SANDBOX, env=there).code == 0
    with started(*RUN, env=there) as second:
        read = read_until(second, placed)
        assert f"{halts[0]}" not in read
        second.terminate()
        assert ended(second, read).code == 0


@pytest.mark.long
def test_redis_that_comes_late_and_goes_for_a_while_only_holds(exchange: Exchange, tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.kill()
    with started(*RUN, env=environment(MMCTL_REDIS_URL=server.url)) as engine:
        read_until(engine, skipped("cannot be asked"))
        assert exchange.open_ids() == set()
        server.start()
        read_until(engine, placed)
        server.kill()
        read_until(engine, skipped(" s old: Redis at 127.0.0.1"))
        assert exchange.open_ids(), "what rests, rests on"
        server.start()
        read = read_until(engine, placed)
        engine.terminate()
        assert ended(engine, read).code == 0
    server.kill()
    assert exchange.open_ids() == set()
    faults = mmctl("journal", "--limit", "10000", "--output", "json").out
    told = faults.count("cannot be asked")
    # Redis is asked many times meanwhile; where it answers late besides, that is one more.
    assert 2 <= told <= 4, f"once at the start, once in the middle; not {told} times"
