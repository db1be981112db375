"""A book kept from differences is the book: by the documented sequence check, and against a naive full one."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from mmctl.feeds.binance_diff import DiffBook
from mmctl.wire.binance_market import Depth, DepthDiff, PriceLevel

D = Decimal


def levels(*pairs: tuple[str, str]) -> list[PriceLevel]:
    return [(D(price), D(qty)) for price, qty in pairs]


def change(first: int, last: int, bids: Iterable[PriceLevel] = (), asks: Iterable[PriceLevel] = ()) -> DepthDiff:
    return DepthDiff(1000 + last, first, last, list(bids), list(asks))


SNAPSHOT = Depth(10, levels(("99", "1"), ("98", "1")), levels(("101", "1"), ("102", "1")))


def test_events_before_the_snapshot_join_it() -> None:
    book = DiffBook(3, 100)
    assert not book.event(change(8, 9, levels(("97", "5"))))
    assert not book.event(change(10, 12, levels(("99", "0"), ("98.5", "2"))))
    assert book.snapshot(SNAPSHOT)
    assert book.last_id == 12
    assert book.top() == (levels(("98.5", "2"), ("98", "1")), levels(("101", "1"), ("102", "1")))


def test_a_snapshot_older_than_the_buffer_is_not_taken() -> None:
    book = DiffBook(3, 100)
    book.event(change(11, 12))
    assert not book.snapshot(SNAPSHOT)
    assert book.wants_snapshot
    assert book.snapshot(Depth(11, [], levels(("101", "1"))))
    assert book.last_id == 12


def test_a_quiet_stream_joins_a_snapshot_by_itself() -> None:
    book = DiffBook(3, 100)
    assert book.snapshot(SNAPSHOT)
    assert book.event(change(11, 11, asks=levels(("101", "0"))))
    assert book.top()[1] == levels(("102", "1"))


def test_a_gap_begins_everything_again() -> None:
    book = DiffBook(3, 100)
    book.snapshot(SNAPSHOT)
    assert not book.event(change(12, 13, levels(("99", "7"))))
    assert book.wants_snapshot
    assert book.last_id is None
    assert not book.snapshot(SNAPSHOT), "it is older than the event that showed the gap"
    assert not book.event(change(14, 15))
    assert book.snapshot(Depth(14, levels(("90", "1")), []))
    assert book.last_id == 15


def test_a_gap_in_the_buffer_is_found_when_the_snapshot_comes() -> None:
    book = DiffBook(3, 100)
    for event in (change(9, 10), change(13, 14), change(15, 15)):
        book.event(event)
    assert not book.snapshot(SNAPSHOT)
    assert book.snapshot(Depth(14, levels(("90", "1")), []))
    assert book.last_id == 15


def test_what_came_before_is_not_applied_again() -> None:
    book = DiffBook(3, 100)
    book.snapshot(SNAPSHOT)
    assert book.event(change(5, 10, levels(("99", "7"))))
    assert book.top()[0][0] == (D(99), D(1))


def test_levels_beyond_a_full_snapshot_are_not_made_up() -> None:
    book = DiffBook(2, 2)
    book.snapshot(SNAPSHOT)
    book.event(change(11, 11, levels(("97", "9"), ("96", "9"))))
    assert book.event(change(12, 12, levels(("99", "0"))))
    assert book.wants_snapshot, "98 is known, and whether 97.5 lies next is not"
    assert book.top()[0] == levels(("98", "1"))
    assert book.event(change(13, 13, levels(("98.5", "3")))), "meanwhile the book goes on"
    assert not book.wants_snapshot


def test_a_drained_book_takes_a_new_snapshot_in_step() -> None:
    book = DiffBook(2, 2)
    book.snapshot(SNAPSHOT)
    book.event(change(11, 11, levels(("99", "0"))))
    book.event(change(12, 12, asks=levels(("101", "4"))))
    assert not book.snapshot(SNAPSHOT)
    assert book.last_id == 12
    assert book.snapshot(Depth(12, levels(("98", "1"), ("97", "9")), levels(("101", "4"), ("102", "1"))))
    assert book.top() == (levels(("98", "1"), ("97", "9")), levels(("101", "4"), ("102", "1")))


def test_what_was_buffered_before_the_top_filled_up_again_does_not_count_later() -> None:
    book = DiffBook(2, 2)
    book.snapshot(SNAPSHOT)
    book.event(change(11, 11, levels(("99", "0"))))
    book.event(change(12, 12, levels(("98.5", "1"))))
    book.event(change(13, 14, levels(("98.5", "0"))))
    book.event(change(15, 15))
    assert not book.snapshot(Depth(13, [], []))
    assert book.last_id == 15
    assert book.top()[0] == levels(("98", "1"))


def test_memory_is_bounded_and_what_was_dropped_is_not_made_up() -> None:
    book = DiffBook(2, 2)
    book.snapshot(Depth(10, levels(("99", "1")), []))
    book.event(change(11, 11, levels(*((f"{price}", "1") for price in range(90, 99)))))
    assert book.top()[0] == levels(("99", "1"), ("98", "1"))
    book.event(change(12, 12, levels(("98", "0"), ("90", "2"))))
    assert book.top()[0] == levels(("99", "1"))
    assert book.wants_snapshot


def test_events_without_a_snapshot_are_bounded() -> None:
    book = DiffBook(2, 2)
    for number in range(5000):
        book.event(change(number, number))
    assert not book.snapshot(Depth(100, [], [])), "events after it are gone"
    assert book.snapshot(Depth(4999, [], []))


class NaiveBook:
    """All levels ever, in plain dictionaries."""

    def __init__(self) -> None:
        self.bids: dict[Decimal, Decimal] = {}
        self.asks: dict[Decimal, Decimal] = {}
        self.last_id = 0

    def apply(self, event: DepthDiff) -> None:
        for side, changes in ((self.bids, event.bids), (self.asks, event.asks)):
            for price, qty in changes:
                side[price] = qty
                if not qty:
                    del side[price]
        self.last_id = event.last_id

    def top(self, count: int) -> tuple[list[PriceLevel], list[PriceLevel]]:
        bids = sorted(self.bids.items(), reverse=True)[:count]
        return bids, sorted(self.asks.items())[:count]


PRICES = st.integers(1, 30).map(lambda ticks: D(ticks) / 10)
CHANGES = st.lists(st.tuples(PRICES, st.integers(0, 3).map(D)), max_size=6)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["event"] * 6 + ["lost", "repeated", "snapshot", "snapshot", "late snapshot"]),
        st.integers(1, 4),
        CHANGES,
        CHANGES,
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(steps=STEPS, wanted=st.integers(1, 4), limit=st.integers(4, 8))
def test_it_equals_a_naive_book_or_asks_for_a_snapshot(
    steps: list[tuple[str, int, list[PriceLevel], list[PriceLevel]]], wanted: int, limit: int
) -> None:
    naive, book = NaiveBook(), DiffBook(wanted, limit)
    late = Depth(0, [], [])
    last_event: DepthDiff | None = None
    for what, ids, bids, asks in steps:
        told = book.last_id is not None
        if what in ("event", "lost"):
            last_event = change(naive.last_id + 1, naive.last_id + ids, bids, asks)
            naive.apply(last_event)
            if what == "lost":
                continue
            told = book.event(last_event)
        elif what == "repeated" and last_event is not None:
            told = book.event(last_event)
        elif book.wants_snapshot:
            now = Depth(naive.last_id, *naive.top(limit))
            told = book.snapshot(now if what == "snapshot" else late) or book.last_id is not None
            late = now
        if book.last_id != naive.last_id or not told:
            continue
        shown, truth = book.top(), naive.top(wanted)
        for mine, whole in zip(shown, truth, strict=True):
            assert mine == whole[: len(mine)]
            assert book.wants_snapshot or mine == whole
    book.snapshot(Depth(naive.last_id, *naive.top(limit)))
    if not book.wants_snapshot and book.last_id == naive.last_id:
        assert book.top() == naive.top(wanted)
