"""Addresses of Redis: what is taken, what is refused, and that no password ever shows."""

from __future__ import annotations

import subprocess
import sys
import traceback

import pytest
from feed_samples import HandClock

from mmctl.errors import UsageError
from mmctl.feeds.redis import RedisFeed
from mmctl.wire.redis_address import server_of


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("redis://127.0.0.1:7001/0", "127.0.0.1:7001"),
        ("redis://books.example", "books.example:6379"),
        ("redis://:hunter2@books.example:7001/3", "books.example:7001"),
        ("rediss://anna:hunter2@books.example:7001/3", "books.example:7001"),
        ("redis://[::1]:7001/0", "[::1]:7001"),
        ("redis://h:1/?db=4", "h:1"),
        ("unix:///run/redis.sock", "/run/redis.sock"),
    ],
)
def test_an_address_names_its_server(url: str, server: str) -> None:
    assert server_of(url) == server
    RedisFeed(url, HandClock())


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("", "does not begin with redis://"),
        ("localhost:6379", "does not begin with redis://"),
        ("http://localhost:6379", "does not begin with redis://"),
        ("redis://", "names no host"),
        ("redis://:6379/0", "names no host"),
        ("redis:///0", "names no host"),
        ("redis://two words:6379/0", "names no host"),
        ("redis://h:seven/0", "host or port cannot be read"),
        ("redis://h:70000/0", "host or port cannot be read"),
        ("redis://h:0/0", "its port is 0"),
        ("redis://[::1:6379/0", "host or port cannot be read"),
        (f"redis://{'h' * 70}:6379/0", "host or port cannot be read"),
        ("redis://h:1/books", "its database is not a number"),
        ("redis://h:1/-1", "its database is not a number"),
        ("redis://h:1/?db=x", "its database is not a number"),
        ("redis://h:1/0?decode_responses=1", "its option is unknown"),
        ("redis://h:1/0?socket_timeout=1&a=b", "2 options that mmctl does not know"),
        ("unix://", "names no socket"),
    ],
)
def test_an_address_that_is_none_is_refused_with_the_mend(url: str, fault: str) -> None:
    with pytest.raises(UsageError, match=fault) as caught:
        RedisFeed(url, HandClock())
    assert "redis://HOST:PORT/DB" in caught.value.hint
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2@h:seven/0",
        "redis://:hun/hunter2@h:6379/0",
        "redis://:hun?hunter2@h:6379/0",
        "redis://:hun#hunter2@h:6379/0",
        "redis://h:seven/0?password=hunter2",
        "http://:hunter2@h:6379",
        "redis://:hunter2@h:6379/books",
        "redis://:hunter2@h:6379/0?x=hunter2",
        "redis://h:6379/0?ssl_cert_reqs=hunter2",
    ],
)
def test_no_password_shows(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        RedisFeed(url, HandClock())
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value)).replace(url, "")


def test_importing_the_feed_does_not_import_redis() -> None:
    code = "import sys, mmctl.feeds.redis; print('redis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
