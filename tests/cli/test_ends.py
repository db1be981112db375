"""How a quoting session ends: limits, signals, readers that have gone or do not read; exit codes and last words."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmctl.engine.journal import journal_path
from mmctl.engine.loop import Engine, Limits

from .harness import (
    MMCTL,
    PATIENCE_S,
    QUICK,
    Caller,
    Manager,
    ended,
    environment,
    is_round,
    mmctl,
    quick_profile,
    read_until,
    started,
    waited_until,
)

SLOW_VENUE = QUICK.replace("latency_ms = 2\n", "latency_ms = 400\n", 1)
F_SETPIPE_SZ = 1031


def test_rounds_end_by_themselves_and_leave_nothing(call: Caller, quick: str) -> None:
    done = call("dry-run", "--profile", quick, "--rounds", "3", "--output", "json")
    assert (done.code, done.err) == (0, "")
    assert [one["round"] for one in done.of("round") if one["layer"] == "near" and not one["follow_up"]] == [1, 2, 3]
    assert done.events[-1]["open_orders"] == []


def test_a_time_limit_counts_from_the_first_turn(call: Caller, quick: str) -> None:
    done = call("dry-run", "--profile", quick, "--for", "0.5s", "--output", "json")
    assert done.code == 0
    turns = [one for one in done.of("round") if one["layer"] == "near" and not one["follow_up"]]
    assert 1 <= len(turns) <= 6
    assert time.time() * 1000 - turns[0]["ts_ms"] >= 490
    assert call("dry-run", "--profile", quick, "--for", "500ms", "--output", "text").code == 0


def test_run_on_the_mock_venue_works_and_says_so(call: Caller, quick: str) -> None:
    done = call("run", "--profile", quick, "--rounds", "2", "--output", "text")
    assert done.code == 0
    assert done.out.startswith("MOCK venue mock account main pairs BTC-USDT ")
    kept = call("run", "--profile", quick, "--rounds", "1", "--leave-orders", "--output", "json")
    assert kept.code == 0
    assert len(kept.events[-1]["open_orders"]) == 20


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0), (signal.SIGHUP, 0)], ids=lambda value: str(value)
)
def test_a_signal_stops_cleanly(quick: str, number: signal.Signals, code: int) -> None:
    with started("dry-run", "--profile", quick, "--output", "json") as process:
        read = read_until(process, is_round("near"))
        process.send_signal(number)
        done = ended(process, read)
    assert done.code == code
    summary = done.events[-1]
    assert summary["event"] == "summary"
    assert summary["placed"] == summary["cancelled"] > 0
    assert summary["open_orders"] == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)], ids=lambda value: str(value))
def test_a_signal_at_the_start_ends_it_without_a_trace(
    tmp_path: Path, state_dir: Path, number: signal.Signals, code: int
) -> None:
    """The venue takes its time to answer the first reads: there is no engine yet."""
    path = quick_profile(tmp_path, text=QUICK.replace("latency_ms = 2\n", "latency_ms = 60000\n", 1))
    with started("dry-run", "--profile", path, "--output", "json") as process:
        waited_until(lambda: state_dir.exists() or process.poll() is not None)
        time.sleep(0.3)  # the venue needs a minute
        process.send_signal(number)
        done = ended(process)
    assert (done.code, done.out, done.err) == (code, "", "")


def test_an_interrupt_while_importing_leaves_no_trace(quick: str) -> None:
    says_so = (
        "main._mend_streams = lambda: (mend(), print('up', flush=True))"  # before, it is Python that is interrupted
    )
    script = f"import mmctl.__main__ as main; mend = main._mend_streams; {says_so}; main.main()"
    command = [sys.executable, "-c", script, "dry-run", "--profile", quick, "--output", "json"]
    for wait_s in (0.0, 0.06, 0.12, 0.2):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            time.sleep(wait_s)
            process.send_signal(signal.SIGINT)
            done = ended(process)
        assert done.code == 130
        assert "Traceback" not in done.err


def test_a_second_signal_ends_at_once_and_says_what_may_remain(tmp_path: Path) -> None:
    path = quick_profile(tmp_path, text=QUICK.replace("latency_ms = 2\n", "latency_ms = 1000\n", 1))
    with Manager(tmp_path) as manager:
        env = environment(NOTIFY_SOCKET=manager.address)
        with started("dry-run", "--profile", path, "--output", "json", env=env) as process:
            read = read_until(process, is_round("near"))
            first = json.loads(read.splitlines()[-1])["place"][0]["client_id"]
            process.send_signal(signal.SIGTERM)
            manager.hears("STOPPING=1")  # two signals at once would come in any order
            process.send_signal(signal.SIGINT)
            done = ended(process, read)
    assert done.code == 1
    assert not done.of("summary"), "the end of the stop was not waited for"
    assert done.err.startswith("mmctl: SIGINT again, ending at once. ")
    assert "own orders may remain: BTC-USDT " in done.err
    assert first in done.err


def test_a_terminal_that_goes_is_told_by_many_and_insists_on_nothing(tmp_path: Path) -> None:
    """The kernel, the shell and the session's keeper each send a signal: the orders are cancelled all the same."""
    path = quick_profile(tmp_path, text=SLOW_VENUE)
    with started("dry-run", "--profile", path, "--output", "json") as process:
        read = read_until(process, is_round("near"))
        for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM, signal.SIGHUP):
            process.send_signal(number)
            time.sleep(0.05)
        done = ended(process, read)
    assert (done.code, done.err) == (0, "")
    assert done.events[-1]["open_orders"] == []


def test_a_signal_after_a_lost_output_is_the_first(tmp_path: Path) -> None:
    path = quick_profile(tmp_path, text=SLOW_VENUE)
    with started("dry-run", "--profile", path, "--output", "json") as process:
        read_until(process, is_round("near"))
        assert process.stdout is not None
        process.stdout.close()
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        code = process.wait(PATIENCE_S)
        assert process.stderr is not None
        told = process.stderr.read()
        process.stdout = None
    assert code in (0, 130)  # which of the two is seen first is a matter of luck
    assert "again" not in told
    assert "own orders remaining 0" in told


def test_what_breaks_a_run_is_told_after_what_remains(
    call: Caller, quick: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(engine: Engine, limits: Limits) -> None:
        raise RuntimeError("something unforeseen")

    monkeypatch.setattr(Engine, "run", run)
    done = call("dry-run", "--profile", quick, "--output", "json")
    assert done.code == 70
    assert [one["event"] for one in done.events] == ["start", "summary", "error"]
    assert done.events[1]["open_orders"] == []


def test_nohup_outlives_its_terminal(quick: str) -> None:
    script = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    arguments = [sys.executable, "-c", script, *MMCTL, "dry-run", "--profile", quick, "--output", "json"]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        read = read_until(process, is_round("near"))
        process.send_signal(signal.SIGHUP)
        read += read_until(process, is_round("far"))
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert ended(process, read).code == 0
    finally:
        process.kill()
        process.wait()


def test_a_reader_that_goes_stops_the_run(quick: str) -> None:
    """``mmctl dry-run --output json | head -1``: the orders are cancelled, and the rest is told on standard error."""
    with started("dry-run", "--profile", quick, "--output", "json") as process:
        read_until(process, lambda one: one["event"] == "start")
        assert process.stdout is not None
        process.stdout.close()
        code = process.wait(PATIENCE_S)
        assert process.stderr is not None
        told = process.stderr.read()
        process.stdout = None
    assert code == 0
    assert "mmctl: the output was closed (Broken pipe): stopped" in told
    assert "own orders remaining 0" in told


@pytest.mark.parametrize(("verb", "code"), [("show-book", 0), ("diff", 1), ("--help", 0)])
def test_a_reader_that_goes_changes_no_exit_code(quick: str, verb: str, code: int) -> None:
    arguments = (verb, "--profile", quick) if verb != "--help" else (verb,)
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(
        [*MMCTL, *arguments], stdout=write, stderr=subprocess.PIPE, timeout=PATIENCE_S, check=False
    )
    os.close(write)
    assert (process.returncode, process.stderr) == (code, b"")


@pytest.mark.parametrize("output", ["text", "json"])
def test_a_reader_that_pauses_does_not_stop_quoting(quick: str, state_dir: Path, output: str) -> None:
    """The pipe is full from the start; the run goes on, and loses nothing."""
    read, write = os.pipe()
    os.write(write, b"." * (fcntl.fcntl(write, F_SETPIPE_SZ, 4096) - 1) + b"\n")
    process = subprocess.Popen(
        [*MMCTL, "dry-run", "--profile", quick, "--output", output, "--rounds", "30"],
        stdout=write,
        stderr=subprocess.PIPE,
    )
    os.close(write)
    try:
        waited_until(lambda: near_decisions(state_dir) >= 18, "it waits for its reader")
        held = os.read(read, 1 << 20)  # from now on it is read again
        while part := os.read(read, 1 << 20):
            held += part
        assert process.wait(PATIENCE_S) == 0
    finally:
        os.close(read)
        process.kill()
        _, told = process.communicate()
    assert told == b""
    lines = held.decode().splitlines()
    assert "own orders remaining 0" in lines[-1] if output == "text" else json.loads(lines[-1])["open_orders"] == []
    near = [line for line in lines if " near #" in line or '"layer":"near","round"' in line]
    assert len(near) >= 30, "all turns are told, whoever reads"


def near_decisions(state_dir: Path) -> int:
    """How many decisions of the near ladder a run has journaled."""
    if not journal_path(state_dir).exists():
        return 0
    with contextlib.closing(sqlite3.connect(journal_path(state_dir))) as journal:
        try:
            (count,) = journal.execute("SELECT count(*) FROM entries WHERE kind = 'decision'").fetchone()
        except sqlite3.OperationalError:  # its tables are not made yet
            return 0
    return int(count)


def test_a_reader_that_never_comes_back_is_not_waited_for(quick: str) -> None:
    read, write = os.pipe()
    fcntl.fcntl(write, F_SETPIPE_SZ, 4096)
    process = subprocess.Popen(
        [*MMCTL, "dry-run", "--profile", quick, "--output", "json", "--rounds", "8"],
        stdout=write,
        stderr=subprocess.PIPE,
    )
    os.close(write)
    try:
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        _, told = process.communicate()
        os.close(read)
    assert b"lines of output were dropped: nobody read them" in told


def test_closed_streams_are_no_fault(quick: str) -> None:
    script = "import os, sys; os.close(1); os.close(2); os.execv(sys.argv[1], sys.argv[1:])"
    for arguments in (("dry-run", "--rounds", "1"), ("show-book",)):
        command = [sys.executable, "-c", script, *MMCTL, *arguments, "--profile", quick]
        assert subprocess.run(command, timeout=PATIENCE_S, check=False).returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_stops_the_run_and_says_so(quick: str) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*MMCTL, "dry-run", "--profile", quick],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    assert "No space left on device): stopped" in done.stderr
    assert "own orders remaining 0" in done.stderr


def test_no_book_at_all_ends_with_3(quick: str) -> None:
    done = mmctl(
        "dry-run",
        "--profile",
        quick,
        "--feed",
        "redis",
        "--rounds",
        "1",
        env=environment(MMCTL_REDIS_URL="redis://127.0.0.1:1/0"),
    )
    assert done.code == 3
    assert "skipped feed_unreachable" in done.out
