"""The sandbox in one piece: exchange, interfaces and market on two ports of this machine.

async with Sandbox(SandboxOptions(seed=7)) as sandbox:
    sandbox.rest_url, sandbox.ws_url, sandbox.stream_url, sandbox.control_url, sandbox.key, sandbox.secret
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING

from mmctl.errors import UsageError
from mmctl.sandbox.api import Api
from mmctl.sandbox.exchange import Exchange
from mmctl.sandbox.faults import Faults
from mmctl.sandbox.limits import Limits, limit_rules
from mmctl.sandbox.market import Market
from mmctl.sandbox.options import HOST, MarketKind, SandboxOptions
from mmctl.sandbox.others import STEP_S, Others, Reference, SeededMarket
from mmctl.sandbox.recording import RecordedMarket
from mmctl.sandbox.rest import Rest
from mmctl.sandbox.streams import Streams
from mmctl.sandbox.ws_api import WsApi

if TYPE_CHECKING:
    from aiohttp import web

    from mmctl.sandbox.publish import Publisher


class Sandbox:
    """A local exchange. Raises ``UsageError`` at the start for options that cannot be."""

    def __init__(self, options: SandboxOptions | None = None) -> None:
        self.options = options or SandboxOptions()
        self.faults = Faults(self.options.faults, self.options.seed)
        self.exchange = Exchange(self.options)
        self.limits = Limits(limit_rules(self.options.limits))
        self.api = Api(self.exchange, self.limits, self.faults)
        self.ws_api = WsApi(self.api)
        self.streams = Streams(self.exchange, self.faults)
        self.others = {
            symbol: Others(self.exchange, market, self._reference(market), self.faults)
            for symbol, market in self.exchange.markets.items()
        }
        main = self.options.accounts[0]
        self.key, self.secret = main.key, main.secret
        self.rest_url = self.ws_url = self.stream_url = self.control_url = ""
        self._publisher: Publisher | None = None
        self._runners: list[web.AppRunner] = []
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def market_task(self) -> asyncio.Task[None]:
        """The task that moves the market; that it ends is a fault."""
        return self._tasks[0]

    def _reference(self, market: Market) -> Reference | None:
        options, spec = self.options, market.rules.spec
        recordings = options.recordings.get(market.symbol)
        if recordings:
            return RecordedMarket(recordings, market.rules)
        if options.market is MarketKind.EMPTY:
            return None
        return SeededMarket(spec, options.seed, still=options.market is MarketKind.STILL)

    async def __aenter__(self) -> Sandbox:
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _start(self) -> None:
        from aiohttp import web

        from mmctl.sandbox.control import Control

        if self.options.publish is not None:
            from mmctl.sandbox.publish import Publisher

            self._publisher = Publisher(self.options.publish, list(self.exchange.markets.values()))
        public, control = web.Application(), web.Application()
        Rest(self.api).add_to(public)
        for path, handler in (
            ("/ws-api/v3", self.ws_api.handle),
            ("/ws", self.streams.handle),
            ("/ws/{name:.+}", self.streams.handle),
            ("/stream", self.streams.handle),
        ):
            public.router.add_get(path, handler)
        Control(self).add_to(control)
        self.step()
        port = await self._listen(public, self.options.port)
        control_port = await self._listen(control, self.options.control_port)
        self.rest_url, self.control_url = f"http://{HOST}:{port}", f"http://{HOST}:{control_port}"
        self.ws_url, self.stream_url = f"ws://{HOST}:{port}/ws-api/v3", f"ws://{HOST}:{port}"
        jobs = (self._run(), self.ws_api.sockets.ping_forever(), self.streams.sockets.ping_forever())
        self._tasks = [asyncio.create_task(job) for job in jobs]

    async def _listen(self, app: web.Application, port: int) -> int:
        from aiohttp import web

        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        self._runners.append(runner)
        try:
            await web.TCPSite(runner, HOST, port).start()
        except OSError as error:
            raise UsageError(f"port {port} of {HOST}: {error.strerror}", "--port 0 takes free ports") from None
        return int(runner.addresses[0][1])

    async def _run(self) -> None:
        """Move the market ten times a second; where that was late, on the next full tenth again."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due += STEP_S
            now = loop.time()
            if due < now:
                due = now
            await asyncio.sleep(due - now)
            self.step()

    def step(self) -> None:
        """The next tenth of a second of the market and its streams."""
        self.exchange.clock_offset_ms = int(self.faults.now.clock_offset_ms)
        if not self.faults.now.maintenance:
            for others in self.others.values():
                others.step()
        self.streams.step()
        if self._publisher is not None:
            self._publisher.publish()

    async def close_connections(self) -> None:
        """Say that the server shuts down, and close every connection."""
        now = self.exchange.now_ms()
        await self.streams.goodbye(now)
        await self.ws_api.goodbye(now)

    async def close(self) -> None:
        """End everything. May be called twice."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await self.close_connections()
        while self._runners:
            await self._runners.pop().cleanup()
        if self._publisher is not None:
            await self._publisher.close()
            self._publisher = None
