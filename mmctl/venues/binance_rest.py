"""Binance's REST: one request, one reply, each with a deadline. Nothing here asks twice.

An address with its query holds a signature, so no exception of the HTTP client is ever shown or chained.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from mmctl.venues.binance_clock import BinanceTimes, ServerClock
from mmctl.wire.binance import Call, Reply, read_fault
from mmctl.wire.binance_limits import told_by_headers
from mmctl.wire.binance_sign import Signer
from mmctl.wire.binance_urls import place_of

if TYPE_CHECKING:
    import aiohttp

CONNECTIONS = 100
"""At most so many requests at a time; HTTP has one on each connection."""


class Lost(Exception):
    """No reply. ``handed`` says whether the request may have reached the venue.

    ``reply`` is what a venue said instead of letting a connection come about, where it said something.
    """

    def __init__(self, reason: str, *, handed: bool, hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.handed = handed
        self.hint = hint
        self.reply: Reply | None = None


class Rest(Protocol):
    """Whatever carries one request to the venue's REST address."""

    async def ask(self, call: Call, query: str, timeout_s: float) -> Reply:
        """The reply to ``call`` with the query as it is, signed or not. Raises ``Lost``."""


def read_reply(status: int, body: bytes, headers: Mapping[str, str], now_ms: int) -> Reply:
    """A reply of REST with its counters; ``now_ms`` is the venue's time, from which ``Retry-After`` counts."""
    told = told_by_headers(headers)
    if status == 200:
        return Reply(status, body, None, told)
    wait = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
    retry_after_ms = now_ms + int(wait) * 1000 if wait.isdecimal() else None
    return Reply(status, b"", read_fault(body), told, retry_after_ms, now_ms)


def new_session() -> aiohttp.ClientSession:
    """A session for REST and WebSocket alike: certificates verified, no proxies, no cookies."""
    import aiohttp

    connector = aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=60)
    session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)
    # Or it would send a GET or DELETE again by itself where a kept connection breaks; there is no public way to say so.
    session._retry_connection = False
    return session


def connect_fault(error: Exception, url: str) -> Lost:
    """Why no connection came about, in words that hold no address beyond its host."""
    import aiohttp

    place = place_of(url)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        hint = "check the address and this machine's clock; never turn the check off"
        return Lost(f"the certificate of {place} does not verify", handed=False, hint=hint)
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return Lost(f"{place} does not speak TLS", handed=False, hint="check the address")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Lost(f"the name of {place} is not known", handed=False, hint="check the address and the network")
    if isinstance(error, aiohttp.ClientConnectorError):
        why = error.os_error.strerror or type(error.os_error).__name__
        return Lost(f"{place} cannot be reached: {why}", handed=False, hint="check the address and the network")
    if isinstance(error, aiohttp.WSServerHandshakeError):
        return Lost(f"{place} refused a WebSocket: status {error.status}", handed=False, hint="check the address")
    if isinstance(error, TimeoutError):
        return Lost(f"{place} did not answer in time", handed=not isinstance(error, aiohttp.ConnectionTimeoutError))
    return Lost(f"the connection to {place} broke ({type(error).__name__})", handed=True)


class RestLink:
    """REST of one address with one key."""

    def __init__(self, url: str, signer: Signer, times: BinanceTimes, server: ServerClock) -> None:
        self._url = url
        self._signer = signer
        self._times = times
        self._server = server
        self.session: aiohttp.ClientSession | None = None

    async def ask(self, call: Call, query: str, timeout_s: float) -> Reply:
        """The reply to ``call`` with the query as it is, signed or not. Raises ``Lost``."""
        import aiohttp
        from yarl import URL

        if self.session is None:
            raise Lost("the venue is closed", handed=False)
        in_body = call.verb == "POST"
        url = URL(f"{self._url}{call.path}{'' if in_body or not query else '?' + query}", encoded=True)
        headers = {"X-MBX-APIKEY": self._signer.key} if call.signed else {}
        if in_body:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=self._times.connect_timeout_s)
        try:
            async with self.session.request(
                call.verb,
                url,
                data=query.encode() if in_body else None,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                body = await response.read()
                return read_reply(response.status, body, response.headers, self._server.now_ms())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise connect_fault(error, self._url) from None
        except asyncio.CancelledError:
            raise
        except RuntimeError:
            # The session was closed while a request waited for a connection.
            raise Lost("the venue is closed", handed=True) from None
