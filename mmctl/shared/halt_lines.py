"""The lines of the list of halts in Redis: one JSON record each, a halt or a resume."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mmctl.core import halt_words
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
            record = halt_words.record_of(line)
            by, at_ms = halt_words.text(record, "by"), halt_words.moment_ms(record)
            if "resume" in record:
                lifted.update(dict.fromkeys(halt_words.names(record["resume"]), (by, at_ms)))
            else:
                halt = _halt(record, by, at_ms)
                halts.setdefault(halt.uid, halt)
        except ValueError:
            rubbish.append(line[:80].decode(errors="replace"))
    return SharedHalts(halts, lifted, tuple(rubbish))


def _halt(record: dict[str, Any], by: str, at_ms: int) -> Halt:
    if not (uid := halt_words.text(record, "uid")):
        raise ValueError("a halt without a name")
    return Halt(0, HaltScope(*halt_words.scope_of(record)), by, at_ms, halt_words.text(record, "why"), uid)
