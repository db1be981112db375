"""One kept connection to Binance's WebSocket API: many requests in flight, joined to their replies by id.

It reconnects by itself, with a pause that grows and has chance in it. A socket that lives and says nothing is asked for
the time; where no answer comes it is given up. What was written before a cut is *lost*: it may have arrived. A
connection whose server is about to go is *retired*: it takes no more, and what was written to it is still awaited.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable

from mmctl.errors import VenueError, VenueUnreachable
from mmctl.ports import Clock
from mmctl.venues.binance_clock import BinanceTimes
from mmctl.venues.binance_gate import RateGate
from mmctl.venues.binance_net import FrameSocket, Network
from mmctl.venues.binance_owed import WsRequest, linger, lose
from mmctl.venues.binance_rest import Lost
from mmctl.wire.binance import CONNECT_WEIGHT, TIME, Reply, UnknownShape, read_frame, ws_frame
from mmctl.wire.binance_sign import Params
from mmctl.wire.binance_urls import place_of

STEADY_S = 20.0
"""A connection that lasted so long was a good one: the next pause is a short one again."""


class WsLink:
    """A connection that is kept. ``greet`` runs on each new one before it counts as up; ``on_event`` takes what nobody
    asked for, ``on_up`` hears of each connection, ``on_down`` why one that was up ended (not of one that is retired).
    What the link itself sends is counted at ``gate``."""

    def __init__(
        self,
        url: str,
        network: Network,
        clock: Clock,
        times: BinanceTimes,
        gate: RateGate,
        *,
        on_event: Callable[[bytes], None],
        on_up: Callable[[], None] = lambda: None,
        on_down: Callable[[str], None] = lambda _: None,
        greet: Callable[[], Awaitable[None]] | None = None,
        lasts_s: float = math.inf,
    ) -> None:
        self._url = url
        self._network = network
        self._clock = clock
        self._times = times
        self._gate = gate
        self._on_event = on_event
        self._on_up = on_up
        self._on_down = on_down
        self._greet = greet
        self._lasts_s = lasts_s
        self.up = False
        self._settled = asyncio.Event()
        """Set once the first attempt came to something: up, or a fault."""
        self._fault: VenueError | None = None
        self._why = ""
        self._numbers = 0
        self._heard_s = 0.0
        self._queue: deque[WsRequest] = deque()
        self._queued = asyncio.Event()
        self._waiting: dict[str, WsRequest] = {}
        self._keeper: asyncio.Task[None] | None = None
        self._retiring = False
        self._retired: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Connect, and keep on doing so. Raises ``VenueError`` where the first attempt fails; others follow."""
        self._keeper = asyncio.create_task(self._keep())
        await self._settled.wait()
        if self._fault is not None:
            raise self._fault

    async def close(self) -> None:
        """Let go of the connection. Never raises; nobody is told of what was in flight."""
        self.up = False
        self._waiting.clear()
        self._queue.clear()
        tasks = [*self._retired, *([] if self._keeper is None else [self._keeper])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def send(self, method: str, params: Params, done: Callable[[Reply | Lost], None]) -> WsRequest:
        """Hand over a request at once; ``done`` gets its reply, or that it was lost. Only while ``up``."""
        self._numbers += 1
        request = WsRequest(str(self._numbers), "", done, self._waiting)
        request.frame = ws_frame(request.request_id, method, params)
        self._waiting[request.request_id] = request
        self._queue.append(request)
        self._queued.set()
        return request

    def forget(self, request: WsRequest) -> None:
        """Nobody waits for that reply any more; what was not written yet never will be."""
        request.among.pop(request.request_id, None)

    def retire(self, reason: str) -> None:
        """Make a new connection at once; this one takes no more, and brings what it still owes."""
        self.up, self._retiring = False, True
        self.drop(reason)

    def drop(self, reason: str) -> None:
        """Give this connection up and make a new one."""
        self._why = self._why or reason
        self._queued.set()

    async def ask(self, method: str, params: Params, timeout_s: float) -> Reply:
        """Send and wait. Raises ``VenueUnreachable``."""
        future: asyncio.Future[Reply | Lost] = asyncio.get_running_loop().create_future()
        request = self.send(method, params, lambda answer: None if future.done() else future.set_result(answer))
        try:
            async with asyncio.timeout(timeout_s):
                answer = await future
        except TimeoutError:
            raise VenueUnreachable(f"{place_of(self._url)} did not answer {method} in {timeout_s:g} s") from None
        finally:
            self.forget(request)
        if isinstance(answer, Lost):
            raise VenueUnreachable(answer.reason, answer.hint)
        self._gate.heed(answer)
        return answer

    async def _keep(self) -> None:
        pause_s = self._times.reconnect_first_s
        while True:
            while wait_s := self._gate.wait_s(CONNECT_WEIGHT):
                await self._clock.sleep(wait_s)
            began_s = self._clock.monotonic()
            self._fault = None
            try:
                reason = await self._live()
            except VenueError as error:
                self._fault, reason = error, str(error)
            except Exception as error:  # noqa: BLE001 - saves the connection: a fault of ours in one must not end all
                reason = f"a fault in mmctl: {type(error).__name__}: {error}"
                self._fault = VenueUnreachable(reason)
            self._ended(reason)
            if self._clock.monotonic() - began_s > STEADY_S:
                pause_s = self._times.reconnect_first_s
                if self._retiring:
                    continue
            await self._clock.sleep(pause_s * self._network.dice.uniform(0.5, 1.0))
            pause_s = min(2 * pause_s, self._times.reconnect_most_s)

    def _ended(self, reason: str) -> None:
        """The connection is over: everything in flight is lost, and those who care are told."""
        was_up, self.up = self.up, False
        self._queue.clear()
        waiting, self._waiting = self._waiting, {}
        lose(waiting, reason)
        if was_up:
            self._on_down(reason)
        if self._fault is None and not was_up:
            self._fault = VenueUnreachable(reason)
        self._settled.set()

    async def _live(self) -> str:
        """One connection from its start to its end; says why it ended. Raises ``VenueError`` where none came about."""
        self._retiring = False
        ws = await self._connect()
        self._why = ""
        self._heard_s = self._clock.monotonic()
        reading = asyncio.create_task(self._read(ws, self._waiting))
        tasks = [reading, *(asyncio.create_task(part) for part in (self._write(ws), self._watch()))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._retiring and not reading.done():
                tasks.remove(reading)
                self._let_linger(ws, reading)
                return self._why
            return next(task for task in tasks if task.done()).result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if reading in tasks:
                await ws.close()

    def _let_linger(self, ws: FrameSocket, reading: asyncio.Task[str]) -> None:
        """Leave a connection to itself with what was written to it; what was not is nobody's yet."""
        waiting, self._waiting = self._waiting, {}
        for request in [one for one in waiting.values() if not one.handed]:
            del waiting[request.request_id]
            self._waiting[request.request_id], request.among = request, self._waiting
        task = asyncio.create_task(linger(ws, reading, waiting, self._clock, self._times.landing_time_s))
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)

    async def _connect(self) -> FrameSocket:
        self._gate.spend(CONNECT_WEIGHT)
        try:
            return await self._network.connect()
        except Lost as lost:
            if lost.reply is not None:
                self._gate.heed(lost.reply)
            raise VenueUnreachable(lost.reason, lost.hint) from None

    async def _read(self, ws: FrameSocket, waiting: dict[str, WsRequest]) -> str:
        while (data := await ws.receive_frame()) is not None:
            retired = waiting is not self._waiting
            if not retired:
                self._heard_s = self._clock.monotonic()
            try:
                frame = read_frame(data)
            except UnknownShape:
                return f"{place_of(self._url)} sent a frame of an unknown shape"
            if frame.reply is None:
                if not retired:
                    self._on_event(frame.event)
            elif frame.request_id is None:
                self._gate.heed(frame.reply)  # about the connection itself
            elif (request := waiting.pop(frame.request_id, None)) is not None:
                request.done(frame.reply)
        return self._why or f"{place_of(self._url)} closed the connection ({ws.close_code})"

    async def _write(self, ws: FrameSocket) -> str:
        while True:
            await self._queued.wait()
            self._queued.clear()
            if self._why:
                return self._why
            while self._queue:
                request = self._queue.popleft()
                if request.request_id not in request.among:
                    continue
                request.handed = True
                try:
                    await ws.send_str(request.frame)
                except (ConnectionError, RuntimeError):
                    return f"the connection to {place_of(self._url)} broke"

    async def _watch(self) -> str:
        """Greet, then ask for the time whenever the socket has been quiet for a while, until it is ``lasts_s`` old."""
        if self._greet is not None:
            await self._greet()
        self.up = True
        self._settled.set()
        self._on_up()
        old_s = self._clock.monotonic() + self._lasts_s
        while True:
            if self._clock.monotonic() >= old_s:
                self.retire("a connection is left before the venue ends it")
                return self._why
            quiet_s = self._clock.monotonic() - self._heard_s
            if quiet_s < self._times.quiet_s:
                await self._clock.sleep(self._times.quiet_s - quiet_s)
                continue
            if wait_s := self._gate.wait_s(TIME.weight):
                await self._clock.sleep(wait_s)
                continue
            self._gate.spend(TIME.weight)
            try:
                await self.ask(TIME.method, {}, self._times.probe_s)
            except VenueUnreachable:
                return f"the socket to {place_of(self._url)} lives but says nothing"
