"""The live view in a real pseudo-terminal: what is on the screen, how often it is drawn, and how it is left."""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path

import pytest

from .harness import PATIENCE_S, QUICK, ROOT, Terminal, environment, quick_profile, terminal, waited_until

SHOWS_ALT, LEAVES_ALT, SHOWS_CURSOR = b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?25h"
FRAME = b"\x1b[H"
COLOUR = re.compile(rb"\x1b\[[0-9;]*\b(3[0-8]|4[0-8]|9[0-7]|10[0-7])\b[0-9;]*m")
FOOTER = "Ctrl-C stops and cancels all own orders"


def quoted(screen: str) -> bool:
    """Both ladders stand on the screen."""
    return (
        "QUOTING" in screen and "NOT QUOTING" not in screen and bool(re.search(r" N +\d", screen)) and " F " in screen
    )


def is_whole(shown: Terminal) -> None:
    """The screen has what an operator looks for, and none of it is broken."""
    lines = shown.screen.display
    text = shown.text
    assert lines[0].startswith("mmctl   MOCK   BTC-USDT  mock main  up 0:00:")
    assert lines[-1].startswith(FOOTER)
    (middle,) = [number for number, line in enumerate(lines) if line.startswith("── spread ")]
    above, below = "\n".join(lines[2:middle]), "\n".join(lines[middle + 1 : -1])
    for half in (above, below):
        assert re.search(r"\d+\.\d\d .* N +0\.\d+", half), "own near quotes stand beside the book"
        assert re.search(r"\d+\.\d\d .* F +0\.\d+", half), "own far quotes too"
    prices = [float(line.split()[0]) for line in lines[2:-1] if re.match(r" *\d+\.\d\d ", line)]
    assert prices == sorted(prices, reverse=True)
    assert all(60_000 < price < 64_000 for price in prices)
    for label in (
        "QUOTING",
        "book",
        "bid / ask",
        "position",
        "orders",
        "previous",
        "unforced",
        "keep",
        "place",
        "cancel",
    ):
        assert label in text, f"{label} is missing"
    assert re.search(r"\b2\d own  0 foreign", text), "a replacement goes out before what it replaces"
    assert "N near 0.1s" in text
    assert "F far 0.5s" in text
    assert "faults" in text


def becomes_whole(shown: Terminal) -> None:
    """A read may end in the middle of a frame, and a busy machine draws late: the next frames count, too."""

    def whole(_: str) -> bool:
        try:
            is_whole(shown)
        except (AssertionError, ValueError):
            return False
        return True

    with contextlib.suppress(AssertionError):
        shown.read(PATIENCE_S, until=whole)
    is_whole(shown)  # where it is not, this says why


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (200, 50)])
def test_the_screen_at_its_sizes(quick: str, columns: int, rows: int) -> None:
    with terminal("dry-run", "--profile", quick, columns=columns, rows=rows) as shown:
        shown.read(PATIENCE_S, until=quoted)
        shown.read(0.4)
        becomes_whole(shown)
        assert COLOUR.search(shown.raw)
        shown.child.sendintr()
        assert shown.end() == 130


def test_ctrl_c_gives_the_terminal_back_with_a_summary(quick: str) -> None:
    with terminal("dry-run", "--profile", quick) as shown:
        shown.read(PATIENCE_S, until=quoted)
        assert SHOWS_ALT in shown.raw
        shown.child.sendintr()
        assert shown.end() == 130
        after = shown.raw.rpartition(LEAVES_ALT)
        assert SHOWS_CURSOR in shown.raw
        assert FRAME not in after[2], "nothing is drawn after the screen was left"
        told = after[2].decode()
        assert "ended after " in told
        assert "BTC-USDT position 0 BTC, own orders remaining 0" in told
        assert max(map(len, told.splitlines())) <= 80


def test_it_is_drawn_at_most_four_times_a_second(quick: str) -> None:
    with terminal("dry-run", "--profile", quick) as shown:
        shown.read(PATIENCE_S, until=quoted)
        for _ in range(10):  # a machine that is busy draws late, and who is held up counts what was drawn before
            before, began = shown.raw.count(FRAME), time.monotonic()
            shown.read(3.0)
            frames, seconds = shown.raw.count(FRAME) - before, time.monotonic() - began
            if 2 * seconds <= frames <= 4 * seconds + 1:
                break
        assert 2 * seconds <= frames <= 4 * seconds + 1
        shown.child.sendintr()
        assert shown.end() == 130


@pytest.mark.parametrize("how", ["NO_COLOR", "--no-color"])
def test_without_colour_it_says_the_same(quick: str, how: str) -> None:
    env = environment(NO_COLOR="1") if how == "NO_COLOR" else environment()
    options = [how] if how != "NO_COLOR" else []
    with terminal("dry-run", "--profile", quick, *options, env=env) as shown:
        shown.read(PATIENCE_S, until=quoted)
        shown.read(0.4)
        becomes_whole(shown)
        shown.child.sendintr()
        assert shown.end() == 130
        assert COLOUR.search(shown.raw) is None


def test_another_size_is_drawn_right(quick: str) -> None:
    with terminal("dry-run", "--profile", quick, columns=120, rows=40) as shown:
        shown.read(PATIENCE_S, until=quoted)
        for columns, rows in ((80, 24), (200, 50), (90, 30)):
            shown.resize(columns, rows)
            shown.read(0.8)
            becomes_whole(shown)
        shown.child.sendintr()
        assert shown.end() == 130


def test_several_pairs_share_the_screen(tmp_path: Path) -> None:
    two = QUICK + "[pairs.ETH-USDT]\nprice_decimals = 2\nqty_decimals = 4\nmock_price = 2650\n"
    with terminal("dry-run", "--profile", quick_profile(tmp_path, text=two)) as shown:
        shown.read(PATIENCE_S, until=lambda screen: quoted(screen) and "ETH-USDT  quoting" in screen)
        becomes_whole(shown)
        assert shown.screen.display[-2].startswith("ETH-USDT  quoting")
        shown.child.sendintr()
        assert shown.end() == 130


def test_without_redis_it_says_why_and_what_to_do(quick: str) -> None:
    with terminal("dry-run", "--profile", quick, "--feed", "redis", "--redis-url", "redis://127.0.0.1:1/0") as shown:

        def is_said(_: str) -> bool:
            said = " ".join(line[46:].strip() for line in shown.screen.display[1:9])
            return "NOT QUOTING feed_unreachable: Redis at 127.0.0.1:1" in said and "start Redis" in said

        shown.read(PATIENCE_S, until=is_said)
        shown.child.sendintr()
        assert shown.end() == 130


def test_what_is_to_be_read_first_is_not_lost_behind_the_screen() -> None:
    original = str(ROOT / "tests" / "test_mm_params_bn.json")
    with terminal("dry-run", "--profile", original, "--feed", "mock", columns=200) as shown:
        shown.read(PATIENCE_S, until=lambda screen: "20 own" in screen)
        shown.child.sendintr()
        assert shown.end() == 130
        before, _, rest = shown.raw.partition(SHOWS_ALT)
        assert b"the mock venue stands in for binance" in before
        assert b"first near quotes" in rest.rpartition(LEAVES_ALT)[2]


def test_the_screen_says_that_it_is_stopping(tmp_path: Path) -> None:
    path = quick_profile(tmp_path, text=QUICK.replace("latency_ms = 2\n", "latency_ms = 1000\n", 1))
    with terminal("dry-run", "--profile", path) as shown:
        shown.read(PATIENCE_S, until=lambda screen: re.search(r"\b20 own", screen) is not None)
        shown.child.sendintr()
        shown.read(PATIENCE_S, until=lambda screen: "SIGINT: stopping, own orders are being cancelled" in screen)
        shown.child.sendintr()
        assert shown.end() == 1
        told = shown.raw.rpartition(LEAVES_ALT)[2]
        assert b"SIGINT again, ending at once. " in told
        assert b"own orders may remain" in told


def test_a_terminal_that_goes_stops_the_run(quick: str) -> None:
    """The window is closed: all of it hangs up, and there is nobody left to tell."""
    with terminal("dry-run", "--profile", quick) as shown:
        shown.read(PATIENCE_S, until=quoted)
        shown.child.ptyproc.fileobj.close()
        waited_until(lambda: not shown.child.isalive())
        assert shown.child.exitstatus == 0


@pytest.mark.parametrize("kind", ["dumb", "unknown", None])
def test_a_terminal_that_cannot_be_drawn_on_gets_lines(quick: str, kind: str | None) -> None:
    with terminal("dry-run", "--profile", quick, "--rounds", "2", env=environment(TERM=kind), columns=200) as shown:
        assert shown.end() == 0
        assert b"\x1b" not in shown.raw
        assert b"BTC-USDT near #2 " in shown.raw


def test_a_terminal_without_our_characters_gets_others(quick: str) -> None:
    env = environment(PYTHONIOENCODING="ascii")
    with terminal("dry-run", "--profile", quick, env=env) as shown:
        shown.read(PATIENCE_S, until=quoted)
        shown.child.sendintr()
        assert shown.end() == 130
        assert b"Traceback" not in shown.raw


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (200, 50)])
def test_show_book_and_diff_fit_the_terminal(quick: str, columns: int, rows: int) -> None:
    for verb, code in (("show-book", 0), ("diff", 1)):
        with terminal(verb, "--profile", quick, columns=columns, rows=rows) as shown:
            assert shown.end() == code
            lines = [line.rstrip() for line in shown.screen.display]
            if verb == "show-book":
                assert lines[0].startswith("BTC-USDT  binance_spot BTCUSDT from mock  age ")
                assert any(line.startswith("── spread ") for line in lines)
                assert lines[-1] == "", "the prompt has a line of its own"
            else:
                assert "Plan: 20 to place, 0 to cancel, 0 to keep." in lines
