"""How soon the command line is there, beside a Typer app of two commands on the same machine.

``mmctl --help`` may take 1.5 times, ``mmctl dry-run --rounds 1 --output json`` 4 times as long as that app's
``--help``. All three are run in turn, so that what else the machine does meets them alike. Ends with 1 where
a median is above its limit.

    python tests/bench/bench_startup.py [RUNS]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

LIMITS = {"mmctl --help": 1.5, "mmctl dry-run --rounds 1 --output json": 4.0}
BASE = "two-command Typer app --help"
RUNS = 25

TWO_COMMANDS = """
import typer

app = typer.Typer()


@app.command()
def hello(name: str = "world") -> None:
    print(f"hello {name}")


@app.command()
def goodbye(name: str = "world") -> None:
    print(f"goodbye {name}")


if __name__ == "__main__":
    app()
"""


def took_ms(command: list[str], env: dict[str, str]) -> float:
    """How long one run takes from the call to its end."""
    began = time.perf_counter()
    subprocess.run(command, env=env, stdout=subprocess.DEVNULL, check=True, timeout=60)
    return (time.perf_counter() - began) * 1000


def main() -> int:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    with tempfile.TemporaryDirectory() as folder:
        app = Path(folder) / "two_commands.py"
        app.write_text(TWO_COMMANDS)
        env = {name: value for name, value in os.environ.items() if not name.startswith("MMCTL_")}
        env["MMCTL_STATE_DIR"] = folder
        commands = {BASE: [sys.executable, str(app), "--help"]} | {
            name: [sys.executable, "-m", *name.split()] for name in LIMITS
        }
        for command in commands.values():  # compile and cache what all later runs find
            took_ms(command, env)
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(runs):
            for name, command in commands.items():
                times[name].append(took_ms(command, env))
    base = median(times[BASE])
    missed = False
    for name, taken in times.items():
        ratio = median(taken) / base
        limit = LIMITS.get(name)
        missed |= limit is not None and ratio > limit
        verdict = "" if limit is None else f"  {ratio:.2f} times (limit {limit:g}){' MISSED' if ratio > limit else ''}"
        p99 = quantiles(taken, n=100, method="inclusive")[98]
        print(f"{name:<40} median {median(taken):6.0f} ms  p99 {p99:6.0f} ms{verdict}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
