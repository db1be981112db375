"""Fixtures of the scripted server that tests of the Binance venue share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from mmctl.venues.binance import BinanceVenue

from .binance_script import Open, Script, new_venue, serving
from .harness import Session


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
async def open_venue(script: Script) -> AsyncIterator[Open]:
    """Makes a session of an open venue, with options of ``BinanceVenue``."""
    venues: list[BinanceVenue] = []
    async with serving(script) as urls:

        async def make(**options: Any) -> Session:
            venue = new_venue(urls, **options)
            venues.append(venue)
            await venue.open()
            return Session(venue)

        yield make
        for venue in venues:
            await venue.close()
