"""How old a book is, by table: two clocks, frozen contents, books from the future, and clocks that step."""

from __future__ import annotations

from dataclasses import replace

import pytest
from core_samples import TS_MS, book

from mmctl.core.book import Book
from mmctl.core.freshness import BookAge

NOW_S = 1000.0
TIMEOUT_S = 5.0


def at(offset_ms: int, price: str = "100") -> Book:
    """A book made ``offset_ms`` after the start; another price makes other contents."""
    return book([(price, "1")], [("101", "1")], TS_MS + offset_ms)


class World:
    """A wall clock, a monotonic clock and a feed's books, moved by hand."""

    def __init__(self, frozen_after_s: float = 30.0) -> None:
        self.now_s, self.wall_ms = NOW_S, TS_MS
        self.age = BookAge(frozen_after_s, NOW_S)

    def pass_s(self, seconds: float) -> World:
        self.now_s += seconds
        self.wall_ms += round(seconds * 1000)
        return self

    def see(self, seen: Book) -> World:
        self.age.observe(seen, self.wall_ms, self.now_s)
        return self

    @property
    def age_s(self) -> float:
        return self.age.age_s(self.wall_ms, self.now_s)

    @property
    def reason(self) -> str:
        stale = self.age.stale(TIMEOUT_S, self.wall_ms, self.now_s)
        return stale.reason if stale else ""

    @property
    def left_s(self) -> float:
        """Seconds until orders rest on a stale book."""
        return self.age.deadline_s(TIMEOUT_S, self.wall_ms, self.now_s) - self.now_s


def test_before_the_first_book_there_is_none() -> None:
    world = World()
    assert (world.age_s, world.reason) == (float("inf"), "no_book")
    assert world.left_s == TIMEOUT_S
    assert world.pass_s(2).left_s == TIMEOUT_S - 2


@pytest.mark.parametrize(("made_ms", "age_s"), [(0, 0.0), (-2500, 2.5), (-60_000, 60.0)])
def test_the_age_is_from_the_books_own_time(made_ms: int, age_s: float) -> None:
    world = World().see(at(made_ms))
    assert world.age_s == age_s
    assert world.reason == ("stale_book" if age_s > TIMEOUT_S else "")


def test_the_age_is_from_the_last_advance_where_that_is_longer_ago() -> None:
    """The book's time stands still and our wall clock with it: only the monotonic clock shows the age."""
    world = World().see(at(0))
    world.now_s += 4
    assert world.see(at(0)).age_s == 4
    world.now_s += 2
    assert world.see(at(0, "99")).reason == "stale_book"
    assert world.see(at(1)).age_s == 0


def test_the_age_passes_the_timeout_not_meets_it() -> None:
    world = World().see(at(0)).pass_s(TIMEOUT_S)
    assert world.reason == ""
    assert world.pass_s(0.001).reason == "stale_book"


def test_quoting_goes_on_by_itself_when_the_book_is_fresh() -> None:
    world = World().see(at(0)).pass_s(60)
    assert world.reason == "stale_book"
    assert world.see(at(60_000, "99")).reason == ""


@pytest.mark.parametrize(("ahead_ms", "fine"), [(1, True), (1000, True), (1001, False), (3_600_000, False)])
def test_a_book_up_to_a_second_ahead_is_new_and_further_ahead_names_the_offset(ahead_ms: int, fine: bool) -> None:
    world = World().see(at(ahead_ms))
    assert world.age_s == 0
    stale = world.age.stale(TIMEOUT_S, world.wall_ms, world.now_s)
    if fine:
        assert stale is None
    else:
        assert stale is not None
        assert stale.reason == "future_book"
        assert f"{ahead_ms / 1000:.1f} s" in stale.detail


def test_a_book_whose_contents_never_change_is_frozen_however_new_its_stamp() -> None:
    world = World(frozen_after_s=30)
    for _ in range(31):
        world.see(at(round((world.now_s - NOW_S) * 1000)))
        assert world.reason == ""
        world.pass_s(1)
    assert world.see(at(31_000)).reason == "frozen_book"
    assert world.left_s < 0
    assert world.see(at(31_001, "99.9")).reason == ""


@pytest.mark.parametrize("change", ["price", "size"])
def test_another_price_or_size_thaws_it(change: str) -> None:
    world = World(frozen_after_s=2).see(at(0)).pass_s(2)
    seen = at(2000)
    level = seen.asks[0]
    other = level._replace(price=level.price + 1) if change == "price" else level._replace(qty=level.qty + 1)
    assert world.see(replace(seen, asks=(other,))).pass_s(1).reason == ""
    assert World(frozen_after_s=2).see(at(0)).pass_s(2).see(seen).pass_s(1).reason == "frozen_book"


def test_an_older_book_neither_replaces_the_newest_nor_renews_it() -> None:
    world = World().see(at(1000)).pass_s(2)
    world.see(at(900, "98"))
    assert world.age.book == at(1000)
    assert world.age_s == 2
    assert world.pass_s(29).see(at(950, "97")).reason == "stale_book"


def test_an_unusable_newest_book_is_not_replaced_by_an_older_one() -> None:
    crossed = book([("102", "1")], [("101", "1")], TS_MS + 1000)
    world = World().see(at(0)).pass_s(1).see(crossed).see(at(500))
    assert world.age.book is crossed
    assert world.reason == "unusable_book"
    assert world.see(at(1001)).reason == ""


@pytest.mark.parametrize(
    "unusable",
    [
        book([], [], TS_MS),
        book([], [("101", "1")], TS_MS),
        book([("100", "1")], [], TS_MS),
        book([("101", "1")], [("101", "1")], TS_MS),
        book([("102", "1")], [("101", "1")], TS_MS),
    ],
    ids=["empty", "no bids", "no asks", "locked", "crossed"],
)
def test_an_unusable_book_is_as_stale_and_keeps_no_order_alive(unusable: Book) -> None:
    world = World().see(at(0))
    for n in range(1, 7):
        world.pass_s(1).see(replace(unusable, ts_ms=TS_MS + 1000 * n))
        assert world.reason == "unusable_book"
        assert world.left_s == TIMEOUT_S - n


def test_books_from_the_future_keep_no_order_alive() -> None:
    world = World().see(at(0))
    for n in range(1, 7):
        world.pass_s(1).see(at(3_600_000 + 1000 * n, str(90 + n)))
        assert world.reason == "future_book"
        assert world.left_s == TIMEOUT_S - n


def test_one_stamp_from_the_future_does_not_stand_in_the_way_of_right_ones() -> None:
    world = World().see(at(0)).see(at(3_600_000, "99"))
    assert world.reason == "future_book"
    world.pass_s(1)
    assert world.see(at(1000, "98")).reason == ""
    assert world.age.book == at(1000, "98")
    assert world.age_s == 0


def test_our_clock_stepping_forth_and_back() -> None:
    world = World().see(at(0))
    world.wall_ms += 3_600_000
    assert world.see(at(100)).reason == "stale_book"
    world.wall_ms -= 3_600_000
    assert world.see(at(200)).reason == ""
    world.wall_ms -= 3_600_000
    assert world.see(at(300)).reason == "future_book"
    world.wall_ms += 3_600_000
    assert world.see(at(400)).reason == ""


def test_the_sources_clock_stepping_back_is_an_age_until_it_advances_again() -> None:
    world = World().see(at(0))
    for n in range(1, 4):
        world.pass_s(1).see(at(-3500 + 1000 * n, str(90 + n)))
        assert world.age_s == n
    world.pass_s(1).see(at(500, "95"))
    assert world.age_s == 3.5  # by its own time; by its advance it is new


def test_the_deadline_is_when_the_age_passes_the_timeout() -> None:
    world = World().see(at(-1500))
    assert world.left_s == TIMEOUT_S - 1.5
    world.pass_s(2)
    assert world.left_s == TIMEOUT_S - 3.5
    world.pass_s(1.6)
    assert world.left_s < 0
    assert world.reason == "stale_book"
