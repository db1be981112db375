"""What hosts share in a real Redis: halts, records, leases, epochs, and rubbish in any of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from shared_servers import PATIENCE_S, free_port, redis_server

from mmctl.core.order import Layer
from mmctl.errors import SharedAway, SharedUnreadable
from mmctl.ports import Halt, HaltScope, Ownership
from mmctl.shared.redis import CHANNEL, HALTS, RedisShared

ALL = Halt(3, HaltScope("binance", "main"), "anna", 5, "drill", "aa")
NEAR = Halt(4, HaltScope("binance", "main", "BTCUSDT", Layer.NEAR), "bob", 6, 'why "so"\n\u2028', "bb")


async def test_nothing_is_no_halt(shared: RedisShared) -> None:
    told = await shared.halts()
    assert (told.halts, told.lifted, told.rubbish) == ({}, {}, ())


async def test_halts_are_read_back_by_another_host(shared: RedisShared, connect: Callable[..., RedisShared]) -> None:
    await shared.set([ALL, NEAR])
    await shared.set([ALL])
    other = connect()
    told = await other.halts()
    assert told.halts == {"aa": replace(ALL, number=0), "bb": replace(NEAR, number=0)}
    await shared.lift(["bb"], by="carl", at_ms=9)
    assert (await other.halts()).lifted == {"bb": ("carl", 9)}
    assert set((await other.halts()).halts) == {"aa", "bb"}


async def test_a_list_that_only_grew_is_not_read_again_and_one_that_changed_is(shared: RedisShared, raw: Any) -> None:
    await shared.set([ALL])
    assert set((await shared.halts()).halts) == {"aa"}
    before = raw.info("commandstats")["cmdstat_lrange"]["calls"]
    assert (await shared.halts()) is (await shared.halts())
    await shared.set([NEAR])
    assert set((await shared.halts()).halts) == {"aa", "bb"}
    assert raw.info("commandstats")["cmdstat_lrange"]["calls"] == before + 3
    raw.flushall()
    assert not (await shared.halts()).halts
    await shared.set([NEAR])
    await shared.set([ALL])
    assert set((await shared.halts()).halts) == {"aa", "bb"}
    raw.flushall()
    await shared.set([replace(ALL, uid=name) for name in ("x", "y", "z")])
    assert set((await shared.halts()).halts) == {"x", "y", "z"}, "as long as before, and another list"


@pytest.mark.parametrize(
    "line",
    [
        *(b"?", b"7", b"null", b"[]", b"{}", b"\xff", b'{"uid":"q","by":"x","at_ms":1,"why":""}'),
        b'{"halt":{"venue":"b","account":"m","symbol":null,"layer":null},"by":"x","at_ms":1,"why":""}',
        b'{"uid":"","halt":{"venue":"b","account":"m","symbol":null,"layer":null},"by":"x","at_ms":1,"why":""}',
        b'{"uid":"q","halt":{"venue":"b","account":"m","symbol":null,"layer":"mid"},"by":"x","at_ms":1,"why":""}',
        b'{"uid":"q","halt":{"venue":1,"account":"m","symbol":null,"layer":null},"by":"x","at_ms":1,"why":""}',
        b'{"resume":7,"by":"x","at_ms":1}',
        b'{"resume":"aa","by":"x","at_ms":1}',
        b'{"resume":["aa"],"by":"x","at_ms":1e999}',
        b'{"uid":"q","halt":{"venue":"b","account":"m","symbol":null,"layer":null},"by":"x","at_ms":1e30,"why":""}',
        b"[" * 100_000,
    ],
)
async def test_rubbish_among_halts_is_told_and_a_resume_takes_it_away(
    shared: RedisShared, raw: Any, line: bytes
) -> None:
    await shared.set([ALL])
    raw.rpush(HALTS, line)
    await shared.set([NEAR])
    told = await shared.halts()
    assert set(told.halts) == {"aa", "bb"}
    assert len(told.rubbish) == 1
    await shared.lift([], by="carl", at_ms=9)
    told = await shared.halts()
    assert (set(told.halts), told.lifted, told.rubbish) == ({"aa", "bb"}, {}, ())


@pytest.mark.parametrize(
    "ask",
    [
        lambda one: one.halts(),
        lambda one: one.set([ALL]),
        lambda one: one.engines("binance", "main"),
        lambda one: one.accounts(),
        lambda one: one.put("binance", "main", 7, b"{}"),
        lambda one: one.reserve_epoch("binance", "42", 5),
        lambda one: one.stops("binance", "main"),
        lambda one: one.mark_stop("binance", "main", "me", 5.0),
        lambda one: one.owners(["p"]),
        lambda one: one.take("p", "me", 5.0),
        lambda one: one.renew("p", "me", 5.0),
    ],
)
async def test_rubbish_of_another_kind_is_told(
    shared: RedisShared, raw: Any, ask: Callable[[RedisShared], Awaitable[object]]
) -> None:
    keys = ("mmctl:engines:binance:main", "mmctl:epoch:binance:42", "mmctl:lease:p", "mmctl:owner:p")
    raw.set("mmctl:stopping:binance:main", "rubbish")
    raw.set("mmctl:accounts", "rubbish")
    for key in keys:
        raw.hset(key, "rubbish", "1")
    raw.set(HALTS, "rubbish")
    if "take" in ask.__code__.co_names:
        assert await ask(shared) is False, "whatever is there, it is not ours"
        return
    with pytest.raises(SharedUnreadable, match="cannot be asked"):
        await ask(shared)


async def test_accounts_that_had_engines_are_known_by_their_names(shared: RedisShared, raw: Any) -> None:
    assert await shared.accounts() == []
    for account in ("main", "ma: in", "main"):
        await shared.put("binance", account, 7, b"{}")
    raw.sadd("mmctl:accounts", "what is this")
    assert await shared.accounts() == [("binance", "ma: in"), ("binance", "main")]


async def test_an_epoch_that_is_no_number_is_told(shared: RedisShared, raw: Any) -> None:
    raw.set("mmctl:epoch:binance:42", "many")
    with pytest.raises(SharedUnreadable, match="rubbish in mmctl:epoch:binance:42"):
        await shared.reserve_epoch("binance", "42", 5)


async def test_hosts_never_reserve_one_epoch_twice(connect: Callable[..., RedisShared], shared: RedisShared) -> None:
    hosts = [shared, connect(), connect()]
    asked = [host.reserve_epoch("binance", "42", 1_700_000_000) for host in hosts for _ in range(20)]
    got = await asyncio.gather(*asked)
    assert sorted(got) == list(range(1_700_000_001, 1_700_000_061))
    assert await shared.reserve_epoch("binance", "42", 1_800_000_000) == 1_800_000_001
    assert await shared.reserve_epoch("binance", "43", 5) == 6


async def test_records_of_engines_are_kept_for_a_while_and_last_words_for_less(shared: RedisShared, raw: Any) -> None:
    await shared.put("binance", "a:b", 7, b"seven")
    await shared.put("binance", "a:b", 8, b"eight")
    await shared.put("binance", "a", 9, b"nine")
    assert await shared.engines("binance", "a:b") == [b"seven", b"eight"]
    assert 0 < raw.ttl("mmctl:engine:binance:a%3Ab:7") <= 900
    await shared.put("binance", "a:b", 7, b"last", ended=True)
    assert await shared.engines("binance", "a:b") == [b"last", b"eight"]
    assert 60 < raw.ttl("mmctl:engine:binance:a%3Ab:7") <= 300
    raw.delete("mmctl:engine:binance:a%3Ab:7", "mmctl:engine:binance:a%3Ab:8")
    assert await shared.engines("binance", "a:b") == []
    assert raw.smembers("mmctl:engines:binance:a%3Ab") == set()


async def test_one_owner_has_a_lease_until_it_releases_it(
    shared: RedisShared, connect: Callable[..., RedisShared]
) -> None:
    other = connect()
    assert await shared.owners(["p", "q"]) == [Ownership(None), Ownership(None)]
    assert await shared.take("p", "me", 30.0)
    assert not await other.take("p", "them", 5.0)
    assert not await other.renew("p", "them", 5.0)
    assert await shared.renew("p", "me", 80.0)
    await shared.mark("p", "me", 5.0, 2.0)
    (now,) = await other.owners(["p"])
    assert (now.token, now.marker, now.lease_s, now.landing_time_s) == ("me", "me", 5.0, 2.0)
    assert 40.0 < now.left_s <= 80.0
    await other.release("p", "them", settled=True)
    assert (await other.owners(["p"]))[0].token == "me"
    await shared.release("p", "me", settled=False)
    assert (await other.owners(["p"]))[0] == Ownership(None, 0.0, "me", 5.0, 2.0), "the marker warns the next one"
    assert await other.take("p", "them", 5.0)
    await other.mark("p", "them", 5.0, 2.0)
    await other.release("p", "them", settled=True)
    assert await shared.owners(["p"]) == [Ownership(None)]


async def test_each_stop_is_seen_for_its_own_time(
    shared: RedisShared, connect: Callable[..., RedisShared], raw: Any
) -> None:
    other = connect()
    assert await other.stops("binance", "a:b") == []
    await shared.mark_stop("binance", "a:b", "anna@one (pid 1)", 1.5)
    await other.mark_stop("binance", "a:b", "bob@two (pid 2)", 30.0)
    await other.mark_stop("binance", "a", "bob@two (pid 2)", 30.0)
    assert await other.stops("binance", "a:b") == ["anna@one (pid 1)", "bob@two (pid 2)"]
    await asyncio.sleep(1.6)
    assert await shared.stops("binance", "a:b") == ["bob@two (pid 2)"], "a killed one blocks nobody for long"
    await shared.mark_stop("binance", "a:b", "anna@one (pid 1)", 10.0)
    await shared.mark_stop("binance", "a:b", "anna@one (pid 1)", 20.0)
    assert await shared.stops("binance", "a:b") == ["anna@one (pid 1)", "bob@two (pid 2)"]
    assert 20 < raw.ttl("mmctl:stopping:binance:a%3Ab") <= 30
    await other.mark_stop("binance", "a:b", "bob@two (pid 2)", 0.0)
    assert 10 < raw.ttl("mmctl:stopping:binance:a%3Ab") <= 20
    await shared.mark_stop("binance", "a:b", "anna@one (pid 1)", 0.0)
    assert not raw.exists("mmctl:stopping:binance:a%3Ab")


async def test_a_lease_runs_out_and_is_not_renewed_then(shared: RedisShared) -> None:
    assert await shared.take("p", "me", 0.05)
    await asyncio.sleep(0.1)
    assert not await shared.renew("p", "me", 5.0)
    assert await shared.owners(["p"]) == [Ownership(None)]


async def test_a_marker_that_is_none_is_told(shared: RedisShared, raw: Any) -> None:
    for rubbish in ("?", "7", "{}", json.dumps({"token": "x", "lease_s": "long", "landing_time_s": 1})):
        raw.set("mmctl:owner:p", rubbish)
        with pytest.raises(SharedUnreadable, match="rubbish in mmctl:owner:p"):
            await shared.owners(["p"])


async def test_a_change_is_heard_of_at_once(
    shared: RedisShared, connect: Callable[..., RedisShared], raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmctl.shared.redis.LISTEN_S", 2 * PATIENCE_S)
    other = connect()
    heard = asyncio.create_task(_heard(other))
    for _ in range(3000):
        if raw.pubsub_numsub(CHANNEL)[0][1]:
            break
        await asyncio.sleep(0.01)
    await shared.set([ALL])
    assert await asyncio.wait_for(heard, PATIENCE_S)


async def _heard(shared: RedisShared) -> bool:
    while True:
        await shared.changed()
        if (await shared.halts()).halts:
            return True


async def test_a_redis_that_is_away_is_told_and_asked_again(
    redis_port: int, connect: Callable[..., RedisShared]
) -> None:
    gone = connect(free_port())
    for ask in (gone.halts, gone.changed):
        with pytest.raises(SharedUnreadable, match=r"cannot be asked.*MMCTL_REDIS_URL"):
            await ask()


async def test_a_redis_that_never_answers_is_given_up_in_time(connect: Callable[..., RedisShared]) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        mute = connect(server.sockets[0].getsockname()[1], timeout_s=0.2)
        with pytest.raises(SharedUnreadable, match="cannot be asked"):
            await mute.halts()
        await mute.close()


async def test_a_password_is_never_shown(redis_port: int) -> None:
    shared = RedisShared(f"redis://bob:hunter2@127.0.0.1:{redis_port}/0")
    with pytest.raises(SharedUnreadable) as refused:
        await shared.halts()
    assert "hunter2" not in str(refused.value) + shared.where
    await shared.close()


async def test_a_server_that_is_back_is_asked_without_another_failure(
    redis_port: int, connect: Callable[..., RedisShared], tmp_path: Path
) -> None:
    port = free_port()
    one = connect(port)

    async def ask() -> list[object]:
        asked = (one.halts(), one.owners(["p"]), one.engines("binance", "main"), one.reserve_epoch("b", "m", 5))
        return await asyncio.gather(*asked, return_exceptions=True)

    for _ in range(3):
        with redis_server(port, tmp_path):
            assert not [told for told in await ask() if isinstance(told, Exception)]
        assert any(isinstance(told, SharedAway) for told in await ask())


@pytest.mark.parametrize("turns", range(12))
async def test_a_cancel_is_never_lost_whenever_it_comes(shared: RedisShared, turns: int) -> None:
    """Whoever ends waits for what it cancelled: one that goes on keeps a stop from its end for ever."""

    async def keep_saying() -> None:
        while True:
            await shared.mark_stop("binance", "main", "anna", 5.0)

    await shared.mark_stop("binance", "main", "anna", 5.0)
    for _ in range(20):
        saying = asyncio.create_task(keep_saying())
        for _ in range(turns):
            await asyncio.sleep(0)
        saying.cancel()
        done, _ = await asyncio.wait((saying,), timeout=PATIENCE_S)
        saying.cancel()
        assert done, f"cancelled after {turns} turns of the loop, it went on"
