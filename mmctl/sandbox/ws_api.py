"""The WebSocket API: requests as JSON frames, answered by their id, and user events on the same connection."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec

from mmctl.sandbox.accounts import Account
from mmctl.sandbox.api import Api, Method
from mmctl.sandbox.auth import account_of, payload_of_params
from mmctl.sandbox.faults import WELL, Fate
from mmctl.sandbox.methods import METHODS
from mmctl.sandbox.refusals import Refusal, in_maintenance, unknown_method
from mmctl.sandbox.sockets import CLOSE_S, Socket, Sockets

if TYPE_CHECKING:
    from aiohttp import web

CONNECT_WEIGHT = 2
MAX_SUBSCRIPTIONS = 1000
HELD_S = 0.5
"""How long an event is held back at most, to be sent after the next one."""

Json = dict[str, Any]


class Asked(msgspec.Struct):
    """A request frame."""

    method: str
    id: int | str | None = None
    params: dict[str, Any] = {}


_decoder = msgspec.json.Decoder(Asked, float_hook=str)
_encode = msgspec.json.Encoder().encode


class WsApi:
    """All connections to the WebSocket API."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.sockets = Sockets()
        self._following: dict[str, dict[Connection, None]] = {}
        """By account, the connections that follow it, the oldest first."""
        api.exchange.teller.on_user_event = self._on_user_event

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one connection until it ends."""
        from aiohttp import web

        if self.api.faults.now.maintenance:
            return web.Response(status=503)
        ws = web.WebSocketResponse(timeout=CLOSE_S, compress=False, autoping=False)
        await ws.prepare(request)
        connection = Connection(self, Socket(request, ws, self.api.faults), request.query.get("returnRateLimits"))
        self.sockets.add(connection.socket)
        try:
            await connection.serve()
        finally:
            self.sockets.open.discard(connection.socket)
            connection.forget(list(connection.subscriptions))
            await connection.socket.over()
        return ws

    async def goodbye(self, now_ms: int) -> None:
        """The server is about to shut down: say so and close."""
        message = _goodbye(now_ms)
        await asyncio.gather(*(socket.goodbye(message) for socket in self.sockets.open))

    def announce(self, now_ms: int, after_s: float) -> int:
        """Tell each connection that is there now that it will end, and cut it ``after_s`` later; returns how many."""
        told = list(self.sockets.open)
        for socket in told:
            socket.interject(_goodbye(now_ms))
            asyncio.get_running_loop().call_later(after_s, socket.cut)
        return len(told)

    def follow(self, connection: Connection, account: Account) -> None:
        self._following.setdefault(account.name, {})[connection] = None
        account.watchers += 1

    def unfollow(self, connection: Connection, account: Account) -> None:
        self._following[account.name].pop(connection, None)
        account.watchers -= 1

    def _on_user_event(self, account: Account, event: Json) -> None:
        for connection in list(self._following.get(account.name, ())):
            connection.tell(account, event)


class Connection:
    """One connection: its subscriptions, and the requests that came over it."""

    def __init__(self, owner: WsApi, socket: Socket, return_limits: str | None) -> None:
        self.socket = socket
        self.subscriptions: dict[int, Account] = {}
        self._owner, self._api = owner, owner.api
        self._shows_limits = return_limits != "false"
        self._next_subscription = 0
        self._held: bytes | None = None

    async def serve(self) -> None:
        from aiohttp import WSMsgType

        socket, ws = self.socket, self.socket.ws
        try:
            self._api.limits.use(CONNECT_WEIGHT, self._api.exchange.now_ms(), "connect")
        except Refusal as refusal:
            socket.push(self._refused(None, refusal, None, shows_limits=True))
            await socket.flush()
            await ws.close(code=1008)
            return
        async for message in ws:
            if message.type is WSMsgType.TEXT:
                self._take(message.data)
                await socket.flush()
            elif message.type is WSMsgType.PING:
                await ws.pong(message.data)
            elif message.type is WSMsgType.PONG:
                socket.last_pong = time.monotonic()

    def _take(self, text: str) -> None:
        """One frame: answer it now, or later, or never, as its fate says."""
        asked = self.read(text)
        if asked is None:
            return
        fate = self._api.faults.fate()
        if fate is WELL:
            self.socket.push(self.answer(asked, fate))
        elif fate.drop_before:
            self.socket.cut()
        elif fate.lose_request:
            return
        elif fate.delay_s:
            asyncio.get_running_loop().call_later(fate.delay_s, self._take_late, asked, fate)
        else:
            self._take_late(asked, fate)

    def read(self, text: str) -> Asked | None:
        """A request frame; one that cannot be read is refused at once."""
        try:
            return _decoder.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.socket.push(self._refused(None, Refusal(-1135, "Invalid JSON Request"), None, shows_limits=False))
            return None

    def _take_late(self, asked: Asked, fate: Fate) -> None:
        answer = self.answer(asked, fate)
        if fate.drop_after:
            self.socket.cut()
        elif not fate.lose_reply:
            self.socket.push(answer, fate.latency_s)

    def answer(self, asked: Asked, fate: Fate) -> bytes:
        """Do what is asked, unless its fate says otherwise, and make the reply's frame."""
        params = asked.params
        shown = params.get("returnRateLimits")
        shows_limits = self._shows_limits if shown is None else shown in (True, "true")
        api = self._api
        try:
            method = METHODS.get(asked.method.removeprefix("v3/"))
            if api.faults.now.maintenance:
                raise in_maintenance()
            if method is None:
                raise unknown_method()
            suffer(api, fate)
            payload = payload_of_params(params) if method.security != "NONE" else ""
            result, placer = api.call(method, params.get("apiKey"), params, payload)
            result = self._on_connection(method, params, result)
            if fate.answered is not None:
                raise fate.answered
        except Refusal as refusal:
            return self._refused(asked.id, refusal, None, shows_limits=shows_limits)
        reply: Json = {"id": asked.id, "status": 200, "result": result}
        if shows_limits:
            reply["rateLimits"] = api.limits.shown(placer, api.exchange.now_ms())
        return _encode(reply)

    def _refused(self, id_: object, refusal: Refusal, placer: Account | None, *, shows_limits: bool) -> bytes:
        error: Json = {"code": refusal.code, "msg": refusal.message}
        now = self._api.exchange.now_ms()
        if refusal.retry_after_ms is not None:
            error["data"] = {"serverTime": now, "retryAfter": refusal.retry_after_ms}
        reply: Json = {"id": id_, "status": refusal.status, "error": error}
        if shows_limits:
            reply["rateLimits"] = self._api.limits.shown(placer, now)
        return _encode(reply)

    # The user stream

    def _on_connection(self, method: Method, params: Json, result: object) -> object:
        """What a method does with this connection."""
        if method.name == "userDataStream.subscribe.signature":
            account = account_of(self._api.exchange.by_key, params.get("apiKey"))
            return {"subscriptionId": self._subscribe(account)}
        if method.name == "userDataStream.unsubscribe":
            wanted = params.get("subscriptionId")
            known = list(self.subscriptions)
            if not known or (wanted is not None and wanted not in known):
                raise Refusal(-2036, "User Data Stream subscription not active.")
            self.forget(known if wanted is None else [wanted], told=True)
            return {}
        if method.name == "session.subscriptions":
            return [{"subscriptionId": number} for number in self.subscriptions]
        if method.name == "session.status":
            now = self._api.exchange.now_ms()
            return {
                "apiKey": None,
                "authorizedSince": None,
                "connectedSince": now,
                "returnRateLimits": self._shows_limits,
                "serverTime": now,
                "userDataStream": bool(self.subscriptions),
            }
        return result

    def _subscribe(self, account: Account) -> int:
        if account in self.subscriptions.values():
            raise Refusal(-2035, "User Data Stream subscription already active.")
        if len(self.subscriptions) >= MAX_SUBSCRIPTIONS:
            raise Refusal(-2042, "Maximum subscription ID reached for this connection.")
        number = self._next_subscription
        self._next_subscription += 1
        self.subscriptions[number] = account
        self._owner.follow(self, account)
        return number

    def forget(self, numbers: list[int], *, told: bool = False) -> None:
        """End subscriptions."""
        for number in numbers:
            self._owner.unfollow(self, self.subscriptions.pop(number))
            if told:
                event = {"e": "eventStreamTerminated", "E": self._api.exchange.now_ms()}
                self.socket.push(_encode({"subscriptionId": number, "event": event}))

    def tell(self, account: Account, event: Json) -> None:
        """A user event, through the faults that events have."""
        if self.socket.stalled:
            return
        message = self.frame(account, event)
        faults = self._api.faults
        latency = faults.latency_s()
        if self._held is None and faults.strikes("event_reordered"):
            self._held = message
            asyncio.get_running_loop().call_later(HELD_S, self._release)
            return
        self.socket.push(message, latency)
        if faults.strikes("event_repeated"):
            self.socket.push(message, latency)
        self._release()

    def frame(self, account: Account, event: Json) -> bytes:
        """The frame of a user event."""
        number = next(number for number, one in self.subscriptions.items() if one is account)
        return _encode({"subscriptionId": number, "event": event})

    def _release(self) -> None:
        if self._held is not None:
            self.socket.push(self._held)
            self._held = None


def _goodbye(now_ms: int) -> bytes:
    return _encode({"event": {"e": "serverShutdown", "E": now_ms}})


def suffer(api: Api, fate: Fate) -> None:
    """What a fate says instead of doing what was asked. Raises ``Refusal``."""
    if fate.block:
        now = api.exchange.now_ms()
        raise api.limits.block(fate.block, now + int(api.faults.now.retry_after_s * 1000))
    if fate.refused is not None:
        raise fate.refused
