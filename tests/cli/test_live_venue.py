"""run, show-book and diff on a live venue that refuses, is silent, or keeps orders: exit codes 1 and 4."""

from __future__ import annotations

from pathlib import Path

import pytest

from .harness import Caller, Done, free_port, quick_profile
from .test_bad_input import told_in_one_line
from .test_stop_verbs import LIVE, Held


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    """A live venue that can be had from here."""
    held = Held(near=0, far=0)
    monkeypatch.setattr("mmctl.bootstrap.live_venue", lambda venue, account, several: held.make(venue, account.name))
    monkeypatch.setattr("mmctl.bootstrap.has_adapter", lambda _: True)
    return held


@pytest.fixture
def live(tmp_path: Path) -> str:
    limits = "[defaults]\nmax_position = 100\nmax_fills_per_min = 1000\nmax_basis_bps = 5000\n"
    return quick_profile(tmp_path, text=LIVE.replace("[defaults]\n", limits))


def quoted(call: Caller, live: str, *options: str) -> Done:
    return call("run", "--profile", live, "--rounds", "2", "--output", "json", *options)


def test_run_places_on_the_profiles_own_venue_and_leaves_nothing(call: Caller, held: Held, live: str) -> None:
    done = quoted(call, live)
    assert done.code == 0, done
    assert (done.events[0]["venue"], done.events[0]["account"]) == ("binance", "main")
    assert done.events[-1]["placed"] == done.events[-1]["cancelled"] > 0
    assert held.left.own == ()
    assert len(held.left.foreign) == 1


def test_run_that_may_leave_its_orders_does(call: Caller, held: Held, live: str) -> None:
    done = quoted(call, live, "--leave-orders")
    assert done.code == 0
    assert {seen.client_id for seen in held.left.own} == {one["client_id"] for one in done.events[-1]["open_orders"]}


def test_the_summary_counts_every_fault_that_was_told_the_accounts_own_too(
    call: Caller, held: Held, live: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMCTL_REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    done = call("run", "--profile", live, "--for", "0.5s", "--output", "json")
    faults = done.of("fault")
    assert "shared" in {one["kind"] for one in faults}
    assert done.events[-1]["faults"] == len(faults)


@pytest.mark.parametrize("verb", ["run", "diff", "show-book"])
def test_a_venue_that_refuses_or_is_silent_is_exit_4(call: Caller, held: Held, live: str, verb: str) -> None:
    held.refused = True
    told_in_one_line(call(verb, "--profile", live), 4, "does not know this key", "MMCTL_BINANCE_API_KEY")
    held.refused, held.unreachable = False, 1
    told_in_one_line(call(verb, "--profile", live), 4, "did not answer", "network")


def test_a_venue_that_cannot_be_listed_still_shows_the_book(call: Caller, held: Held, live: str) -> None:
    held.unlisted = True
    done = call("show-book", "--profile", live, "--output", "json")
    assert done.code == 4
    (book,) = done.events
    assert (len(book["bids"]), book["own"], book["foreign"]) == (20, None, None)
    assert "did not answer a listing" in book["unread"]
    text = call("show-book", "--profile", live)
    assert text.code == 4
    assert "own orders not read" in text.out


def test_orders_that_remain_are_exit_1_and_listed(
    call: Caller, held: Held, live: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The venue answers listings, and no cancel that it is asked for has any effect."""
    monkeypatch.setattr("mmctl.engine.loop.Engine.stop.__kwdefaults__", {"deadline_s": 0.5})
    held.deaf = True
    done = quoted(call, live)
    assert done.code == 1, done
    left = done.events[-1]["open_orders"]
    assert {one["client_id"] for one in left} == {seen.client_id for seen in held.left.own}
    assert len(left) == 20
