"""Redis refused, slow, gone, restarted, wanting a password: one line each, nothing leaked, and it goes on by itself."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from feed_samples import KEY, NOW_TICK, Writer, book_at, free_port, until

from mmctl.core.book import BookKey
from mmctl.errors import FeedUnreachable, NoBook
from mmctl.feeds.redis import RedisFeed

MakeFeed = Callable[..., RedisFeed]


async def failure(feed: RedisFeed, key: BookKey = KEY) -> FeedUnreachable:
    with pytest.raises(FeedUnreachable) as caught:
        await feed.read(key)
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    return caught.value


def open_files() -> int:
    return len(os.listdir("/dev/fd"))


async def test_a_refused_port_is_named_at_once(make_feed: MakeFeed) -> None:
    port = free_port()
    began = time.monotonic()
    error = await failure(make_feed(f"redis://127.0.0.1:{port}/0", timeout_s=60))
    assert time.monotonic() - began < 30
    assert f"Redis at 127.0.0.1:{port} cannot be reached" in error.message
    assert "MMCTL_REDIS_URL" in error.hint


async def test_a_host_that_is_none_is_named(make_feed: MakeFeed) -> None:
    error = await failure(make_feed("redis://no-such-host.invalid:7001/0", timeout_s=5))
    assert "Redis at no-such-host.invalid:7001" in error.message


async def test_a_server_that_never_answers_costs_no_more_than_the_time_out(make_feed: MakeFeed) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    feed = make_feed(f"redis://127.0.0.1:{port}/0", timeout_s=0.2)
    began = time.monotonic()
    keys = [BookKey("binance_spot", f"C{n}") for n in range(50)]
    errors = await asyncio.gather(*(failure(feed, key) for key in keys for _ in range(2)))
    assert time.monotonic() - began < 5, "one after the other they would take ten seconds"
    assert f"Redis at 127.0.0.1:{port} did not answer within 0.2 s" in errors[0].message
    await feed.close()
    server.close()
    await server.wait_closed()


async def test_a_reply_too_late_is_never_taken_for_another_question(make_feed: MakeFeed, writer: Writer) -> None:
    """A proxy holds back the first reply; the read after it must not get that reply."""
    real_port = writer.client.connection_pool.connection_kwargs["port"]
    late = asyncio.Event()

    async def pipe(reader: asyncio.StreamReader, to: asyncio.StreamWriter, hold: bool) -> None:
        while data := await reader.read(65536):
            if hold and not late.is_set():
                await late.wait()
            to.write(data)
        to.close()

    async def proxy(reader: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", real_port)
        await asyncio.gather(pipe(reader, to_server, False), pipe(from_server, to_client, True), return_exceptions=True)

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    feed = make_feed(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", timeout_s=1)
    writer.put(NOW_TICK, book_at("100"))
    await failure(feed)
    writer.put(NOW_TICK, book_at("200"))
    late.set()
    assert (await feed.read(KEY)).best_bid == 200
    await feed.close()
    server.close()
    await server.wait_closed()


async def test_a_cancelled_read_leaves_the_line_in_order(feed: RedisFeed, writer: Writer) -> None:
    writer.put(NOW_TICK, book_at("100"))
    before = writer.connections()
    for n in range(100):
        task = asyncio.create_task(feed.read(KEY))
        for _ in range(n % 12):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (await feed.read(KEY)).best_bid == 100
    await until(lambda: writer.connections() - before == 1)


async def test_a_cancelled_connect_leaves_the_line_in_order(
    make_feed: MakeFeed, writer: Writer, real_redis: Any
) -> None:
    writer.put(NOW_TICK, book_at("100"), KEY)
    before = writer.connections()
    for n in range(40):
        feed = make_feed(f"redis://127.0.0.1:{real_redis.port}/0")
        task = asyncio.create_task(feed.read(KEY))
        for _ in range(n):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (await feed.read(KEY)).best_bid == 100
        await feed.close()
    await until(lambda: writer.connections() == before)


async def test_something_else_than_redis_is_told(make_feed: MakeFeed) -> None:
    async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async def polite(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            writer.write(b"+OK\r\n" * 3)
        writer.close()

    for behaviour in (web, polite):
        server = await asyncio.start_server(behaviour, "127.0.0.1", 0)
        feed = make_feed(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", timeout_s=1)
        await failure(feed)
        await feed.close()
        server.close()
        await server.wait_closed()


async def test_killed_and_started_again_while_reading(make_feed: MakeFeed, own_redis: Any) -> None:
    port = free_port()
    feed = make_feed(f"redis://127.0.0.1:{port}/0", timeout_s=1)
    tasks = len(asyncio.all_tasks())
    for life in range(3):
        with own_redis(port):
            writer = Writer(port)
            writer.put(NOW_TICK, book_at(str(100 + life)))
            # The very first read after the restart already works.
            assert (await feed.read(KEY)).best_bid == 100 + life
            writer.client.close()
        for _ in range(5):
            assert f"127.0.0.1:{port}" in (await failure(feed)).message
    assert len(asyncio.all_tasks()) == tasks


async def test_killed_in_the_middle_of_a_read(make_feed: MakeFeed, own_redis: Any) -> None:
    port = free_port()
    feed = make_feed(f"redis://127.0.0.1:{port}/0", timeout_s=1)
    with own_redis(port) as process:
        writer = Writer(port)
        writer.put(NOW_TICK, book_at("100"))
        await feed.read(KEY)
        process.send_signal(signal.SIGSTOP)  # it holds the connection and does not answer
        reading = asyncio.create_task(failure(feed))
        await asyncio.sleep(0.1)
        process.kill()
        await reading
        writer.client.close()
    with own_redis(port), pytest.raises(NoBook):
        await feed.read(KEY)


async def test_failed_reads_leak_nothing(make_feed: MakeFeed) -> None:
    feed = make_feed(f"redis://127.0.0.1:{free_port()}/0", timeout_s=0.5)
    await failure(feed)
    files, tasks = open_files(), len(asyncio.all_tasks())
    for _ in range(200):
        await failure(feed)
    assert open_files() <= files
    assert len(asyncio.all_tasks()) == tasks


async def test_failed_reads_of_a_living_server_open_no_more_connections(
    feed: RedisFeed, writer: Writer, clock: Any
) -> None:
    for _ in range(200):
        with pytest.raises(NoBook):
            await feed.read(KEY)
    assert writer.connections() <= 2


async def test_passwords(make_feed: MakeFeed, own_redis: Any) -> None:
    port = free_port()
    with own_redis(port, "--requirepass", "hunter2"):
        writer = Writer(port, password="hunter2")
        writer.put(NOW_TICK, book_at("100"))
        where = f"127.0.0.1:{port}"

        error = await failure(make_feed(f"redis://{where}/0"))
        assert error.message == f"Redis at {where} wants a password"
        error = await failure(make_feed(f"redis://:letmein9@{where}/0"))
        assert error.message == f"Redis at {where} does not accept this user and password"
        assert "letmein9" not in str(error)
        for address in (f"redis://:hunter2@{where}/0", f"redis://{where}/0?password=hunter2"):
            assert (await make_feed(address).read(KEY)).best_bid == 100

        writer.client.acl_setuser("clerk", enabled=True, passwords=["+letmein9"], commands=["+@connection"], keys=["*"])
        error = await failure(make_feed(f"redis://clerk:letmein9@{where}/0"))
        assert error.message == f"Redis at {where} does not permit this user to read the books"
        writer.client.acl_setuser("clerk", enabled=True, commands=["+mget"], reset_keys=True, keys=["other*"])
        error = await failure(make_feed(f"redis://clerk:letmein9@{where}/0"))
        assert "does not permit" in error.message
        writer.client.close()


async def test_a_password_that_nobody_asked_for(make_feed: MakeFeed, real_redis: Any) -> None:
    error = await failure(make_feed(f"redis://:letmein9@127.0.0.1:{real_redis.port}/0"))
    assert "letmein9" not in str(error)


async def test_a_database_that_is_not_there(make_feed: MakeFeed, real_redis: Any) -> None:
    error = await failure(make_feed(f"redis://127.0.0.1:{real_redis.port}/9999"))
    assert "out of range" in error.message
    assert "database" in error.hint


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n", "is still loading its data"),
        (b"-READONLY You can't write against a read only replica.\r\n", "refused to read"),
        (b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n", "refused to read: "),
        (b"-MASTERDOWN Link with MASTER is down\r\n", "refused to read"),
        (b"-ERR max number of clients reached\r\n", "max number of clients"),
        (b"*1\r\n$-1\r\n", "does not answer as Redis does"),
        (b"-ERR mystery\r\n", "mystery"),
    ],
)
async def test_refusals_of_the_server(reply: bytes, message: str, make_feed: MakeFeed) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            for command in data.split(b"\r\n"):
                if command == b"MGET":
                    writer.write(reply)
                elif command == b"CLIENT":
                    writer.write(b"+OK\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    feed = make_feed(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", timeout_s=1)
    for _ in range(2):
        assert message in (await failure(feed)).message
    await feed.close()
    server.close()
    await server.wait_closed()
