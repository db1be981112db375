"""A journal in memory that does as it is told: it commits at once, late, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from mmctl.core.entries import Entry, Kind, Recalled
from mmctl.errors import JournalUnwritable


class Notebook:
    """The ``Journal`` port; ``entries`` is all that was written, in order."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.fault = ""
        self.takes_s = 0.0
        self.broken = ""
        self.recalled: dict[str, Recalled] = {}
        self.closed = False

    async def commit(self, entries: Sequence[Entry]) -> None:
        if self.takes_s:
            await asyncio.sleep(self.takes_s)
        if self.broken:
            raise JournalUnwritable(f"the journal cannot be written: {self.broken}")
        self.entries += entries

    def note(self, entry: Entry) -> None:
        self.entries.append(entry)

    async def recall(self, venue: str, owner: str, symbol: str) -> Recalled:
        if self.broken:
            raise JournalUnwritable(f"the journal cannot be read: {self.broken}")
        return self.recalled.get(symbol, Recalled())

    async def knows(self, client_ids: Sequence[str]) -> frozenset[str]:
        if self.broken:
            raise JournalUnwritable(f"the journal cannot be read: {self.broken}")
        return frozenset(client_ids) & {entry.client_id for entry in self.of(Kind.INTENT)}

    async def close(self) -> None:
        self.closed = True

    def of(self, kind: Kind, client_id: str | None = None) -> list[Entry]:
        return [one for one in self.entries if one.kind is kind and client_id in (None, one.client_id)]
