"""A stop is seen in Redis for as long as it sweeps, and what Redis does holds it up by nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from mmctl.cli.sweeping import KEEP_S, sweeping
from mmctl.errors import SharedUnreadable

from .shared_fake import FakeServer, FakeShared, now_s
from .world import VIRTUAL

pytestmark = VIRTUAL


@dataclass
class Place:
    """Where hosts share; ``None`` is a machine without Redis."""

    shared: FakeShared | None

    @property
    def configured(self) -> bool:
        return self.shared is not None

    async def get(self) -> FakeShared | None:
        if self.shared is not None and self.shared.away:
            raise SharedUnreadable("no answer")
        return self.shared


async def test_a_stop_is_seen_until_its_end_however_long_it_sweeps() -> None:
    shared = FakeShared(FakeServer())
    async with sweeping(Place(shared), "binance", "main", "anna@one"):  # type: ignore[arg-type]
        for _ in range(40):
            await asyncio.sleep(1)
            (name,) = await shared.stops("binance", "main")
            assert name.startswith("anna@one (pid ")
        assert await shared.stops("binance", "other") == []
    assert await shared.stops("binance", "main") == []


async def test_a_stop_whose_redis_goes_is_seen_again_when_it_is_back_and_runs_out_without_it() -> None:
    shared = FakeShared(FakeServer())
    shared.away = True
    began_s = now_s()
    async with sweeping(Place(shared), "binance", "main", ""):  # type: ignore[arg-type]
        await asyncio.sleep(30)
        shared.away = False
        await asyncio.sleep(3)
        assert await shared.stops("binance", "main")
        shared.away = True
        await asyncio.sleep(3)
    assert now_s() - began_s == 36.0, "nobody waits for a Redis that is away"
    shared.away = False
    await asyncio.sleep(KEEP_S)
    assert await shared.stops("binance", "main") == []


async def test_without_redis_there_is_nothing_to_see() -> None:
    async with sweeping(Place(None), "binance", "main", ""):  # type: ignore[arg-type]
        await asyncio.sleep(1)
