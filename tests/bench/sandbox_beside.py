"""What the benches against a sandbox share: the sandbox in a process of its own, and real pairs on a Binance venue.

Everything stays on 127.0.0.1 and ends with the bench.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from mmctl.bootstrap import Opened, Setup, VenueChoice, open_pairs
from mmctl.clock import SystemClock
from mmctl.core.report import Faulted, Report
from mmctl.engine.journal import SqliteJournal, journal_path
from mmctl.engine.loop import Engine
from mmctl.ports import Feed, Journal
from mmctl.profile import load_profile
from mmctl.venues.binance import BinanceUrls, BinanceVenue

PROFILE = """
feed = "binance"

[accounts.main]
venue = "binance"
rest_url = "{rest}"
ws_url = "{ws}"
stream_url = "{stream}"
exclusive = true

[defaults]
follow_exchange = "binance_spot"
max_open_orders = 100
max_position = 1000000
max_fills_per_min = 100000
max_basis_bps = 500
frozen_after_s = 3600
far = false

[defaults.near]
interval_s = {interval_s}
quote_timeout_s = 10
buy_margin_bps = 20
sell_margin_bps = 20
ask_levels = {levels}
bid_levels = {levels}
max_amount = 500
min_amount = 10
force_refresh_num = 0
"""
"""One ladder that is replaced as a whole in every round."""


@dataclass(frozen=True)
class Beside:
    """A running sandbox: where it is, and its control address."""

    urls: BinanceUrls
    key: str
    secret: str
    control_url: str
    session: aiohttp.ClientSession

    async def set_faults(self, **faults: float) -> None:
        await self.control("/faults", faults)

    async def control(self, path: str, given: dict[str, Any]) -> Any:
        async with self.session.post(self.control_url + path, json=given) as reply:
            assert reply.status == 200, await reply.text()
            return await reply.json()

    async def shown(self, path: str) -> Any:
        async with self.session.get(self.control_url + path) as reply:
            return await reply.json()


@asynccontextmanager
async def sandbox_beside(*arguments: str) -> AsyncIterator[Beside]:
    """``mmctl sandbox`` on free ports, in another process."""
    command = [sys.executable, "-m", "mmctl", "sandbox", "--port", "0", "--output", "json", *arguments]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(15):
            said = json.loads(await process.stdout.readline())
        urls = BinanceUrls(said["rest_url"], said["ws_url"], said["stream_url"])
        async with aiohttp.ClientSession() as session:
            yield Beside(urls, said["api_key"], said["api_secret"], said["control_url"], session)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def setup_beside(beside: Beside, folder: Path, symbols: Sequence[str], *, levels: int, interval_s: float = 1) -> Setup:
    """Pairs of ``symbols`` (BASE-QUOTE) with one ladder of ``levels`` a side, on that sandbox."""
    urls = beside.urls
    text = PROFILE.format(rest=urls.rest, ws=urls.ws_api, stream=urls.stream, levels=levels, interval_s=interval_s)
    path = folder / "bench.toml"
    path.write_text(text + "".join(f"[pairs.{symbol}]\n" for symbol in symbols))
    profile = load_profile(str(path), environ={}, cwd=folder)
    return Setup(profile, profile.pairs, "binance", None, folder / "state", SystemClock())


def binance_on(beside: Beside, *, use_ws: bool = True) -> VenueChoice:
    """One Binance venue for all pairs, as ``run`` makes it; without ``use_ws`` orders go over REST."""

    async def choice(setup: Setup, feed: Feed, stack: AsyncExitStack) -> AsyncIterator[Opened]:
        venue = BinanceVenue(
            setup.clock, account="main", key=beside.key, secret=beside.secret, urls=beside.urls, mode="sandbox",
            use_ws=use_ws,
        )  # fmt: skip
        stack.push_async_callback(venue.close)
        await venue.open()
        yield Opened(venue, setup.pairs)

    return choice


@asynccontextmanager
async def engine_on(
    setup: Setup, choice: VenueChoice, report: Callable[[Report], None], journal: Journal | None = None
) -> AsyncIterator[tuple[Engine, Feed]]:
    """An engine that is ready, and its feed, for rounds that a bench takes by itself.

    ``journal``: its own, in the state folder, where none is given.
    """
    async with AsyncExitStack() as stack:
        journal = journal or SqliteJournal(journal_path(setup.state_dir))
        stack.push_async_callback(journal.close)
        feed, pairs = await stack.enter_async_context(open_pairs(setup, choice, report, print, journal))
        engine = Engine(pairs, feed, setup.clock)
        await engine.prepare(lambda _, seen: max(seen + 1, setup.clock.wall_ms() // 1000))
        try:
            yield engine, feed
        finally:
            await engine.stop(leave_orders=False)


def faults_into(told: list[str]) -> Callable[[Report], None]:
    """A report that keeps the faults alone, as lines."""

    def report(one: Report) -> None:
        if isinstance(one, Faulted):
            told.append(f"{one.pair}: {one.kind}: {one.detail}")

    return report
