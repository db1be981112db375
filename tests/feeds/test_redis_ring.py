"""The ring's layout, without a server."""

from __future__ import annotations

from decimal import Decimal

import pytest

from mmctl.core.book import BookKey
from mmctl.wire.redis_ring import (
    Ring,
    Unreadable,
    candidates,
    decode_book,
    newest_first,
    read_ticks,
    runs_ahead,
    tick_of,
)

KEY = BookKey("binance_spot", "BTCUSDT")
NOW = 17_231_000_000


@pytest.mark.parametrize(
    ("exchange", "symbol", "name"),
    [
        ("binance_spot", "BTCUSDT", "binance_spot_depthbtcusdt"),
        ("binance_future", "BtcUsdt", "binance_future_depthbtcusdt"),
        ("okx_spot", "BTC-USDT", "okx_spot_depthBTC-USDT"),
        ("okx_future", "BTC-USDT-SWAP", "okx_future_depthBTC-USDT-SWAP"),
    ],
)
def test_keys_are_lower_case_save_for_okx(exchange: str, symbol: str, name: str) -> None:
    ring = Ring(BookKey(exchange, symbol))
    tick = NOW + 417
    assert ring.tick_key(tick) == f"{name}{tick % 600}".encode()
    assert ring.value_key(tick) == f"{name}{tick % 600}_value".encode()


@pytest.mark.parametrize("start", [0, 1, 417, 590, 599, NOW - 3])
def test_a_run_of_keys_goes_round_the_ring(start: int) -> None:
    ring, run = Ring(KEY), range(start, start + 31)
    assert ring.tick_keys(run) == [ring.tick_key(tick) for tick in run]
    assert ring.value_keys(run) == [ring.value_key(tick) for tick in run]
    assert len(set(ring.tick_keys(range(start, start + 600)))) == 600


def test_a_tick_is_a_tenth_of_a_second() -> None:
    assert tick_of(1_723_100_000_099) == 17_231_000_000
    assert tick_of(1_723_100_000_100) == 17_231_000_001


@pytest.mark.parametrize("text", [b"", b"abc", b"-5", b"17231000001", b"1723100000.", b"9" * 40, b"0", None])
def test_what_is_no_tick_of_its_slot_is_left_out(text: bytes | None) -> None:
    assert read_ticks([NOW], [text]) == []


def test_a_tick_of_another_round_is_read() -> None:
    assert read_ticks([NOW % 600], [str(NOW).encode()]) == [NOW]
    assert read_ticks([NOW], [str(NOW - 600).encode()]) == [NOW - 600]


def test_valid_ticks_are_a_minute_back_and_a_second_ahead() -> None:
    ticks = [NOW - 600, NOW - 599, NOW, NOW + 10, NOW + 11]
    assert newest_first(ticks, NOW) == [NOW + 10, NOW, NOW - 599]


@pytest.mark.parametrize(
    ("ticks", "ahead"),
    [
        ([], False),
        ([NOW], False),
        ([NOW + 10], False),
        ([NOW + 11], True),
        ([NOW - 300, NOW + 300], False),
        (list(range(NOW - 500, NOW + 50)), True),
    ],
    ids=["none", "now", "one second", "more", "a left-over of a mended clock", "a writer five seconds ahead"],
)
def test_a_writer_that_runs_ahead_is_known_by_its_newest_ticks(ticks: list[int], ahead: bool) -> None:
    assert runs_ahead(ticks, NOW) is ahead


def _slots(slots: range, *ticks: int, **odd: bytes) -> list[bytes | None]:
    raw: list[bytes | None] = [None] * len(slots)
    for tick in ticks:
        raw[next(i for i, slot in enumerate(slots) if (slot - tick) % 600 == 0)] = str(tick).encode()
    for place, text in odd.items():
        raw[int(place[1:])] = text
    return raw


@pytest.mark.parametrize(
    ("ticks", "odd", "found"),
    [
        ((), {}, []),
        ((NOW,), {}, [NOW]),
        ((NOW - 2, NOW - 1, NOW + 3), {}, [NOW + 3, NOW - 1, NOW - 2]),
        ((NOW - 2, NOW + 11), {}, [NOW - 2]),
        ((NOW + 10, NOW + 11), {}, []),
        ((NOW - 1,), {"_0": b"zzzzzzzzzzz"}, [NOW - 1]),
        ((NOW - 1,), {"_0": b"9"}, [NOW - 1]),
        ((NOW - 1,), {"_0": str(NOW + 5).encode()}, [NOW - 1]),
        ((NOW - 1, NOW + 8 - 600), {}, [NOW - 1, NOW - 592]),
        ((NOW - 1, NOW + 9, NOW + 8 - 600), {}, [NOW + 9, NOW - 1, NOW - 592]),
    ],
)
def test_candidates_come_newest_first(ticks: tuple[int, ...], odd: dict[str, bytes], found: list[int]) -> None:
    slots = range(NOW - 20, NOW + 21)
    assert list(candidates(slots, _slots(slots, *ticks, **odd), NOW)) == found


@pytest.mark.parametrize(
    "raw",
    [
        b'{"asks": [[61837.64, 1.6052]], "bids": [[61837.63, 0.00812]]}',
        b'{"asks": [["61837.64", "1.6052"]], "bids": [["61837.63", "0.00812"]]}',
        b'{"asks": {"61837.64": 1.6052}, "bids": {"61837.63": "0.00812"}}',
        b'{"asks": [["61837.640", 1.6052]], "bids": {"61837.63": 8.12e-3}}',
        b'{"bids": [[61837.63, 8.12E-3], [5, 0]], "asks": [[61837.64, 1.6052]], "ts": 5}',
    ],
)
def test_levels_are_numbers_or_text_in_lists_or_objects(raw: bytes) -> None:
    book = decode_book(KEY, NOW, raw)
    assert (book.key, book.ts_ms, book.source, book.fault) == (KEY, NOW * 100, "redis", None)
    assert book.best_bid == Decimal("61837.63")
    assert book.best_ask == Decimal("61837.64")
    assert [book.qty(level.qty) for level in book.bids] == [Decimal("0.00812")]


def test_numbers_are_exact_beyond_what_binary_floats_hold() -> None:
    book = decode_book(KEY, NOW, b'{"asks": [[123456789012.123456789, 1]], "bids": [[0.1, 0.000000000000000001]]}')
    assert book.best_ask == Decimal("123456789012.123456789")
    assert book.qty(book.bids[0].qty) == Decimal("1e-18")


def test_levels_are_sorted_best_first() -> None:
    book = decode_book(KEY, NOW, b'{"asks": [[9, 1], [8, 1]], "bids": {"5": 1, "7": 1, "6": 1}}')
    assert [level.price for level in book.bids] == [7, 6, 5]
    assert [level.price for level in book.asks] == [8, 9]


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b'{"asks": [], "bids": []}', "the book is empty"),
        (b"{}", "the book is empty"),
        (b'{"asks": [[2, 1]], "bids": []}', "the book is one-sided: it has no bids"),
        (b'{"asks": null, "bids": [[1, 1]]}', "the book is one-sided: it has no asks"),
        (b'{"asks": [[2, 0]], "bids": [[1, 1]]}', "the book is one-sided: it has no asks"),
        (b'{"asks": [[2, 1]], "bids": [[2, 1]]}', "the book is crossed: best bid 2 >= best ask 2"),
    ],
)
def test_an_unusable_book_is_a_book_with_a_fault(raw: bytes, fault: str) -> None:
    assert decode_book(KEY, NOW, raw).fault == fault


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (None, "is missing"),
        (b"", "is not JSON"),
        (b"not json", "is not JSON"),
        (b'{"asks": [[1, 2]], "bids"', "is not JSON"),
        (b'{"asks": [[NaN, 1]], "bids": []}', "is not JSON"),
        (b'{"asks": [[Infinity, 1]], "bids": []}', "is not JSON"),
        (b'{"asks": [["\xff", 1]], "bids": []}', "is not JSON"),
        (b"[]", "is not a book"),
        (b"null", "is not a book"),
        (b'"text"', "is not a book"),
        (b'{"asks": 5, "bids": []}', "is not a book"),
        (b'{"asks": [5], "bids": []}', "is not a book"),
        (b'{"asks": [[5]], "bids": []}', "is not a book"),
        (b'{"asks": [[5, 1, 1]], "bids": []}', "is not a book"),
        (b'{"asks": [[5, true]], "bids": []}', "is not a book"),
        (b'{"asks": [[5, null]], "bids": []}', "is not a book"),
        (b'{"asks": [["five", 1]], "bids": []}', "is not a book"),
        (b'{"asks": {"five": 1}, "bids": []}', "is not a book"),
        (b'{"asks": [["NaN", 1]], "bids": []}', "is not a book"),
        (b'{"asks": [["sNaN", 1]], "bids": []}', "is not a book"),
        (b'{"asks": [[1, "Infinity"]], "bids": []}', "is not a book"),
        (b'{"asks": [["-Infinity", 1], ["Infinity", 1]], "bids": []}', "is not a book"),
        (b'{"asks": [[-1, 1]], "bids": []}', "-1 is not a price or a quantity above zero"),
        (b'{"asks": [[0, 1]], "bids": []}', "0 is not a price or a quantity above zero"),
        (b'{"asks": [[1, -1]], "bids": []}', "-1 is not a price or a quantity above zero"),
        (b'{"asks": [[5, 1], [5.0, 1]], "bids": []}', "the same price"),
        (b'{"asks": [[1e999999, 1]], "bids": []}', "more digits"),
        (b'{"asks": [[1, 1e-999999]], "bids": []}', "more digits"),
        (b'{"asks": [[1e50, 1], [1e-50, 1]], "bids": []}', "more digits"),
    ],
)
def test_what_is_no_book_says_why(raw: bytes | None, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        decode_book(KEY, NOW, raw)
