"""Checks as lines of text and as JSON, version 1: what was found and the mend, a line each."""

from __future__ import annotations

import json

from mmctl.core.checks import Check, Status, Tally
from mmctl.views.jsonlines import VERSION
from mmctl.views.text import clean

_WORDS = {Status.OK: "ok  ", Status.WARN: "warn", Status.FAIL: "FAIL", Status.SKIP: "skip"}


def line(check: Check) -> str:
    """``FAIL`` alone is in capitals: it is what an eye looks for."""
    subject = " ".join(filter(None, (check.name, check.pair or check.account)))
    mend = f" ({check.hint})" if check.hint else ""
    return clean(f"{_WORDS[check.status]}  {subject}: {check.detail}{mend}")


def last_line(tally: Tally) -> str:
    """What all checks come to."""
    if not tally.failed and not tally.warned:
        return "All is well."
    return f"{tally.failed} failed, {tally.warned} with a warning."


def json_line(check: Check) -> str:
    """``pair`` and ``account`` are there where the check is about one."""
    fields: dict[str, object] = {"name": check.name, "status": check.status.value}
    fields |= {"detail": check.detail, "hint": check.hint}
    if check.pair:
        fields["pair"] = check.pair
    if check.account:
        fields["account"] = check.account
    return _object("check", fields)


def json_last_line(tally: Tally) -> str:
    return _object("doctor", {"ok": not tally.failed, "failed": tally.failed, "warned": tally.warned})


def _object(event: str, fields: dict[str, object]) -> str:
    return json.dumps({"v": VERSION, "event": event, **fields}, separators=(",", ":"))
