"""REST: the same methods as the WebSocket API, under Binance's paths, with its headers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import msgspec

from mmctl.sandbox.accounts import Account
from mmctl.sandbox.api import Api, Method
from mmctl.sandbox.auth import payload_of_request
from mmctl.sandbox.faults import Fate
from mmctl.sandbox.methods import METHODS, ROUTES
from mmctl.sandbox.refusals import Refusal, in_maintenance
from mmctl.sandbox.ws_api import suffer

if TYPE_CHECKING:
    from aiohttp import web

_encode = msgspec.json.Encoder().encode


class Rest:
    """The REST interface."""

    def __init__(self, api: Api) -> None:
        self.api = api

    def add_to(self, app: web.Application) -> None:
        """Add every path."""
        for verb, path in ROUTES:
            # HEAD is no verb of this interface, and aiohttp would add it to each GET.
            if verb == "GET":
                app.router.add_get(path, self.handle, allow_head=False)
            else:
                app.router.add_route(verb, path, self.handle)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, or not, as its fate says."""
        from aiohttp import web

        method = METHODS[ROUTES[request.method, request.path]]
        _, _, query = request.raw_path.partition("?")
        body = "" if request.method == "GET" else await request.text()
        fate = self.api.faults.fate()
        if fate.drop_before or fate.lose_request:
            return _cut(request)
        if fate.delay_s:
            await asyncio.sleep(fate.delay_s)
        status, content, headers = self.answer(method, request.headers.get("X-MBX-APIKEY"), query, body, fate)
        if fate.drop_after or fate.lose_reply:
            return _cut(request)
        if fate.latency_s:
            await asyncio.sleep(fate.latency_s)
        return web.Response(status=status, body=_encode(content), headers=headers, content_type="application/json")

    def answer(
        self, method: Method, key: str | None, query: str, body: str, fate: Fate
    ) -> tuple[int, object, Mapping[str, str]]:
        """Do what is asked, unless its fate says otherwise: status, content and headers of the reply."""
        api = self.api
        placer: Account | None = None
        try:
            if api.faults.now.maintenance:
                raise in_maintenance()
            suffer(api, fate)
            params = _params(query, body)
            result, placer = api.call(method, key, params, payload_of_request(query, body))
            if fate.answered is not None:
                raise fate.answered
        except Refusal as refusal:
            now = api.exchange.now_ms()
            headers = dict(api.limits.headers(None, now))
            if refusal.retry_after_ms is not None:
                headers["Retry-After"] = str(max(0, -((now - refusal.retry_after_ms) // 1000)))
            return refusal.status, {"code": refusal.code, "msg": refusal.message}, headers
        return 200, result, api.limits.headers(placer, api.exchange.now_ms())


def _params(query: str, body: str) -> dict[str, object]:
    """All parameters; one in the query wins over the same in the body. Raises ``Refusal`` for one sent twice."""
    both: dict[str, object] = {}
    for text in (body, query):
        pairs = _pairs(text)
        if len({name for name, _ in pairs}) < len(pairs):
            raise Refusal(-1101, "Duplicate values for a parameter detected.")
        both.update(pairs)
    return both


def _pairs(text: str) -> list[tuple[str, str]]:
    """As ``parse_qsl``, which is slow, and needed only where something is escaped."""
    if "%" in text or "+" in text:
        return parse_qsl(text, keep_blank_values=True)
    return [(name, value) for name, _, value in (part.partition("=") for part in text.split("&") if part)]


def _cut(request: web.Request) -> web.StreamResponse:
    """No reply: the connection is cut."""
    from aiohttp import web

    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)
