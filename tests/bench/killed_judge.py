"""What a venue's whole history and a journal say of lives that were killed: the invariants, checked at the end."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections import Counter, defaultdict
from decimal import Decimal
from itertools import pairwise
from typing import Any

from killed_lives import Life, Tally

from mmctl.core.order import OwnId, decode_own_id

Json = dict[str, Any]
LEVELS = 5
DIFF_BPS = {"near": Decimal(1), "far": Decimal(5)}
PAIRS = {"BTC-USDT": "BTCUSDT", "ETH-USDT": "ETHUSDT"}
"""The profile's, as ``kill_nine.py`` writes it."""


def differs(life: Life, open_orders: list[Json]) -> str:
    """How the venue's orders differ from the newest targets of both layers; empty where they do not."""
    newest_rounds = {(one["pair"], one["layer"]): one for one in life.of("round")}
    known = {order["client_id"] for one in newest_rounds.values() for order in (*one["keep"], *one["place"])}
    orphans = [one["clientOrderId"] for one in open_orders if one["clientOrderId"] not in known]
    if orphans:
        return f"open and in no ladder: {orphans}"
    for pair, symbol in PAIRS.items():
        for layer in ("near", "far"):
            one = newest_rounds.get((pair, layer))
            if one is None:
                return f"no {layer} round of {pair}"
            if one["place"] or one["cancel"] or one["refused"]:
                return f"{pair} {layer}: places {len(one['place'])}, cancels {len(one['cancel'])}, {one['refused'][:2]}"
            if bad := unlike(one, [o for o in open_orders if o["symbol"] == symbol and layer_of(o) == layer]):
                return f"{pair} {layer}: {bad}"
    return ""


def unlike(one: Json, orders: list[Json]) -> str:
    """How ``orders`` differ from the target of a round."""
    for side in ("buy", "sell"):
        wanted = sorted(Decimal(quote["price"]) for quote in one["target"] if quote["side"] == side)
        there = sorted(Decimal(order["price"]) for order in orders if order["side"].lower() == side)
        near_enough = DIFF_BPS[one["layer"]] / 10_000
        if len(wanted) != LEVELS:
            return f"only {len(wanted)} of {LEVELS} {side} quotes are wanted"
        if len(wanted) != len(there) or any(abs(a - b) > near_enough * a for a, b in zip(wanted, there, strict=True)):
            return f"{side}: wanted {[*map(str, wanted)]}, there are {[*map(str, there)]}"
    return ""


def layer_of(order: Json) -> str:
    return str(own(order).layer)


def own(order: Json) -> OwnId:
    decoded = decode_own_id(order["clientOrderId"])
    assert decoded is not None, order
    return decoded


def judge(tally: Tally, db: sqlite3.Connection, truth: Json, past: Json) -> None:
    """The venue's truth and history of all lives against the journal."""
    orders, main = past["orders"], truth["accounts"]["main"]
    print(f"on the venue: {len(orders)} orders taken, {len(main['placements'])} placements asked for")
    tally.check(not main["placed_twice"], f"placed twice: {main['placed_twice']}")
    tally.check(not truth["self_trades"], f"self trades: {truth['self_trades']}")
    tally.check(not truth["prevented_matches"], f"prevented matches: {truth['prevented_matches'][:3]}")
    intents = dict(db.execute("SELECT client_id, at_ms FROM entries WHERE kind = 'intent'"))
    (count,) = db.execute("SELECT count(*) FROM entries WHERE kind = 'intent'").fetchone()
    tally.check(count == len(intents), f"{count - len(intents)} intents stand in the journal twice")
    unknown = [name for name in main["placements"] if name not in intents]
    tally.check(not unknown, f"{len(unknown)} placements without an intent: {unknown[:5]}")
    late = [one for one in orders if intents.get(one["clientOrderId"], 0) > one["time"]]
    tally.check(not late, f"{len(late)} intents are later than their orders: {late[:2]}")
    judge_doubles(tally, db, orders)
    judge_most(tally, orders)


def judge_position(tally: Tally, db: sqlite3.Connection, past: Json, position: dict[str, str]) -> None:
    """The last run's position is what the account's trades since the last run before it that ended well add up to."""
    for pair, symbol in PAIRS.items():
        ends = db.execute(
            "SELECT at_ms FROM entries WHERE kind = 'ended' AND symbol = ? ORDER BY seq DESC LIMIT 2", (symbol,)
        ).fetchall()
        since_ms = ends[1][0] if len(ends) > 1 else 0
        own_trades = [one for one in past["trades"] if one["symbol"] == symbol]
        trades = [one for one in own_trades if one["time"] > since_ms]
        total = sum((Decimal(one["qty"]) * (1 if one["isBuyer"] else -1) for one in trades), Decimal(0))
        said = Decimal(position.get(pair, "NaN"))
        print(f"{pair}: position {said}; {len(trades)} trades since the last clean end add up to {total}")
        tally.check(said == total, f"{pair}: position {said}, {len(trades)} trades say {total}")
        told = {row[0] for row in db.execute("SELECT trade_id FROM trades WHERE symbol = ?", (symbol,))}
        missing = sorted({str(one["id"]) for one in own_trades} - told)
        tally.check(
            not missing, f"{pair}: {len(missing)} of {len(own_trades)} trades are not in the journal: {missing}"
        )


def judge_doubles(tally: Tally, db: sqlite3.Connection, orders: list[Json]) -> None:
    """No order is placed for a quote that has one, by the decision's own entry.

    An order at the same price that rested then was kept for a quote of its own, or its cancel had been asked for; and
    no decision keeps and places more than it has quotes.
    """
    decisions, placed_by, cancelled_at = decided(db)
    places: defaultdict[tuple[str, ...], list[Json]] = defaultdict(list)
    for one in orders:
        places[one["symbol"], layer_of(one), one["side"], one["price"]].append(one)
    doubles = 0
    for same in places.values():
        for earlier, later in pairwise(sorted(same, key=lambda one: (one["time"], one["orderId"]))):
            seq, decision = decisions.get(placed_by.get(later["clientOrderId"], ""), (0, {"keep": ()}))
            name = earlier["clientOrderId"]
            fits = name in decision["keep"] or cancelled_at.get(name, sys.maxsize) <= seq
            if ended_ms(earlier) > later["time"] and not fits:
                doubles += 1
                names = [f"{one['clientOrderId']} ({one['time']} to {ended_ms(one)})" for one in (earlier, later)]
                tally.check(False, f"two orders for one quote: {' and '.join(names)}")
    print(f"orders placed for a quote that had one: {doubles}")
    wants = Counter((name, row[0]) for name, (_, body) in decisions.items() for row in body["target"])
    has = Counter((name, side_of(kept)) for name, (_, body) in decisions.items() for kept in body["keep"])
    has += Counter((name, side_of(client_id)) for client_id, name in placed_by.items())
    over = {key: count for key, count in has.items() if count > wants[key]}
    tally.check(not over, f"decisions that keep and place more than they want: {over}")


def decided(db: sqlite3.Connection) -> tuple[dict[str, tuple[int, Json]], dict[str, str], dict[str, int]]:
    """Decisions by name, with their place in the journal; each intent's decision; and where an order's cancel was
    first decided or sent."""
    cancelled_at: dict[str, int] = {}
    decisions: dict[str, tuple[int, Json]] = {}
    placed_by: dict[str, str] = {}
    for seq, kind, client_id, text in db.execute(
        "SELECT seq, kind, client_id, body FROM entries WHERE kind IN ('decision', 'intent', 'request') ORDER BY seq"
    ):
        body = json.loads(text)
        if kind == "decision":
            decisions[body["decision"]] = seq, body
            for name, _ in body["cancel"]:
                cancelled_at.setdefault(name, seq)
        elif kind == "intent":
            placed_by[client_id] = body["decision"]
        elif body["request"] == "cancel":
            cancelled_at.setdefault(client_id, seq)
    return decisions, placed_by, cancelled_at


def side_of(client_id: str) -> str:
    return str(own({"clientOrderId": client_id}).side)


def judge_most(tally: Tally, orders: list[Json]) -> None:
    """Never more live orders a layer and side than twice the ladder."""
    changes: defaultdict[tuple[str, str, str], list[tuple[int, int]]] = defaultdict(list)
    for one in orders:
        key = one["symbol"], layer_of(one), one["side"]
        changes[key] += [(one["time"], 1), (ended_ms(one), -1)]
    most = 0
    for key, steps in changes.items():
        live = 0
        for _, step in sorted(steps):
            live += step
            most = max(most, live)
        tally.check(live == 0, f"{key}: {live} orders are open at the end")
    print(f"most live orders of a layer and side: {most}, of {2 * LEVELS} allowed")
    tally.check(most <= 2 * LEVELS, f"{most} live orders of one layer and side, {2 * LEVELS} are allowed")


def ended_ms(order: Json) -> int:
    still_open = order["status"] in ("NEW", "PARTIALLY_FILLED")
    return sys.maxsize if still_open else int(order["updateTime"])
