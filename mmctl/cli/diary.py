"""What a person or a process asked for goes into the journal, after it was done, and never in its way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmctl.cli.options import note
from mmctl.core.entries import Entry, Kind, Plain
from mmctl.engine.beside import beside
from mmctl.engine.halt import who
from mmctl.errors import MmctlError

WRITE_WITHIN_S = 2.0
"""How long the journal is waited for: who stops has other things to do."""


def entries(
    kind: Kind, venue: str, account: str, symbols: Sequence[str] | None, body: Mapping[str, Plain], by: str = ""
) -> list[Entry]:
    """One entry a symbol, or one that is about no symbol in particular."""
    at_ms, whole = time.time_ns() // 1_000_000, {"by": by or who(), **body}
    return [Entry(kind, at_ms, venue, account, symbol=symbol, body=whole) for symbol in symbols or ("",)]


async def write_down(state_dir: Path, asked: Sequence[Entry]) -> None:
    """Write ``asked`` into the journal of the state folder; what keeps it from that is told, and no more."""
    try:
        async with asyncio.timeout(WRITE_WITHIN_S):
            fault = await beside(lambda: _written(state_dir, asked))
    except TimeoutError:
        fault = f"nothing was written within {WRITE_WITHIN_S:g} s"
    if fault:
        note(f"not in the journal: {fault}")


def _written(state_dir: Path, asked: Sequence[Entry]) -> str:
    """Why they could not be written; empty where they were."""
    from mmctl.engine.journal import journal_path
    from mmctl.engine.journal_store import write_now

    try:
        write_now(journal_path(state_dir), asked)
    except MmctlError as error:
        return str(error)
    return ""
