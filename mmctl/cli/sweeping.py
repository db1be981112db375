"""While a stop sweeps, that is to be seen in Redis too: a resume on another host is refused for as long."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from mmctl.cli.shared_place import SharedPlace
from mmctl.engine.halt import who
from mmctl.errors import SharedUnreadable

SAY_EVERY_S = 2.0
KEEP_S = 10.0
"""How long a resume elsewhere is refused because of a stop that was killed."""

END_WITHIN_S = 1.0
"""How long the end of a stop may wait for Redis to take its mark away: it runs out by itself."""


@asynccontextmanager
async def sweeping(place: SharedPlace, venue: str, account: str, by: str) -> AsyncIterator[None]:
    """Say so in Redis, again and again, beside all else. Never raises for what Redis does."""
    if not place.configured:
        yield
        return
    name = f"{by or who()} (pid {os.getpid()})"
    said = asyncio.Event()
    saying = asyncio.create_task(_keep_saying(place, venue, account, name, said))
    try:
        yield
    finally:
        saying.cancel()
        await asyncio.gather(saying, return_exceptions=True)
        if said.is_set():  # else Redis is away, and nobody waits for it twice
            with suppress(SharedUnreadable, TimeoutError):
                async with asyncio.timeout(END_WITHIN_S):
                    if shared := await place.get():
                        await shared.mark_stop(venue, account, name, 0.0)


async def _keep_saying(place: SharedPlace, venue: str, account: str, name: str, said: asyncio.Event) -> None:
    while True:
        try:
            if shared := await place.get():
                await shared.mark_stop(venue, account, name, KEEP_S)
                said.set()
        except SharedUnreadable:  # the halt is not told there either, which is noted
            said.clear()
        await asyncio.sleep(SAY_EVERY_S)
