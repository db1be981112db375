"""The lines of the list of halts in Redis: one JSON record each, a halt or a resume."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mmctl.core.order import Layer
from mmctl.ports import Halt, HaltScope, SharedHalts


def halt_line(halt: Halt) -> str:
    """A halt as it is kept."""
    words = {
        "uid": halt.uid,
        "halt": halt.scope.words(),
        "by": halt.by,
        "at_ms": halt.at_ms,
        "why": halt.why,
    }
    return json.dumps(words, separators=(",", ":"))


def resume_line(uids: Sequence[str], *, by: str, at_ms: int) -> str:
    """A resume record of the halts ``uids`` as it is kept."""
    return json.dumps({"resume": list(uids), "by": by, "at_ms": at_ms}, separators=(",", ":"))


def parsed(lines: Sequence[bytes]) -> SharedHalts:
    """What all the lines together say; a line that is no record is rubbish."""
    halts: dict[str, Halt] = {}
    lifted: dict[str, tuple[str, int]] = {}
    rubbish: list[str] = []
    for line in lines:
        try:
            record = json.loads(line)
            by, at_ms = str(record["by"]), int(record["at_ms"])
            if "resume" in record:
                lifted.update(dict.fromkeys((str(one) for one in record["resume"]), (by, at_ms)))
            else:
                halt = _halt(record, by, at_ms)
                halts.setdefault(halt.uid, halt)
        except (ValueError, KeyError, TypeError):
            rubbish.append(line[:80].decode(errors="replace"))
    return SharedHalts(halts, lifted, tuple(rubbish))


def _halt(record: dict[str, Any], by: str, at_ms: int) -> Halt:
    scope, uid = record["halt"], record["uid"]
    if not isinstance(uid, str) or not uid:
        raise ValueError("a halt without a name")
    layer = scope["layer"]
    names = (scope["venue"], scope["account"])
    if not all(isinstance(name, str) for name in names) or not isinstance(scope["symbol"], str | None):
        raise ValueError("a scope that is none")
    covers = HaltScope(*names, scope["symbol"], None if layer is None else Layer(layer))
    return Halt(0, covers, by, at_ms, str(record["why"]), uid)
