"""What systemd is told: through a real socket in the place of its own."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmctl.cli.supervisor import Nobody, Supervisor, Systemd, keep_told, supervisor

from .harness import PATIENCE_S, Manager, ended, environment, is_round, read_until, started


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(str(tmp_path / "notify"))
        bound.settimeout(PATIENCE_S)
        yield bound


@pytest.fixture
def named(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("NOTIFY_SOCKET", manager.getsockname())
    return {"NOTIFY_SOCKET": manager.getsockname()}


def heard(manager: socket.socket) -> list[str]:
    """All that has come so far."""
    manager.setblocking(False)
    lines = []
    try:
        while True:
            lines += manager.recv(4096).decode().splitlines()
    except BlockingIOError:
        manager.settimeout(PATIENCE_S)
        return lines


def told(environ: dict[str, str]) -> tuple[Supervisor, list[str]]:
    notes: list[str] = []
    return supervisor(environ, notes.append), notes


def test_a_run_is_ready_alive_and_stopping(tmp_path: Path, quick: str) -> None:
    with Manager(tmp_path) as manager:
        env = environment(NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="400000")
        with started("dry-run", "--profile", quick, "--output", "json", env=env) as process:
            read = read_until(process, is_round("far"))
            manager.hears("WATCHDOG=1")
            process.send_signal(signal.SIGTERM)
            done = ended(process, read)
        assert (done.code, done.err) == (0, "")
        manager.hears("STATUS=SIGTERM: stopping")
    first, *_ = manager.heard
    assert re.fullmatch(r"READY=1\nSTATUS=[01] of 1 pairs quoting.*", first)
    assert any(one.startswith("STOPPING=1") for one in manager.heard)


async def test_no_sign_of_life_without_progress(manager: socket.socket, named: dict[str, str]) -> None:
    watcher, notes = told({**named, "WATCHDOG_USEC": "40000", "WATCHDOG_PID": str(os.getpid())})
    assert (notes, watcher.every_s) == ([], 0.01)
    held_up = True
    telling = asyncio.create_task(keep_told(watcher, lambda: "no turn of BTC-USDT", lambda: held_up))
    await asyncio.sleep(0.05)
    assert heard(manager) == ["STATUS=no turn of BTC-USDT"]
    held_up = False
    await asyncio.sleep(0.05)
    telling.cancel()
    watcher.close()
    assert set(heard(manager)) == {"WATCHDOG=1"}


def test_the_watchdog_of_another_process_is_not_fed(manager: socket.socket, named: dict[str, str]) -> None:
    for environ in ({"WATCHDOG_USEC": "40000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}, {}):
        watcher, _ = told({**named, **environ})
        watcher.ready("a\nb")
        watcher.alive()
        watcher.close()
        assert heard(manager) == ["READY=1", "STATUS=a b"]


def test_a_manager_that_does_not_listen_holds_nothing_up(manager: socket.socket, named: dict[str, str]) -> None:
    watcher, _ = told(named)
    assert isinstance(watcher, Systemd)
    for number in range(5000):
        watcher.status(f"{number}")
    manager.close()
    watcher.stopping("the end")
    watcher.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the library does not close its socket
def test_a_manager_that_is_not_there_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nothing"))
    watcher, notes = told(dict(os.environ))
    assert isinstance(watcher, Nobody)
    assert notes == [f"systemd is not told how this run goes: {tmp_path / 'nothing'}: No such file or directory"]


def test_the_missing_extra_is_named_once(named: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sdnotify", None)
    watcher, notes = told(named)
    assert isinstance(watcher, Nobody)
    assert notes == ["systemd is not told how this run goes: install mmctl with its extra, as mmctl[systemd]"]


def test_without_a_manager_nothing_is_said() -> None:
    watcher, notes = told({})
    assert isinstance(watcher, Nobody)
    assert notes == []
