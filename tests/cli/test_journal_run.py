"""The journals that real runs leave: of one that was killed, and of one with keys."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mmctl.engine.halt import who
from mmctl.engine.journal import journal_path

from .harness import MMCTL, PATIENCE_S, ROOT, Caller, environment, mmctl, read_until, started, waited_until


def placed(events: list[dict[str, Any]]) -> list[str]:
    """The ids of orders that a run told of as live."""
    return [order["client_id"] for one in events if one["event"] == "round" for order in one["keep"]]


def requested(state_dir: Path) -> set[str]:
    """The ids of placements whose way out is in the journal."""
    with contextlib.closing(sqlite3.connect(journal_path(state_dir))) as journal:
        return {one for (one,) in journal.execute("SELECT client_id FROM entries WHERE kind = 'request'")}


def test_every_order_of_a_killed_run_is_explained(call: Caller, quick: str, state_dir: Path) -> None:
    with started("dry-run", "--profile", quick, "--output", "json") as process:
        told = read_until(process, lambda one: one["event"] == "round" and bool(one["keep"]))
        orders = placed([json.loads(line) for line in told.splitlines()])
        # An order goes out when its intent is written; that it went out is written after that.
        waited_until(lambda: set(orders) <= requested(state_dir))
        process.kill()
        process.wait()
    assert orders
    for order in orders:
        done = call("explain", order, "--output", "json")
        assert done.code == 0, done
        story = done.events[0]
        assert story["book"]["source"] == "mock"
        assert [one["kind"] for one in story["story"]][:3] == ["decision", "intent", "request"]
        assert story["price"] is not None
    assert not call("journal", "--kind", "ended", "--output", "json").events


def test_a_run_that_ends_by_itself_leaves_no_order_unended(call: Caller, quick: str) -> None:
    assert call("dry-run", "--profile", quick, "--rounds", "3", "--output", "json").code == 0

    def ids(kind: str) -> set[str]:
        found = call("journal", "--kind", kind, "--limit", "10000", "--output", "json").events
        return {one["client_id"] for one in found if one["client_id"]}

    intents = ids("intent")
    assert intents
    assert intents == ids("end")
    assert len(call("journal", "--kind", "ended", "--output", "json").events) == 1


def test_a_start_and_a_stop_tell_who_asked_and_why(call: Caller, quick: str) -> None:
    assert call("dry-run", "--profile", quick, "--rounds", "1").code == 0
    with started("dry-run", "--profile", quick, "--output", "json") as process:
        read_until(process, lambda one: one["event"] == "round")
        process.terminate()
        process.wait()
    found = call("journal", "--kind", "start", "--kind", "stop", "--output", "json").events
    assert [one["kind"] for one in found] == ["start", "stop"] * 2
    assert {one["body"]["by"] for one in found if one["kind"] == "start"} == {who()}
    assert [one["body"]["why"] for one in found if one["kind"] == "stop"] == ["its limit", "SIGTERM"]


@pytest.fixture
def exchange() -> Iterator[dict[str, str]]:
    """What a sandbox in a process of its own says of itself."""
    command = [*MMCTL, "sandbox", "--port", "0", "--seed", "7", "--limits", "off", "--output", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.terminate()
        process.communicate(timeout=PATIENCE_S)


def test_no_secret_is_in_what_a_run_with_keys_leaves(exchange: dict[str, str], state_dir: Path) -> None:
    names = {"rest_url": "REST_URL", "ws_url": "WS_URL", "stream_url": "STREAM_URL"}
    env = environment(
        **{f"MMCTL_BINANCE_{variable}": exchange[name] for name, variable in names.items()},
        MMCTL_BINANCE_API_KEY=exchange["api_key"],
        MMCTL_BINANCE_API_SECRET=exchange["api_secret"],
    )
    profile = str(ROOT / "profiles" / "sandbox.toml")
    done = mmctl("run", "--profile", profile, "--pair", "BTC-USDT", "--rounds", "2", "--output", "json", env=env)
    assert done.code == 0, done
    ended = mmctl("journal", "--kind", "end", "--output", "json").events
    assert ended
    shown = mmctl("explain", ended[-1]["client_id"]).out
    assert "the venue said so" in shown
    left = b"".join(path.read_bytes() for path in state_dir.rglob("*") if path.is_file())
    assert ended[-1]["client_id"].encode() in left
    for secret in (exchange["api_key"], exchange["api_secret"]):
        assert secret.encode() not in left
        assert secret not in shown
