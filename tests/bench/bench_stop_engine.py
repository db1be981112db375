"""How soon ``cancel-near`` has emptied the venue beside a running engine, and proven it.

Forty near orders are open each time. From the call of the command to the first empty listing may take twice as long
beside the running engine that placed them as beside none, where the same orders were left by nobody; from there to the
proof, by the engine's acknowledgement, a second more. Both ways run in turn. Ends with 1 where a median is above its
limit.

    python tests/bench/bench_stop_engine.py [RUNS]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import Request, urlopen

from mmctl.core.order import Layer, Side, encode_own_id

RUNS = 15
ORDERS = 40
ALONE, BESIDE = "engine stopped", "engine running"
MOST_TIMES = 2.0
PROOF_MS = 1000.0

PROFILE = """
feed = "binance"
[accounts.main]
venue = "binance"
rest_url = "{rest_url}"
ws_url = "{ws_url}"
stream_url = "{stream_url}"
[defaults.near]
interval_s = 0.5
quote_timeout_s = 5
ask_levels = 20
bid_levels = 20
max_amount = 100
qty_multiplier = 0.1
buy_margin_bps = 5
sell_margin_bps = 5
[pairs.BTC-USDT]
max_position = 100
max_fills_per_min = 1000
max_basis_bps = 500
"""

MMCTL = [sys.executable, "-m", "mmctl"]


class Bench:
    """A sandbox in a process of its own, an engine that can be run on it, and the stop."""

    def __init__(self, folder: Path) -> None:
        command = [*MMCTL, "sandbox", "--port", "0", "--seed", "7", "--limits", "off", "--output", "json"]
        self._sandbox = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._sandbox.stdout is not None
        said = json.loads(self._sandbox.stdout.readline())
        self._control_url = said["control_url"]
        self._profile = folder / "bench.toml"
        self._profile.write_text(PROFILE.format(**said))
        self._env = {name: value for name, value in os.environ.items() if not name.startswith("MMCTL_")}
        self._env["MMCTL_STATE_DIR"] = str(folder / "state")
        self._engine: subprocess.Popen[bytes] | None = None
        self._numbers = 0

    def close(self) -> None:
        self.engine_ends()
        self._sandbox.terminate()
        self._sandbox.wait()

    def engine_runs(self) -> None:
        """Start the engine and wait until its ladder is there."""
        command = [*MMCTL, "run", "--profile", str(self._profile), "--output", "json"]
        self._engine = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self._env)
        self._wait(lambda: len(self._near()) >= ORDERS)

    def engine_ends(self) -> None:
        if self._engine is not None:
            self._engine.terminate()
            self._engine.wait()
            self._engine = None

    def place(self) -> None:
        """The same orders without an engine."""
        for number in range(ORDERS):
            self._numbers += 1
            own_id = encode_own_id(Layer.NEAR, Side.BUY, 1, self._numbers)
            price = f"{50_000 - number / 100:.2f}"
            self._control(
                "/orders", symbol="BTCUSDT", side="BUY", price=price, quantity="0.001", newClientOrderId=own_id
            )

    def stop(self, *options: str) -> tuple[float, float, dict[str, Any]]:
        """From the call of the command: ms to the first empty listing, to the proof, and what it said."""
        command = [*MMCTL, "cancel-near", "--profile", str(self._profile), "--output", "json", *options]
        began_s = time.perf_counter()
        with subprocess.Popen(command, env=self._env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            told_ms = (time.perf_counter() - began_s) * 1000
        said = json.loads(line)
        if said["remaining"] != [] or said["first_empty_ms"] is None:
            raise SystemExit(f"it did not stop: {said}")
        # The sweep ends with the proof, and what is told after it takes no time to speak of.
        start_ms = told_ms - said["took_ms"]
        return start_ms + said["first_empty_ms"], told_ms, said

    def resume(self) -> None:
        command = [*MMCTL, "resume", "--profile", str(self._profile)]
        subprocess.run(command, env=self._env, stdout=subprocess.DEVNULL, check=True)

    def _near(self) -> list[str]:
        told = self._control("/truth")["accounts"]["main"]["open_orders"]
        return [one["clientOrderId"] for one in told if one["clientOrderId"].startswith("N0")]

    def _control(self, path: str, **asked: object) -> Any:
        body = json.dumps(asked).encode() if asked else None
        with urlopen(Request(self._control_url + path, data=body), timeout=10) as reply:
            return json.load(reply)

    def _wait(self, true: Any) -> None:
        ends_s = time.monotonic() + 30
        while not true():
            if time.monotonic() > ends_s:
                raise SystemExit("the engine does not quote")
            time.sleep(0.05)


def main() -> int:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    empty: dict[str, list[float]] = {ALONE: [], BESIDE: []}
    proofs: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        try:
            for _ in range(runs + 1):  # the first compiles and caches
                bench.place()
                # Nobody is there to prove it, and how long it would watch the venue for strangers is not asked here.
                empty[ALONE].append(bench.stop("--deadline", "1s")[0])
                bench.resume()
                bench.engine_runs()
                empty_ms, told_ms, said = bench.stop()
                if said["proof"] != "acknowledged":
                    raise SystemExit(f"the engine did not acknowledge: {said}")
                empty[BESIDE].append(empty_ms)
                proofs.append(told_ms - empty_ms)
                bench.engine_ends()
                bench.resume()
        finally:
            bench.close()
    alone, beside, proof = median(empty[ALONE][1:]), median(empty[BESIDE][1:]), median(proofs[1:])
    missed = beside > MOST_TIMES * alone or proof > PROOF_MS
    print(f"{ORDERS} orders, to the first empty listing, {ALONE}: median {alone:6.0f} ms")
    print(
        f"{ORDERS} orders, to the first empty listing, {BESIDE}: median {beside:6.0f} ms"
        f"  {beside / alone:.2f} times (limit {MOST_TIMES:g})"
    )
    print(f"from there to the proof by acknowledgement: median {proof:6.0f} ms (limit {PROOF_MS:g})")
    if missed:
        print("MISSED")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
