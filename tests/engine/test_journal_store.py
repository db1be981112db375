"""The journal's store: what a recovery finds in it, what rotation may take, and files that are not as they ought."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmctl.core.entries import Entry, Kind, Recalled, Unfinished
from mmctl.core.order import Layer, Side, encode_own_id
from mmctl.engine import journal_store
from mmctl.engine.journal_schema import VERSION
from mmctl.engine.journal_store import WAL_SHARE, JournalStore, write_now
from mmctl.errors import JournalUnwritable

from .journal_samples import OWNER, SYMBOL, T0_MS, VENUE, end, entry, fill, intent, own_id

D = Decimal
ASKED = (VENUE, OWNER, SYMBOL)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[JournalStore]:
    with closing(JournalStore(path)) as made:
        yield made


def rows(path: Path, what: str = "kind, client_id") -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(f"SELECT {what} FROM entries ORDER BY seq").fetchall()


def test_an_order_is_unfinished_from_its_intent_to_its_end(store: JournalStore) -> None:
    assert store.recall(*ASKED) == Recalled()
    store.write([intent(1), intent(2)])
    assert store.recall(*ASKED).unfinished[0] == Unfinished(
        own_id(1), Layer.NEAR, Side.BUY, D("61800.10"), D("0.500"), 17, T0_MS + 1, accepted=False
    )
    store.write([entry(Kind.REPLY, 1, event="accepted"), entry(Kind.REPLY, 2, event="unsettled")])
    assert [one.accepted for one in store.recall(*ASKED).unfinished] == [True, False]
    store.write([end(1), intent(3), end(3, "rejected")])
    assert [one.client_id for one in store.recall(*ASKED).unfinished] == [own_id(2)]


def test_an_order_that_was_taken_in_or_appears_after_its_end_is_unfinished(store: JournalStore) -> None:
    terms = dict(intent(1).body)
    store.write([entry(Kind.ADOPTED, 1, **terms, filled="0"), entry(Kind.ADOPTED, 2)])
    assert [(one.client_id, one.accepted) for one in store.recall(*ASKED).unfinished] == [(own_id(1), True)]
    store.write([end(1, "never_landed"), entry(Kind.ADOPTED, 1, **terms), intent(3), end(3)])
    assert [one.client_id for one in store.recall(*ASKED).unfinished] == [own_id(1)]
    store.write([end(1)])
    assert not store.recall(*ASKED).unfinished
    store.write([entry(Kind.ADOPTED, 1, **terms), end(1), entry(Kind.ADOPTED, 1, **terms)])
    assert [one.client_id for one in store.recall(*ASKED).unfinished] == [own_id(1)]


def test_what_is_another_owners_or_symbols_is_not_recalled(store: JournalStore) -> None:
    store.write([intent(1), fill(1, "7")])
    for other in (("mock", OWNER, SYMBOL), (VENUE, "main", SYMBOL), (VENUE, OWNER, "ETHUSDT")):
        assert store.recall(*other) == Recalled()


def test_one_client_id_of_two_owners_is_two_orders(store: JournalStore) -> None:
    other = intent(1)
    store.write([intent(1), Entry(Kind.INTENT, T0_MS, VENUE, "second", "", SYMBOL, own_id(1), body=other.body), end(1)])
    assert not store.recall(*ASKED).unfinished
    assert len(store.recall(VENUE, "second", SYMBOL).unfinished) == 1


def test_the_fills_of_an_unfinished_order_are_recalled_with_it(store: JournalStore) -> None:
    store.write([intent(1), intent(2), fill(1, "7", "0.1"), fill(2, "8", "0.2"), fill(1, "9", "0.15"), end(2)])
    recalled = store.recall(*ASKED)
    assert recalled.unfinished[0].trades == (("7", D("0.1")), ("9", D("0.15")))
    assert recalled.unfinished[0].accepted
    assert (recalled.position, recalled.last_trade_id) == (D("0.45"), "9")


def test_a_trade_counts_once_in_whatever_order_it_is_told(store: JournalStore, path: Path) -> None:
    store.write([fill(1, "9", "0.2"), fill(2, "7", "0.1", "sell"), fill(1, "9", "0.2")])
    store.write([fill(1, "9", "0.2"), fill(1, "10", "1")])
    recalled = store.recall(*ASKED)
    assert (recalled.unfinished, recalled.position, recalled.last_trade_id) == ((), D("1.1"), "10")
    assert len(rows(path)) == 3


@given(told=st.lists(st.tuples(st.integers(1, 30), st.booleans()), max_size=60), cut=st.integers(0, 60))
def test_position_is_what_the_different_trades_add_up_to(told: list[tuple[int, bool]], cut: int) -> None:
    with closing(JournalStore(None)) as store:
        side = {number: "buy" if number % 3 else "sell" for number, _ in told}
        fills = [fill(1, f"x{number}" if named else str(number), "0.1", side[number]) for number, named in told]
        store.write(fills[:cut])
        store.write(fills[cut:])
        trades = {one.body["trade_id"]: D("0.1") if one.body["side"] == "buy" else -D("0.1") for one in fills}
        assert store.recall(*ASKED).position == sum(trades.values())


def test_forgotten_trades_count_as_counted(store: JournalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_store, "KEPT_TRADES", 10)
    store.write([intent(1), fill(1, "3", "1")])
    for number in range(10, 60):
        store.write([fill(2, str(number), "1")])
        store.tidy(idle=True)
    known = store._db.execute("SELECT trade_id FROM trades ORDER BY number").fetchall()
    assert known[0] == ("3",), "a trade of an unfinished order is never forgotten"
    assert len(known) <= 21
    store.write([fill(2, str(number), "1") for number in range(3, 60)])
    assert store.recall(*ASKED).position == 51
    store.write([fill(2, "60", "1")])
    assert store.recall(*ASKED).position == 52


def test_an_end_in_good_order_sets_the_position_to_nothing_and_keeps_the_last_trade(store: JournalStore) -> None:
    store.write([fill(1, "7"), entry(Kind.ENDED, symbol="", epoch=17)])
    recalled = store.recall(*ASKED)
    assert (recalled.position, recalled.last_trade_id, recalled.ended_epoch) == (0, "7", 17)
    store.write([fill(1, "7"), fill(1, "8")])
    assert store.recall(*ASKED).position == 0, "told late: the run that it is of has ended"
    store.write([replace(fill(1, "9"), client_id=encode_own_id(Layer.NEAR, Side.BUY, 18, 1))])
    recalled = store.recall(*ASKED)
    assert (recalled.position, recalled.last_trade_id) == (D("0.1"), "9")
    store.write([entry(Kind.ENDED, symbol="ETHUSDT")])
    assert store.recall(*ASKED).position == D("0.1")
    store.write([entry(Kind.ENDED)])
    assert store.recall(*ASKED).position == 0


def test_where_all_trades_are_young_one_before_them_may_be_missing(store: JournalStore) -> None:
    store.write([entry(Kind.FILL, 1, **fill(1, trade_id).body, traded_ms=T0_MS) for trade_id in ("8", "9")])
    recalled = store.recall(*ASKED)
    assert (recalled.read_from, recalled.counted) == (None, {"8", "9"})


def test_the_venues_trades_are_read_on_from_a_minute_before_the_newest(store: JournalStore) -> None:
    """A stream can lose a trade without a word, and the list that would have shown it is read once a minute."""
    assert store.recall(*ASKED).read_from is None
    told = {"7": 0, "12": 114_000, "9": 5000, "14": 116_000}
    store.write([entry(Kind.FILL, 1, **fill(1, trade_id).body, traded_ms=T0_MS + ms) for trade_id, ms in told.items()])
    recalled = store.recall(*ASKED)
    assert (recalled.read_from, recalled.counted) == ("9", {"12", "14"})
    store.write([fill(1, "x1")])
    assert (store.recall(*ASKED).read_from, store.recall(*ASKED).counted) == ("x1", frozenset())


def test_the_venues_trades_are_read_on_from_where_they_were_read_to(store: JournalStore) -> None:
    """However long the list could not be read: what its stream told since may have a trade missing before it."""
    told = {"7": 0, "9": 1000, "12": 300_000, "14": 600_000}
    fills = [entry(Kind.FILL, 1, **fill(1, one).body, traded_ms=T0_MS + ms) for one, ms in told.items()]
    store.write([*fills[:2], entry(Kind.TRADES, trade_id="7"), entry(Kind.TRADES, trade_id="8"), *fills[2:]])
    recalled = store.recall(*ASKED)
    assert (recalled.read_from, recalled.counted) == ("8", {"9", "12", "14"})
    store.write([entry(Kind.TRADES, trade_id="13")])
    assert (store.recall(*ASKED).read_from, store.recall(*ASKED).counted) == ("13", {"14"})


def test_trades_that_were_read_before_there_was_one_are_read_from_the_first(store: JournalStore) -> None:
    store.write([entry(Kind.TRADES, trade_id="")])
    store.write([entry(Kind.FILL, 1, **fill(1, one).body, traded_ms=int(one) * 600_000) for one in ("8", "9")])
    assert (store.recall(*ASKED).read_from, store.recall(*ASKED).counted) == (None, {"8", "9"})


def test_what_was_read_to_is_never_before_what_is_forgotten(
    store: JournalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_store, "KEPT_TRADES", 10)
    store.write([entry(Kind.TRADES, trade_id="9")])
    for number in range(10, 60):
        store.write([fill(2, str(number), "1")])
        store.tidy(idle=True)
    recalled = store.recall(*ASKED)
    assert recalled.read_from is not None
    assert int(recalled.read_from) > 9
    assert recalled.counted == {str(number) for number in range(int(recalled.read_from) + 1, 60)}


def test_it_knows_the_ids_that_it_has_an_intent_of(store: JournalStore) -> None:
    store.write([intent(1), intent(2), end(2), entry(Kind.ADOPTED, 3)])
    assert store.knows([own_id(number) for number in range(1000)]) == {own_id(1), own_id(2)}
    assert store.knows([]) == frozenset()


def test_old_entries_go_and_what_recovery_needs_stays(path: Path) -> None:
    bound = 4 << 20
    with closing(JournalStore(path, max_bytes=bound)) as store:
        store.write([intent(1), entry(Kind.REPLY, 1, event="accepted"), fill(1, "7")])
        for number in range(150):
            store.write([entry(Kind.DECISION, decision=f"17-{number}", book="x" * 3500) for _ in range(20)])
            while store.tidy(idle=False):
                pass
            sizes = {file.name: file.stat().st_size for file in path.parent.glob("journal.sqlite*")}
            sizes[f"{path.name}-wal"] = bound // WAL_SHARE  # as long as it may be at any moment
            assert sum(sizes.values()) <= bound, f"after {number} batches"
        recalled = store.recall(*ASKED)
        assert recalled.unfinished[0].trades == (("7", D("0.1")),)
        assert recalled.unfinished[0].accepted
        assert (recalled.position, recalled.last_trade_id) == (D("0.1"), "7")
        assert store.knows([own_id(1)]) == {own_id(1)}
        store.write([fill(1, "7")])
        assert store.recall(*ASKED).position == D("0.1")
    left = rows(path, "body")
    assert "17-149" in str(left[-1])
    assert 500 < len(left) < 1200


def test_the_disk_is_waited_for_once_in_a_while_only(path: Path) -> None:
    with closing(JournalStore(path)) as store:
        asked: list[str] = []
        store._db.set_trace_callback(asked.append)
        for number in range(600):
            store.write([intent(number), entry(Kind.DECISION, book="x" * 4000)])
            store.tidy(idle=True)
    assert 3 <= sum("wal_checkpoint" in one for one in asked) <= 30


def test_a_transaction_is_whole_or_not_there(store: JournalStore, path: Path) -> None:
    store.write([intent(1)])
    store._db.execute(f"PRAGMA max_page_count = {store._pragma('page_count')}")
    with pytest.raises(JournalUnwritable, match=r"full \(make room"):
        store.write([intent(2), fill(1, "7"), entry(Kind.DECISION, book="x" * 100_000)])
    assert rows(path) == [("intent", own_id(1))]
    assert store.recall(*ASKED).position == 0
    store._db.execute("PRAGMA max_page_count = 1000000")
    store.write([fill(1, "7")])
    assert store.recall(*ASKED).position == D("0.1")


@pytest.mark.parametrize(
    "wrong",
    [
        intent(1, price="much"),
        intent(1, layer="middle"),
        intent(1, epoch=None),
        entry(Kind.INTENT, 1),
        fill(1, "7", "?"),
    ],
)
def test_an_entry_that_lacks_what_it_must_say_is_refused_alone(store: JournalStore, path: Path, wrong: Entry) -> None:
    with pytest.raises(ValueError, match=wrong.kind):
        store.write([intent(2), wrong])
    assert rows(path) == []


def test_rubbish_in_text_is_written_all_the_same(store: JournalStore, path: Path) -> None:
    store.write(
        [Entry(Kind.FAULT, T0_MS, VENUE, "m\udcffain", "", "x\udcff", body={"detail": "half \udcff", "n": D(1)})]
    )  # type: ignore[dict-item]
    assert rows(path, "account, body") == [("m?ain", '{"detail":"half \\udcff","n":"1"}')]


# Files


def test_file_and_folder_are_their_owners_alone(store: JournalStore, path: Path) -> None:
    store.write([intent(1)])
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    assert len(list(path.parent.iterdir())) >= 3


def test_a_newer_version_is_refused_and_left_alone(store: JournalStore, path: Path) -> None:
    store._db.execute(f"PRAGMA user_version = {VERSION + 1}")
    store.close()
    before = path.read_bytes()
    with pytest.raises(JournalUnwritable) as refused:
        JournalStore(path)
    assert str(refused.value) == (
        f"the journal {path} is of version 2, and this mmctl writes version 1"
        " (use the newer mmctl that wrote it, or another MMCTL_STATE_DIR)"
    )
    assert path.read_bytes() == before


@pytest.mark.parametrize("rubbish", [b"not a database, and longer than the header of one would be" * 90, b"x"])
def test_rubbish_is_told_and_never_overwritten(path: Path, rubbish: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(rubbish)
    with pytest.raises(JournalUnwritable, match=f"{path} cannot be written: file is not a database .*move it away"):
        JournalStore(path)
    assert path.read_bytes() == rubbish
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_another_database_is_told_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE t (x)")
    before = path.read_bytes()
    with pytest.raises(JournalUnwritable, match=f"{path} is not a journal of mmctl .*move it away"):
        JournalStore(path)
    assert path.read_bytes() == before


def test_a_damaged_journal_is_told(path: Path) -> None:
    with closing(JournalStore(path)) as store:
        store.write([entry(Kind.DECISION, book="x" * 50_000) for _ in range(5)])
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
    with pytest.raises(JournalUnwritable, match=r"malformed .*move it away"), closing(JournalStore(path)) as store:
        store.write([intent(1)])


def test_a_folder_that_is_a_file_is_told(path: Path) -> None:
    path.parent.write_text("")
    with pytest.raises(JournalUnwritable, match=r"File exists|Not a directory") as told:
        JournalStore(path)
    assert "MMCTL_STATE_DIR" in told.value.hint


def test_a_moved_file_is_told_before_anything_goes_into_it(store: JournalStore, path: Path) -> None:
    path.rename(path.with_name("moved"))
    with pytest.raises(JournalUnwritable, match="was moved or removed"):
        store.write([intent(1)])


def test_two_stores_write_to_one_file(store: JournalStore, path: Path) -> None:
    store.write([intent(1)])
    write_now(path, [entry(Kind.STOP, by="me", remaining=[])])
    store.write([intent(2)])
    assert [kind for kind, _ in rows(path)] == ["intent", "stop", "intent"]
