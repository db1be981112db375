"""The network of a drill: each process's ways to the venue, which lose, delay, repeat and reorder what they carry.

The venue's side is the sandbox's own: a REST request and a WebSocket frame are answered by the code that answers them
on a real socket. Bytes are what passes between the two.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Protocol

import msgspec

from mmctl.core.order import CancelOrder
from mmctl.drill.timeline import Process, Timeline
from mmctl.drill.weather import CALM, Weather
from mmctl.sandbox.accounts import Account
from mmctl.sandbox.api import Api
from mmctl.sandbox.faults import WELL, Fate
from mmctl.sandbox.methods import METHODS, ROUTES
from mmctl.sandbox.refusals import Refusal, internal_error, timed_out
from mmctl.sandbox.rest import Rest as RestApi
from mmctl.sandbox.ws_api import CONNECT_WEIGHT, Asked, Connection, WsApi
from mmctl.venues.binance_clock import BinanceTimes, ServerClock
from mmctl.venues.binance_rest import Lost, Rest, read_reply
from mmctl.wire.binance import Call, Reply
from mmctl.wire.binance_sign import Signer
from mmctl.wire.binance_urls import BinanceUrls

EVENT_HELD_S = 0.5
"""How long a user event that is overtaken is held back at most."""

_encode = msgspec.json.Encoder().encode
Json = dict[str, object]


class Witness(Protocol):
    """Who watches what leaves a process and what reaches it."""

    def leaving(self, host: Host, method: str, params: Mapping[str, object]) -> None:
        """A request leaves now."""

    def asked_to_cancel(self, host: Host, client_ids: Sequence[str]) -> None:
        """A process has given its venue these cancels; they leave now, or as soon as they may."""

    def arrived(self, method: str, params: Mapping[str, object]) -> None:
        """The venue has answered a request."""

    def told_to_wait(self, host: Host, wait_s: float, *, placing: bool) -> None:
        """A reply that asks for quiet (of placements alone: ``placing``) has reached the process."""

    def count(self, what: str) -> None:
        """Something went wrong on the way, as it was meant to."""

    def trace(self, line: str) -> None:
        """Something happened."""


class Air:
    """What all connections go through. ``weather`` may change at any time; ``silent_until_s`` is a stall of all."""

    def __init__(self, timeline: Timeline, api: Api, witness: Witness, dice: random.Random) -> None:
        self.timeline, self.api, self.witness, self.dice = timeline, api, witness, dice
        self.weather: Weather = CALM
        self.rest_api, self.ws_api = RestApi(api), WsApi(api)
        self.silent_until_s = 0.0
        self.wires: list[Wire] = []

    def latency_s(self) -> float:
        weather = self.weather
        return weather.latency_s + weather.jitter_s * self.dice.random()

    def strikes(self, name: str) -> bool:
        """Whether this trouble of the weather strikes now."""
        rate = getattr(self.weather, name)
        if not rate or self.dice.random() >= rate:
            return False
        self.witness.count(name)
        return True

    def late_s(self, name: str) -> float:
        """How much later than usual something comes."""
        return self.weather.delay_s * self.dice.random() if self.strikes(name) else 0.0

    def fate(self) -> Fate:
        """What the venue does with a request that arrives."""
        if not self.strikes("unavailable"):
            return WELL
        return Fate(refused=internal_error()) if self.dice.random() < 0.5 else Fate(answered=timed_out())

    @property
    def silent(self) -> bool:
        return self.timeline.now_s < self.silent_until_s


class Host:
    """One process's network: an address, and the connections that it has."""

    def __init__(self, air: Air, process: Process, dice: random.Random) -> None:
        self.air, self.process, self.dice = air, process, dice
        self.before_leaving: Callable[[], None] = lambda: None
        """What happens the moment before something leaves; it may kill the process."""

    def network(self, urls: BinanceUrls, signer: Signer, times: BinanceTimes, server: ServerClock) -> DrillNetwork:
        """A ``NetworkChoice`` of the venue's adapter."""
        return DrillNetwork(self, signer, times, server)

    def stop_link(self, url: str, signer: Signer, server: ServerClock) -> RestWay:
        """What carries the requests of a stop."""
        return RestWay(self, signer, server, 5.0)

    def leaves(self, method: str, params: Mapping[str, object]) -> bool:
        """Note a request that leaves; whether it really does: a dead process sends nothing."""
        self.before_leaving()
        if not self.process.alive:
            return False
        self.air.witness.leaving(self, method, params)
        return True

    def asked_to_cancel(self, cancels: Sequence[CancelOrder]) -> None:
        """Note cancels that the process gives to its venue."""
        if cancels and self.process.alive:
            self.air.witness.asked_to_cancel(self, [one.client_id for one in cancels])

    def hear(self, reply: Reply) -> None:
        """Note a reply that has reached the process."""
        if reply.status in (418, 429) and reply.retry_after_ms is not None and reply.at_ms is not None:
            code = reply.fault.code if reply.fault else 0
            wait_s = max(0, reply.retry_after_ms - reply.at_ms) / 1000
            self.air.witness.told_to_wait(self, wait_s, placing=code == -1015)


class RestWay:
    """REST as its adapter sees it; see ``Rest``."""

    def __init__(self, host: Host, signer: Signer, server: ServerClock, most_s: float = 1000.0) -> None:
        self._host, self._signer, self._server, self._most_s = host, signer, server, most_s

    async def ask(self, call: Call, query: str, timeout_s: float) -> Reply:
        """The reply, or ``Lost``."""
        host, air = self._host, self._host.air
        future: asyncio.Future[Reply | Lost] = asyncio.get_running_loop().create_future()
        params = _Query(query)
        if host.leaves(call.method, params):
            air.witness.trace(f"{host.process.name} > {call.verb} {call.path} {params.get('origClientOrderId')}")
            key = self._signer.key if call.signed else None
            self._go(call, key, query, future)
        late = Lost("the venue did not answer in time", handed=True)
        timer = host.process.loop.call_later(min(timeout_s, self._most_s), _settle, future, late)
        try:
            answer = await future
        finally:
            timer.cancel()
        if isinstance(answer, Lost):
            raise answer
        host.hear(answer)
        return answer

    def close(self) -> None:
        """There is nothing to let go of."""

    def _go(self, call: Call, key: str | None, query: str, future: asyncio.Future[Reply | Lost]) -> None:
        air = self._host.air
        if air.silent or air.strikes("request_lost"):
            return
        if air.strikes("cut"):
            before = air.dice.random() < 0.5
            lost = Lost("the connection broke", handed=True)
            if before:
                air.timeline.after(air.latency_s(), partial(self._come, future, lost))
                return
            air.timeline.after(air.latency_s(), partial(self._arrive, call, key, query, future, lost))
            return
        air.timeline.after(
            air.latency_s() + air.late_s("delayed"), partial(self._arrive, call, key, query, future, None)
        )

    def _arrive(
        self, call: Call, key: str | None, query: str, future: asyncio.Future[Reply | Lost], lost: Lost | None
    ) -> None:
        air = self._host.air
        method = METHODS[ROUTES[call.verb, call.path]]
        in_query, body = ("", query) if call.verb == "POST" else (query, "")
        status, content, headers = air.rest_api.answer(method, key, in_query, body, air.fate())
        air.witness.trace(f"venue {method.name} {status}")
        air.witness.arrived(method.name, _Query(query))
        if lost is not None:
            air.timeline.after(air.latency_s(), partial(self._come, future, lost))
            return
        if air.silent or air.strikes("reply_lost"):
            return
        encoded = _encode(content)
        due_s = air.latency_s() + air.late_s("reply_late")
        air.timeline.after(due_s, partial(self._come, future, (status, encoded, headers)))

    def _come(self, future: asyncio.Future[Reply | Lost], answer: Lost | tuple[int, bytes, Mapping[str, str]]) -> None:
        def settle() -> None:
            if isinstance(answer, Lost):
                _settle(future, answer)
            elif not future.done():
                status, body, headers = answer
                future.set_result(read_reply(status, body, headers, self._server.now_ms()))

        self._host.process.call(settle)


def _settle(future: asyncio.Future[Reply | Lost], answer: Lost) -> None:
    if not future.done():
        future.set_result(answer)


class _Query(Mapping[str, object]):
    """The parameters of a query string, read where they are asked for."""

    def __init__(self, query: str) -> None:
        self._query = query

    @cached_property
    def _pairs(self) -> dict[str, object]:
        pairs = (part.partition("=") for part in self._query.split("&") if part)
        return {name: value for name, _, value in pairs}

    def __getitem__(self, name: str) -> object:
        return self._pairs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)


class DrillNetwork:
    """The ``Network`` of a process that quotes."""

    def __init__(self, host: Host, signer: Signer, times: BinanceTimes, server: ServerClock) -> None:
        self._host, self._times = host, times
        self.rest: Rest = RestWay(host, signer, server)
        self.dice = host.dice
        self.is_open = False

    def open(self) -> None:
        self.is_open = True

    async def connect(self) -> Wire:
        """A connection to the WebSocket API. Raises ``Lost``."""
        host, air = self._host, self._host.air
        if not host.leaves("connect", {}):
            raise Lost("the process is dead", handed=False)
        failed = air.silent or air.strikes("connect_failed") or bool(air.api.faults.now.maintenance)
        await asyncio.sleep(self._times.connect_timeout_s if air.silent else air.latency_s())
        if failed:
            raise Lost("the venue cannot be reached", handed=False)
        return Wire(host)

    async def close(self) -> None:
        self.is_open = False


class Wire:
    """One WebSocket, both of its ends. It is the sandbox connection's socket, and the adapter's ``FrameSocket``."""

    def __init__(self, host: Host) -> None:
        self._host, self._air = host, host.air
        self.close_code: int | None = None
        self._up = True
        self._inbox: deque[bytes | None] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._held: bytes | None = None
        self._last_event_s = 0.0
        self._mute_until_s = 0.0
        self._far = _FarEnd(self, self._air.ws_api)
        self._air.wires.append(self)
        api = self._air.api
        try:
            api.limits.use(CONNECT_WEIGHT, api.exchange.now_ms())
        except Refusal as refusal:
            self.push(self._far.refused(refusal))
            self._air.timeline.after(self._air.latency_s(), self.cut)

    @property
    def process(self) -> Process:
        return self._host.process

    # The adapter's end

    async def send_str(self, frame: str) -> None:
        if not self._up:
            raise ConnectionError("the wire is cut")
        asked = self._far.read(frame)
        if asked is None:
            return
        host, air = self._host, self._air
        if not host.leaves(asked.method, asked.params):
            return
        air.witness.trace(f"{host.process.name} > {asked.method} {_shown(asked)}")
        if air.silent or self.mute or air.strikes("request_lost"):
            return
        if air.strikes("cut"):
            if air.dice.random() < 0.5:
                air.timeline.after(air.latency_s(), partial(self._arrive, asked, "then cut"))
            else:
                self.cut()
            return
        air.timeline.after(air.latency_s() + air.late_s("delayed"), partial(self._arrive, asked, ""))

    async def receive_frame(self) -> bytes | None:
        while not self._inbox:
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        frame = self._inbox.popleft()
        if frame is not None and b'"status":4' in frame[:40]:
            self._hear(frame)
        return frame

    async def close(self) -> None:
        self._gone()

    def _hear(self, frame: bytes) -> None:
        from mmctl.wire.binance import read_frame

        reply = read_frame(frame).reply
        if reply is not None:
            self._host.hear(reply)

    # The venue's end

    @property
    def mute(self) -> bool:
        """The socket lives, and nothing comes through."""
        return self._air.timeline.now_s < self._mute_until_s

    def stall(self, seconds: float) -> None:
        self._mute_until_s = self._air.timeline.now_s + seconds

    @property
    def stalled(self) -> bool:
        """As the sandbox asks it of a socket."""
        return self.mute or self._air.silent

    def _arrive(self, asked: Asked, then: str) -> None:
        air = self._air
        if not self._up:
            return
        answer = self._far.answer(asked, air.fate())
        air.witness.arrived(asked.method, asked.params)
        air.witness.trace(f"venue {asked.method} {answer[:32].decode()}")
        if then:
            self.cut()
        elif not (air.silent or self.mute or air.strikes("reply_lost")):
            late_s = air.late_s("reply_late")
            self.push(answer, air.latency_s() + late_s)
            if air.strikes("reply_repeated"):
                self.push(answer, air.latency_s() + late_s)

    def push(self, message: bytes, latency_s: float = 0.0) -> None:
        """Send a frame to the process."""
        self._air.timeline.after(latency_s, partial(self._deliver, message))

    def tell(self, message: bytes) -> None:
        """A user event, which may be lost, repeated or overtaken."""
        air = self._air
        if air.strikes("event_lost"):
            return
        if self._held is None and air.strikes("event_reordered"):
            self._held = message
            air.timeline.after(EVENT_HELD_S, self._release)
            return
        # Events keep their order on a socket, whatever each one's latency.
        due_s = max(self._last_event_s, air.timeline.now_s + air.latency_s())
        self._last_event_s = due_s
        air.timeline.at(due_s, partial(self._deliver, message))
        if air.strikes("event_repeated"):
            air.timeline.at(due_s, partial(self._deliver, message))
        self._release()

    def _release(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            self._last_event_s = max(self._last_event_s, self._air.timeline.now_s)
            self._air.timeline.at(self._last_event_s, partial(self._deliver, held))

    def cut(self) -> None:
        """The connection breaks; the process learns of it after a moment."""
        if self._up:
            self._gone()
            self._air.timeline.after(self._air.latency_s(), partial(self._deliver, None))

    def _gone(self) -> None:
        if self._up:
            self._up = False
            self._far.forget(list(self._far.subscriptions))
            self._air.wires.remove(self)

    def _deliver(self, message: bytes | None) -> None:
        if message is None or self._up:
            self._host.process.call(self._take, message)

    def _take(self, message: bytes | None) -> None:
        self._inbox.append(message)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


class _FarEnd(Connection):
    """The sandbox's own connection on a wire."""

    def __init__(self, wire: Wire, api: WsApi) -> None:
        super().__init__(api, wire, None)  # type: ignore[arg-type]
        self._wire = wire

    def refused(self, refusal: Refusal) -> bytes:
        return self._refused(None, refusal, None, shows_limits=True)

    def tell(self, account: Account, event: Json) -> None:
        if not self._wire.stalled:
            self._wire.tell(self.frame(account, event))


def _shown(asked: Asked) -> str:
    params = asked.params
    return f"{params.get('newClientOrderId', '')} {params.get('price', '')} {params.get('quantity', '')}"
