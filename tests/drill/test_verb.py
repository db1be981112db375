"""The verb: its JSON, its text, what it says to bad input, and one seed is one story."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from mmctl.cli import run_cli
from mmctl.drill.play import Played
from mmctl.drill.run import Result
from mmctl.drill.watch import Broken


def drill(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mmctl", "drill", *arguments]
    return subprocess.run(
        command, env={**os.environ, **environ}, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize(
    "seeds",
    [
        ("--seeds", "3"),
        ("--seed", "18", "--seeds", "1"),  # in which refusals name the state folder
        ("--seed", "5", "--seeds", "1"),  # in which one engine names the process of another
    ],
)
def test_one_seed_is_one_trace_whatever_the_hash_seed_and_the_process(tmp_path: Path, seeds: tuple[str, ...]) -> None:
    told, traces = [], []
    for number in ("1", "2"):
        trace = tmp_path / number
        done = drill(*seeds, "--output", "json", "--trace", str(trace), PYTHONHASHSEED=number)
        told.append(json.loads(done.stdout)["trace_sha256"])
        traces.append(trace.read_bytes())
    assert traces[0] == traces[1]
    assert told[0] == told[1]


def test_seeds_beside_each_other_are_told_in_their_order() -> None:
    alone, beside = (
        json.loads(drill("--seeds", "3", "--rounds", "9", "--output", "json", *more).stdout)
        for more in ((), ("--jobs", "2"))
    )
    assert alone | {"elapsed_ms": 0} == beside | {"elapsed_ms": 0}


def test_the_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    run_cli(["drill", "--seed", "3", "--rounds", "4", "--output", "json"])
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert list(told) == ["v", "event", "seeds", "rounds", "faults", "broken", "trace_sha256", "elapsed_ms"]
    assert (told["v"], told["event"], told["seeds"]) == (1, "drill", 1)
    assert told["rounds"] >= 4


@pytest.mark.parametrize(("number", "jobs"), [(signal.SIGTERM, "1"), (signal.SIGHUP, "2")])
def test_a_drill_that_is_ended_leaves_no_folder_and_no_process(
    tmp_path: Path, number: signal.Signals, jobs: str
) -> None:
    script = (
        "import pathlib, sys, mmctl.drill.play as play; from mmctl.cli import run_cli;"
        "play.MEMORY = pathlib.Path(sys.argv[1]); sys.exit(run_cli(sys.argv[2:]))"
    )
    command = [sys.executable, "-c", script, str(tmp_path), "drill", "--seeds", "100000", "--jobs", jobs]
    with subprocess.Popen(command, start_new_session=True) as process:
        ends_s = time.monotonic() + 60
        while not list(tmp_path.iterdir()) and time.monotonic() < ends_s:
            time.sleep(0.02)
        process.send_signal(number)
        assert process.wait(60) == 130
    assert not list(tmp_path.iterdir())
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_what_breaks_says_how_the_same_is_played_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = Result()
    result.add(Played(7, 30, Counter(), Broken(7, 99, 3, "twice"), "0" * 64, ("1.0 stall",)))
    monkeypatch.setattr("mmctl.drill.run.run", lambda *_, **__: result)
    assert run_cli(["drill", "--profile", "sandbox", "--pair", "BTC-USDT", "--seed", "7", "--rounds", "5"]) == 1
    told = capsys.readouterr().out
    assert "seed 7: invariant 3 broke at step 99: twice\n  1.0 stall\n" in told
    assert "again: mmctl drill --seed 7 --profile sandbox --pair BTC-USDT --rounds 5 --trace FILE" in told


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seeds", "0"], "--seeds 0: not a whole number above zero"),
        (["--seed", "-1"], "--seed -1"),
        (["--rounds", "x"], "--rounds x"),
        (["--jobs", "0"], "--jobs 0"),
        (["--profile", "nobody"], "there is no profile 'nobody'"),
        (["--pair", "XXX-YYY"], "XXX-YYY"),
        (["--output", "live"], "a drill has no screen"),
        (["--trace", "x", "--jobs", "2"], "--trace: one process writes it"),
        (["--trace", "/nowhere/at/all"], "--trace /nowhere/at/all: No such file"),
    ],
)
def test_bad_input_is_one_line_and_2(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["drill", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
