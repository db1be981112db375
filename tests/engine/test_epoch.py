"""Epochs only ever grow, over restarts, steps of the clock and engines that start at once."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mmctl.core.order import MAX_EPOCH
from mmctl.engine.epoch import next_epoch
from mmctl.errors import StateUnreadable

NOW_MS = 1_700_000_000_123
NOW_S = 1_700_000_000


def take(folder: Path, wall_ms: int = NOW_MS, seen: int = 0, account: str = "main") -> int:
    return next_epoch(folder, "mock", account, wall_ms=wall_ms, seen=seen)


def test_the_first_epoch_is_above_the_unix_seconds(tmp_path: Path) -> None:
    assert take(tmp_path / "new" / "state") == NOW_S + 1


def test_epochs_grow_within_one_second_and_when_the_clock_steps_back(tmp_path: Path) -> None:
    first = take(tmp_path)
    assert take(tmp_path) == first + 1
    assert take(tmp_path, wall_ms=0) == first + 2
    assert take(tmp_path, wall_ms=NOW_MS + 60_000) == NOW_S + 61


def test_an_epoch_is_above_every_one_that_was_seen(tmp_path: Path) -> None:
    assert take(tmp_path, seen=NOW_S + 500) == NOW_S + 501
    assert take(tmp_path) == NOW_S + 502


def test_accounts_have_epochs_of_their_own(tmp_path: Path) -> None:
    take(tmp_path, seen=NOW_S + 500)
    assert take(tmp_path, account="second") == NOW_S + 1


def test_two_names_of_one_account_never_share_an_epoch(tmp_path: Path) -> None:
    """Their orders' ids are told apart by it."""
    first, second = (
        next_epoch(tmp_path, "binance", name, wall_ms=NOW_MS, user_id="354937868") for name in ("main", "second")
    )
    assert second == first + 1
    assert next_epoch(tmp_path, "binance", "third", wall_ms=NOW_MS, user_id="1/2") == NOW_S + 1


def test_an_epoch_goes_on_from_what_was_stored_by_the_accounts_name(tmp_path: Path) -> None:
    old = take(tmp_path, seen=NOW_S + 500)
    assert next_epoch(tmp_path, "mock", "main", wall_ms=NOW_MS, user_id="42") == old + 1
    assert next_epoch(tmp_path, "mock", "main", wall_ms=NOW_MS, user_id="42") == old + 2


def test_a_crash_while_storing_leaves_the_old_number(tmp_path: Path) -> None:
    first = take(tmp_path)
    (tmp_path / "epoch-mock-main.new").write_text("1")
    assert take(tmp_path) == first + 1


@pytest.mark.parametrize("content", ["", "many", "1.5", "\x00"])
def test_rubbish_is_an_error_that_names_the_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "epoch-mock-main").write_text(content)
    with pytest.raises(StateUnreadable, match="epoch-mock-main does not hold a number"):
        take(tmp_path)


def test_bytes_that_are_no_text_are_rubbish_too(tmp_path: Path) -> None:
    (tmp_path / "epoch-mock-main").write_bytes(b"\xff\xfe")
    with pytest.raises(StateUnreadable, match="does not hold a number"):
        take(tmp_path)


def test_an_epoch_that_no_id_can_hold_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StateUnreadable, match="too large"):
        take(tmp_path, seen=MAX_EPOCH)
    assert take(tmp_path) == NOW_S + 1, "it was not stored"


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateUnreadable, match="cannot be used"):
        take(tmp_path / "file" / "state")


def test_threads_never_share_an_epoch(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: take(tmp_path), range(100)))
    assert len(set(taken)) == 100


def _take_many(folder: Path) -> list[int]:
    return [take(folder) for _ in range(40)]


def test_processes_never_share_an_epoch(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        taken = [epoch for some in pool.map(_take_many, [tmp_path] * 3) for epoch in some]
    assert len(set(taken)) == 120
