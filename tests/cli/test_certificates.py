"""A server whose certificate is not the venue's: every verb says so in one line, and it never gets to see a request."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmctl.sandbox.options import STANDARD_ACCOUNTS, SandboxOptions
from mmctl.sandbox.server import Sandbox

from .harness import PATIENCE_S, Caller, Done

_MAIN = STANDARD_ACCOUNTS[0]
MEND = "check the address and this machine's clock; never turn the check off"

PROFILE = """
feed = "mock"
[accounts.main]
venue = "binance"
rest_url = "{rest}"
ws_url = "{ws}"
stream_url = "{ws}"
[defaults]
follow_exchange = "binance_spot"
max_position = 1
max_fills_per_min = 30
max_basis_bps = 50
[defaults.near]
buy_margin_bps = 5
sell_margin_bps = 5
max_amount = 500
[pairs.BTC-USDT]
price_decimals = 2
qty_decimals = 5
mock_price = 61800
"""


class Impostor:
    """A TLS server with a certificate that it signed itself. ``heard`` is what any client said after the handshake."""

    def __init__(self, folder: Path) -> None:
        openssl = shutil.which("openssl")
        if openssl is None:
            pytest.skip("there is no openssl to make a certificate with")
        key, certificate = str(folder / "key.pem"), str(folder / "certificate.pem")
        asked = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2")
        made = (openssl, *asked, "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate)
        subprocess.run(made, check=True, capture_output=True)
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificate, key)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.place = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.calls = 0
        self.heard = b""
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            self.calls += 1
            raw.settimeout(PATIENCE_S)
            with contextlib.suppress(OSError), self._context.wrap_socket(raw, server_side=True) as tls:
                self.heard += tls.recv(1 << 16)
            raw.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(PATIENCE_S)


@pytest.fixture
def impostor(tmp_path: Path) -> Iterator[Impostor]:
    one = Impostor(tmp_path)
    yield one
    one.close()
    assert one.calls > 0
    assert not one.heard


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMCTL_BINANCE_API_KEY", _MAIN.key)
    monkeypatch.setenv("MMCTL_BINANCE_API_SECRET", _MAIN.secret)


def profile(folder: Path, rest: str, ws: str) -> str:
    path = folder / "impostor.toml"
    path.write_text(PROFILE.format(rest=rest, ws=ws))
    return str(path)


def told(done: Done, impostor: Impostor) -> None:
    """It ended as a venue that cannot be reached does, with one line that has the mend and none of the keys."""
    assert done.code == 4, done
    lines = [line for line in (done.err + done.out).splitlines() if "certificate" in line]
    assert len(lines) == 1, done
    assert f"the certificate of {impostor.place} does not verify" in lines[0]
    assert MEND in done.err + done.out
    for secret in (_MAIN.key, _MAIN.secret, "signature="):
        assert secret not in done.out + done.err


def test_run(call: Caller, impostor: Impostor, tmp_path: Path) -> None:
    path = profile(tmp_path, f"https://{impostor.place}", f"wss://{impostor.place}/ws-api/v3")
    told(call("run", "--profile", path, "--rounds", "1", "--feed", "mock", "--output", "text"), impostor)


@pytest.mark.parametrize("verb", ["cancel-near", "cancel-all"])
def test_a_stop_by_profile(call: Caller, impostor: Impostor, tmp_path: Path, verb: str) -> None:
    path = profile(tmp_path, f"https://{impostor.place}", f"wss://{impostor.place}/ws-api/v3")
    told(call(verb, "--profile", path, "--deadline", "1s", "--output", "text"), impostor)


def test_a_stop_that_needs_keys_alone(call: Caller, impostor: Impostor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMCTL_BINANCE_REST_URL", f"https://{impostor.place}")
    done = call("cancel-all", "--venue", "binance", "--account", "main", "--all-symbols", "--deadline", "1s")
    told(done, impostor)


def test_doctor(call: Caller, impostor: Impostor, tmp_path: Path) -> None:
    path = profile(tmp_path, f"https://{impostor.place}", f"wss://{impostor.place}/ws-api/v3")
    done = call("doctor", "--profile", path, "--output", "json")
    assert done.code == 4
    failed = {one["name"]: one for one in done.of("check") if one["status"] == "fail"}
    assert set(failed) == {"venue", "socket"}
    for one in failed.values():
        assert f"the certificate of {impostor.place} does not verify" in str(one)
        assert MEND in str(one)
    for secret in (_MAIN.key, _MAIN.secret, "signature="):
        assert secret not in done.out + done.err


class GoodRest:
    """A sandbox in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        entering = Sandbox(SandboxOptions(seed=7)).__aenter__()
        self.sandbox = asyncio.run_coroutine_threadsafe(entering, self._loop).result(PATIENCE_S)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self.sandbox.close(), self._loop).result(PATIENCE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()


@pytest.fixture
def good() -> Iterator[Sandbox]:
    one = GoodRest()
    yield one.sandbox
    one.close()


def test_the_websocket_api_alone(call: Caller, impostor: Impostor, good: Sandbox, tmp_path: Path) -> None:
    path = profile(tmp_path, good.rest_url, f"wss://{impostor.place}/ws-api/v3")
    done = call("doctor", "--profile", path, "--output", "json")
    failed = {one["name"]: one for one in done.of("check") if one["status"] == "fail"}
    assert set(failed) == {"socket"}
    assert f"the certificate of {impostor.place} does not verify" in str(failed["socket"])
    told(call("run", "--profile", path, "--rounds", "1", "--feed", "mock", "--output", "text"), impostor)
    assert not good.exchange.accounts["main"].placements
