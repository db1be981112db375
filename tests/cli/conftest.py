"""Fixtures of the tests of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from .harness import Caller, RedisServer, quick_profile


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Caller:
    return Caller(capsys)


@pytest.fixture
def quick(tmp_path: Path) -> str:
    """The path of a profile with short intervals."""
    return quick_profile(tmp_path)


@pytest.fixture(scope="package")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
def server(shared_server: RedisServer, books: redis.Redis) -> RedisServer:
    """A running server without a key."""
    books.flushall()
    return shared_server


@pytest.fixture
def books(shared_server: RedisServer) -> Iterator[redis.Redis]:
    """A client that writes books to the server."""
    client = redis.Redis(port=shared_server.port)
    yield client
    client.close()
