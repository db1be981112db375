"""HTTP on bare streams: every shape of answer, every way in which none comes, and nothing secret in what is told."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mmctl.clock import SystemClock
from mmctl.errors import UsageError
from mmctl.venues import binance_http
from mmctl.venues.binance_clock import ServerClock
from mmctl.venues.binance_http import StreamLink
from mmctl.venues.binance_rest import Lost
from mmctl.wire import binance as wire
from mmctl.wire.binance_sign import Signer

KEY = "keyOfTheEnvironment"
OK = b"HTTP/1.1 200 OK\r\n"


def link(url: str, key: str = KEY) -> StreamLink:
    return StreamLink(url, Signer(key, "secretOfTheFile"), ServerClock(SystemClock()))


@asynccontextmanager
async def answering(
    *answers: bytes | None, context: ssl.SSLContext | None = None, hangs: bool = False
) -> AsyncIterator[tuple[str, list[str]]]:
    """A server that gives one answer to each request, whatever it is, and closes after ``None``; and what it heard."""
    left, heard = list(answers), []
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        try:
            while left:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                heard.append(f"{connections} {head}")
                answer = left.pop(0)
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
            if hangs:
                await reader.read()
        except (EOFError, OSError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http{'s' if context else ''}://127.0.0.1:{port}", heard
    finally:
        server.close()


async def asked(client: StreamLink, call: wire.Call = wire.TIME, query: str = "") -> wire.Reply:
    return await client.ask(call, query, 2.0)


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Content-Length: 2\r\n\r\n{}",
        OK + b"content-length:2\r\nContent-Encoding: identity\r\n\r\n{}",
        OK + b"Transfer-Encoding: chunked\r\n\r\n1;x=y\r\n{\r\n01\r\n}\r\n0\r\nTrailer: 1\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\n{}",
    ],
    ids=["length", "any case", "chunked", "after 100"],
)
async def test_an_answer_of_any_shape_is_read_and_the_connection_kept(answer: bytes) -> None:
    async with answering(answer, answer) as (url, heard):
        client = link(url)
        for _ in range(2):
            reply = await asked(client, wire.OPEN_ORDERS, "symbol=A&signature=b")
            assert (reply.status, reply.result) == (200, b"{}")
        client.close()
    assert [one.split()[:3] for one in heard] == [["1", "GET", "/api/v3/openOrders?symbol=A&signature=b"]] * 2
    assert f"X-MBX-APIKEY: {KEY}\r\n" in heard[0]


@pytest.mark.parametrize("header", ["Connection: close\r\nContent-Length: 2\r\n", ""], ids=["said", "by its end"])
async def test_a_connection_that_ends_is_not_used_again(header: str) -> None:
    answer = OK + header.encode() + b"\r\n{}"
    async with answering(answer) as (url, _):
        client = link(url)
        assert (await asked(client)).result == b"{}"
        assert client._idle == []
        client.close()


async def test_the_key_goes_only_where_it_is_needed() -> None:
    async with answering(OK + b"Content-Length: 2\r\n\r\n{}") as (url, heard):
        client = link(url)
        await asked(client, wire.TIME)
        client.close()
    assert KEY not in heard[0]


async def test_retry_after_and_counters_are_read() -> None:
    body = b'{"code":-1003,"msg":"Too many requests."}'
    answer = b"HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\nX-MBX-USED-WEIGHT-1M: 12\r\nContent-Length: %d\r\n\r\n" % len(
        body
    )
    async with answering(answer + body) as (url, _):
        client = link(url)
        now_ms = SystemClock().wall_ms()
        reply = await asked(client)
        client.close()
    assert reply.fault is not None
    assert (reply.status, reply.fault.code, [one.count for one in reply.told]) == (429, -1003, [12])
    assert reply.retry_after_ms is not None
    assert 6900 <= reply.retry_after_ms - now_ms <= 8000


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "no HTTP"),
        (b"HTTP/1.1 OK\r\n\r\n", "no HTTP"),
        (b"x" * 100_000 + b"\r\n", "no HTTP"),
        (OK + b"nonsense\r\n\r\n", "no HTTP"),
        (OK + b"Content-Length: -1\r\n\r\n", "without end"),
        (OK + b"Content-Length: 99999999999\r\n\r\n", "without end"),
        (OK + b"a: b\r\n" * 300 + b"\r\n", "headers without end"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "no HTTP"),
        (OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", "compressed"),
        (OK + b"Content-Length: 20\r\n\r\n{", "broke"),
        (None, "broke"),
    ],
)
async def test_what_is_no_answer_is_told_and_handed(answer: bytes | None, said: str) -> None:
    async with answering(answer) as (url, _):
        client = link(url)
        with pytest.raises(Lost, match=said) as caught:
            await asked(client, wire.OPEN_ORDERS, "signature=b")
        assert caught.value.handed
        assert (client._idle, client._all) == ([], set())
        assert not any(secret in str(caught.value) for secret in (KEY, "signature"))


async def test_every_request_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binance_http, "LONGEST_WAIT_S", 0.1)
    async with answering(b"", hangs=True) as (url, _):
        client = link(url)
        with pytest.raises(Lost, match="did not answer in time") as caught:
            await asked(client)
        assert caught.value.handed
        client.close()


async def test_nobody_there(unused_tcp_port_factory: Callable[[], int]) -> None:
    with pytest.raises(Lost, match="cannot be reached") as caught:
        await asked(link(f"http://127.0.0.1:{unused_tcp_port_factory()}"))
    assert not caught.value.handed


async def test_changes_wait_for_each_other_and_reads_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binance_http, "CHANGES_AT_ONCE", 1)
    running, most = 0, 0

    async def exchange(call: wire.Call, query: str, timeout_s: float) -> wire.Reply:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        return wire.Reply(200, b"{}")

    for call, expected in ((wire.CANCEL, 1), (wire.OPEN_ORDERS, 3)):
        client, most = link("http://127.0.0.1:1"), 0
        monkeypatch.setattr(client, "_ask", exchange)
        await asyncio.gather(*(asked(client, call) for _ in range(3)))
        assert most == expected


@pytest.fixture
async def server_context(tmp_path: Path) -> ssl.SSLContext:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    wanted = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2")
    quiet = asyncio.subprocess.DEVNULL
    made = await asyncio.create_subprocess_exec(
        openssl, *wanted, "-keyout", key, "-out", certificate, stdout=quiet, stderr=quiet
    )
    assert await made.wait() == 0
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


async def test_certificates_are_verified(server_context: ssl.SSLContext) -> None:
    async with answering(OK + b"Content-Length: 2\r\n\r\n{}", context=server_context) as (url, heard):
        with pytest.raises(Lost, match=r"certificate of 127\.0\.0\.1:.* does not verify") as caught:
            await asked(link(url), wire.OPEN_ORDERS, "signature=b")
        assert not caught.value.handed
    assert heard == []


async def test_a_place_that_does_not_speak_tls() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 a mail server\r\n")
        await writer.drain()
        await reader.read(1000)
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(Lost, match="does not speak TLS") as caught:
        await asked(link(f"https://127.0.0.1:{port}"))
    assert not caught.value.handed
    server.close()


@pytest.mark.parametrize("url", ["http://api.example.org", "ftp://127.0.0.1", "https://user:word@api.example.org"])
def test_addresses_that_keys_may_not_go_to(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        link(url)
    assert "word" not in str(caught.value)


@pytest.mark.parametrize("key", ["a\r\nX: y", "schlüssel", "a\tb"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(UsageError) as caught:
        link("http://127.0.0.1:1", key)
    assert key not in str(caught.value)
