"""Binance's REST without an HTTP library: for a stop, which must be there before one could be imported.

HTTP/1.1 on asyncio's streams, as much of it as the venue speaks: kept connections, one request on each at a time,
nothing compressed, no redirects, nothing ever asked twice. An address with its query holds a signature, so no exception
from below is shown or chained.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from socket import gaierror
from urllib.parse import urlsplit

from mmctl.errors import UsageError
from mmctl.venues.binance_clock import ServerClock
from mmctl.venues.binance_rest import Lost, read_reply
from mmctl.wire.binance import Call, Reply
from mmctl.wire.binance_sign import Signer
from mmctl.wire.binance_urls import checked_url, place_of

CHANGES_AT_ONCE = 32
"""Connections for cancels: 500 of them end in sixteen round trips. Reads go besides, and wait for none."""

LONGEST_WAIT_S = 5.0
"""How long a request may take, whatever it was given: a stop that waits for a dead connection stops nothing."""

KEPT_S = 15.0
"""For how long an idle connection is trusted; the venue closes them later than that."""

MAX_BODY = 64 << 20
MAX_HEADERS = 200
SCHEMES = ("https", "http")


class NotHttp(Exception):
    """What came is no answer of HTTP that we know."""


@dataclass(slots=True, eq=False)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    idle_from_s: float = 0.0

    def is_usable(self, now_s: float) -> bool:
        return now_s - self.idle_from_s < KEPT_S and not self.reader.at_eof() and not self.writer.is_closing()

    def drop(self) -> None:
        self.writer.transport.abort()


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    kept: bool


class StreamLink:
    """REST of one address with one key. Raises ``UsageError`` for an address or a key that cannot be sent."""

    def __init__(self, url: str, signer: Signer, server: ServerClock) -> None:
        parts = urlsplit(checked_url(url, "REST", SCHEMES))
        if not (signer.key.isascii() and signer.key.isprintable()):
            raise UsageError("the API key holds characters that no key has", "copy it again, without quotes or spaces")
        self._host = parts.hostname or ""
        self._tls = parts.scheme == "https"
        self._port = parts.port or (443 if self._tls else 80)
        self._place = place_of(url)
        self._path = parts.path
        self._signer = signer
        self._server = server
        self._changes = asyncio.Semaphore(CHANGES_AT_ONCE)
        self._context: ssl.SSLContext | None = None
        self._idle: list[_Connection] = []
        self._all: set[_Connection] = set()

    async def ask(self, call: Call, query: str, timeout_s: float) -> Reply:
        """The reply to ``call`` with the query as it is, signed or not. Raises ``Lost``."""
        if call.verb == "GET":
            return await self._ask(call, query, timeout_s)
        async with self._changes:
            return await self._ask(call, query, timeout_s)

    def close(self) -> None:
        """Let go of every connection."""
        for connection in self._all:
            connection.drop()
        self._all.clear()
        self._idle.clear()

    async def _ask(self, call: Call, query: str, timeout_s: float) -> Reply:
        connection: _Connection | None = None
        answer: _Answer | None = None
        try:
            async with asyncio.timeout(min(timeout_s, LONGEST_WAIT_S)):
                connection = await self._connection()
                connection.writer.write(self._request(call, query))
                answer = await _read_answer(connection.reader)
        except (OSError, EOFError, NotHttp) as error:
            raise self._lost(error, handed=connection is not None) from None
        finally:
            if connection is not None:
                self._give_back(connection, kept=answer is not None and answer.kept)
        return read_reply(answer.status, answer.body, answer.headers, self._server.now_ms())

    async def _connection(self) -> _Connection:
        now_s = asyncio.get_running_loop().time()
        while self._idle:
            kept = self._idle.pop()
            if kept.is_usable(now_s):
                return kept
            self._give_back(kept, kept=False)
        if self._tls and self._context is None:
            self._context = ssl.create_default_context()
        reader, writer = await asyncio.open_connection(self._host, self._port, ssl=self._context)
        made = _Connection(reader, writer)
        self._all.add(made)
        return made

    def _give_back(self, connection: _Connection, *, kept: bool) -> None:
        if kept and connection in self._all:
            connection.idle_from_s = asyncio.get_running_loop().time()
            self._idle.append(connection)
        else:
            self._all.discard(connection)
            connection.drop()

    def _request(self, call: Call, query: str) -> bytes:
        lines = [
            f"{call.verb} {self._path}{call.path}{'?' + query if query else ''} HTTP/1.1",
            f"Host: {self._place}",
            "Accept: application/json",
            "Accept-Encoding: identity",
            "User-Agent: mmctl",
        ]
        if call.signed:
            lines.append(f"X-MBX-APIKEY: {self._signer.key}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")

    def _lost(self, error: Exception, *, handed: bool) -> Lost:
        """Why no reply came, in words that hold no address beyond its host."""
        check = "check the address and the network"
        if isinstance(error, ssl.SSLCertVerificationError):
            hint = "check the address and this machine's clock; never turn the check off"
            return Lost(f"the certificate of {self._place} does not verify", handed=False, hint=hint)
        if isinstance(error, ssl.SSLError) and not handed:
            return Lost(f"{self._place} does not speak TLS", handed=False, hint="check the address")
        if isinstance(error, gaierror):
            return Lost(f"the name of {self._place} is not known", handed=False, hint=check)
        if isinstance(error, TimeoutError):
            return Lost(f"{self._place} did not answer in time", handed=handed)
        if isinstance(error, NotHttp):
            return Lost(f"{self._place} answered with {error}", handed=handed, hint="check the address")
        if not handed:
            why = getattr(error, "strerror", None) or type(error).__name__
            return Lost(f"{self._place} cannot be reached: {why}", handed=False, hint=check)
        return Lost(f"the connection to {self._place} broke ({type(error).__name__})", handed=True)


async def _read_answer(reader: asyncio.StreamReader) -> _Answer:
    """One whole answer. Raises ``NotHttp``, or ``EOFError`` where the connection ended within it."""
    version, status = await _read_status(reader)
    headers = await _read_headers(reader)
    while 100 <= status < 200:  # the answer proper follows
        version, status = await _read_status(reader)
        headers = await _read_headers(reader)
    if headers.get("content-encoding", "identity") != "identity":
        raise NotHttp("a compressed reply that nobody asked for")
    kept = version == "HTTP/1.1" and "close" not in headers.get("connection", "").lower()
    if status in (204, 304):
        return _Answer(status, headers, b"", kept)
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return _Answer(status, headers, await _read_chunks(reader), kept)
    length = headers.get("content-length")
    if length is None:  # an end that may be a cut: whoever reads the body sees whether it is whole
        return _Answer(status, headers, await _read_to_end(reader), False)
    return _Answer(status, headers, await reader.readexactly(_size(length, 10)), kept)


async def _line(reader: asyncio.StreamReader) -> str:
    try:
        line = await reader.readuntil(b"\n")
    except asyncio.LimitOverrunError:
        raise NotHttp("no HTTP") from None
    return line.decode("latin-1").strip()


async def _read_status(reader: asyncio.StreamReader) -> tuple[str, int]:
    version, _, rest = (await _line(reader)).partition(" ")
    status = rest[:3]
    if version not in ("HTTP/1.1", "HTTP/1.0") or len(status) != 3 or not status.isdecimal():
        raise NotHttp("no HTTP")
    return version, int(status)


async def _read_headers(reader: asyncio.StreamReader) -> dict[str, str]:
    headers: dict[str, str] = {}
    for _ in range(MAX_HEADERS):
        line = await _line(reader)
        if not line:
            return headers
        name, mark, value = line.partition(":")
        if not mark:
            raise NotHttp("no HTTP")
        headers[name.lower()] = value.strip()
    raise NotHttp("headers without end")


async def _read_to_end(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while part := await reader.read(1 << 16):
        body += part
        if len(body) > MAX_BODY:
            raise NotHttp("a reply without end")
    return bytes(body)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := _size((await _line(reader)).partition(";")[0].strip(), 16):
        body += await reader.readexactly(size)
        if len(body) > MAX_BODY:
            raise NotHttp("a reply without end")
        await _line(reader)
    await _read_headers(reader)  # trailers, most often none
    return bytes(body)


def _size(text: str, base: int) -> int:
    try:
        size = int(text, base)
    except ValueError:
        raise NotHttp("no HTTP") from None
    if not 0 <= size <= MAX_BODY:
        raise NotHttp("a reply without end")
    return size
