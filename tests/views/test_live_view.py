"""The screen and the context panel at the sizes that operators have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from view_samples import drawn, layer_view, pair_view, rows

from mmctl.core.order import Layer
from mmctl.core.report import PairView
from mmctl.views.context import context
from mmctl.views.live import FOOTER, screen

AT_80 = """\
mmctl dry-run   MOCK   BTC-USDT  mock main  up 0:12:14
   price size                         own     QUOTING
62137.64                       F  0.50000      MOCK  mock main
61837.69                       N  0.02000 …   faults    0
       ⋮                                      book      mock  age 0.1s
61837.66  1.5 ██████████████                  bid / ask 61837.63 / 61837.64
61837.65  1.0 █████████▎                      position  0.01234 BTC
61837.64  0.5 ████▋            N  0.01000     orders    6 own  2 foreign
── spread 0.01 (0.00 bps) ──────────────────               N near 1s   F far 10s
61837.63  0.5 ████▋           NF  0.01500 ?x  previous         2a 1b       2a 1b
61837.62  1.0 █████████▎                      rounds              12          12
61837.61  1.5 ██████████████                  unforced          3/10        3/10
       ⋮                                      keep                 8           8
61537.64                       F  0.30000     place                2           2
                                              cancel               2           2
                                              refused              1           1
                                              near      placed 2 cancelled 2
                                              far       placed 2 cancelled 2
                                              fills     1  unknown 1
                                              in all    placed 24  kept 180
                                                        cancelled 22  rejected 0


Ctrl-C stops and cancels all own orders  N near F far … sent ? unknown x cancel"""

AT_200 = """\
mmctl dry-run   MOCK   BTC-USDT  mock main  up 0:12:14
   price size                                   own                   QUOTING
62137.64                                 F  0.50000                    MOCK  mock main
61837.69                                 N  0.02000 …                 faults    0
       ⋮                                                              book      mock  age 0.1s
61837.66  1.5 ████████████████████████                                bid / ask 61837.63 / 61837.64
61837.65  1.0 ████████████████                                        position  0.01234 BTC
61837.64  0.5 ████████                   N  0.01000                   orders    6 own  2 foreign
── spread 0.01 (0.00 bps) ──────────────────────────────────────────                 N near 1s     F far 10s
61837.63  0.5 ████████                  NF  0.01500 ?x                previous           2a 1b         2a 1b
61837.62  1.0 ████████████████                                        rounds                12            12
61837.61  1.5 ████████████████████████                                unforced            3/10          3/10
       ⋮                                                              keep                   8             8
61537.64                                 F  0.30000                   place                  2             2
                                                                      cancel                 2             2
                                                                      refused                1             1
                                                                      near      placed 2 cancelled 2
                                                                      far       placed 2 cancelled 2
                                                                      fills     1  unknown 1
                                                                      in all    placed 24  kept 180
                                                                                cancelled 22  rejected 0


Ctrl-C stops and cancels all own orders  N near  F far  … in flight  ? unknown  x cancelling  ! crosses"""

PANEL = """\
NOT QUOTING
stale book: 3.2 s old
 LIVE  binance main
fault 3: venue_unreachable: the
connection was cut [2J while placing
book      mock  age 0.1s
bid / ask 61837.63 / 61837.64
position  0.01234 BTC
orders    6 own  2 foreign
               N near 1s
previous           2a 1b
rounds                12
unforced            3/10
keep                   8
place                  2
cancel                 2
refused                1
near      placed 2 cancelled 2
fills     1  unknown 1
in all    placed 24  kept 180"""


@pytest.mark.parametrize(("width", "expected"), [(80, AT_80), (200, AT_200)])
def test_the_screen_at_two_widths(width: int, expected: str) -> None:
    assert rows(screen([pair_view()], width, 24, title="mmctl dry-run"), width, 24) == expected.splitlines()


def test_the_panel_says_why_nothing_is_quoted_and_what_broke() -> None:
    view = pair_view(
        status="stale book: 3.2 s old",
        quoting=False,
        mode="live",
        venue="binance",
        faults=3,
        last_fault="venue_unreachable: the connection was cut\x1b[2J while\nplacing",
        layers=(layer_view(),),
    )
    assert rows(context(view, 36, 20), 36, 20) == PANEL.splitlines()


SIZES = [(80, 24), (80, 50), (120, 30), (200, 50)]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_everything_important_of_one_pair_is_on_the_screen(width: int, height: int) -> None:
    shown = drawn(screen([pair_view(last_fault="feed: gone")], width, height), width, height)
    important = ["QUOTING", "MOCK", "mock main", "age 0.1s", "61837.63 / 61837.64", "previous", "rounds", "3/10"]
    important += ["keep", "place", "cancel", "refused", "placed 2 cancelled 2", "placed 24", "kept 180", "fills"]
    important += [
        "cancelled 22",
        "rejected 0",
        "unknown 1",
        "0.01234 BTC",
        "2 foreign",
        "feed: gone",
        " N ",
        " F ",
        FOOTER,
    ]
    assert not [each for each in important if each not in shown]


def test_a_mock_and_a_live_screen_differ_in_their_first_line() -> None:
    assert " MOCK " in rows(screen([pair_view()], 80, 24), 80, 24)[0]
    assert " LIVE " in rows(screen([pair_view(mode="live")], 80, 24), 80, 24)[0]


def test_the_footer_says_what_this_run_does() -> None:
    lines = rows(screen([pair_view()], 80, 24, footer="Ctrl-C stops and leaves the orders"), 80, 24)
    assert lines[-1].startswith("Ctrl-C stops and leaves the orders  N near")


def several(count: int) -> Sequence[PairView]:
    halted = {"quoting": False, "status": "halted by anna: drill"}
    return [pair_view(pair=f"P{number}-USDT", **(halted if number % 2 else {})) for number in range(count)]


OTHERS = [
    (1, 24, 0, None),
    (3, 24, 2, None),
    (5, 24, 1, "+3 more, 1 not quoting"),
    (5, 50, 4, None),
    (100, 50, 15, "+84 more, 42 not quoting"),
]


@pytest.mark.parametrize(("count", "height", "lines", "more"), OTHERS)
def test_other_pairs_have_a_line_each_as_many_as_fit(count: int, height: int, lines: int, more: str | None) -> None:
    shown = rows(screen(several(count), 80, height), 80, height)
    assert sum(line.startswith("P") for line in shown) == lines
    assert [line for line in shown if line.startswith("+")] == ([more] if more else [])
    if lines:
        assert "P1-USDT  halted by anna: drill  61837.63 / 61837.64  0.1s  own 6" in "\n".join(shown)


def test_before_the_first_round() -> None:
    assert rows(screen([], 80, 24), 80, 24)[:2] == ["mmctl", "waiting for the first round"]


def test_a_pair_without_a_book() -> None:
    view = pair_view(book=None, age_ms=None, quoting=False, status="no book yet", orders=(), layers=())
    shown = drawn(screen([view, view], 80, 24), 80, 24)
    assert "── no book yet ─" in shown
    assert "bid / ask - / -" in shown
    assert "- / -  no book  own 0" in shown


WIDE_WORDS = "漢字" * 60


@settings(deadline=None, max_examples=150)
@given(st.integers(1, 220), st.integers(1, 60), st.integers(0, 6), st.sampled_from(["quoting", WIDE_WORDS, "x" * 300]))
def test_a_screen_is_exactly_as_large_as_the_terminal(width: int, height: int, count: int, words: str) -> None:
    broken = {"status": words, "last_fault": words, "quoting": words == "quoting", "account": words}
    views = [replace(view, **broken) for view in several(count)]  # type: ignore[arg-type]
    text = screen(views, width, height, title=words)
    lines = text.plain.split("\n")
    assert len(lines) == height
    assert all(cell_len(line) == width for line in lines)
    assert drawn(text, width, height) == text.plain + "\n"


@settings(deadline=None, max_examples=60)
@given(st.integers(20, 120), st.integers(1, 40))
def test_a_panel_fits_and_starts_with_its_status(width: int, height: int) -> None:
    lines = context(pair_view(quoting=False, status="halted by anna: drill"), width, height).plain.split("\n")
    assert len(lines) <= height
    assert all(cell_len(line) == width for line in lines)
    assert lines[0].rstrip() == "NOT QUOTING"


def test_near_comes_before_far_whatever_order_the_layers_came_in() -> None:
    view = pair_view(layers=(layer_view(Layer.FAR, 10.0), layer_view()))
    header = next(line for line in rows(context(view, 38, 30), 38, 30) if "near 1s" in line)
    assert header.split() == ["N", "near", "1s", "F", "far", "10s"]
