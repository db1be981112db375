"""The journal of a process that places nothing: verbs that look write no history, and could not place if they tried."""

from __future__ import annotations

from collections.abc import Sequence

from mmctl.core.entries import Entry, Recalled
from mmctl.errors import JournalUnwritable


class NoJournal:
    """The ``Journal`` port without a file: nothing is remembered, and no intent can be committed."""

    fault = "this process places nothing"

    async def commit(self, entries: Sequence[Entry]) -> None:
        raise JournalUnwritable(self.fault)

    def note(self, entry: Entry) -> None:
        """What a look meets is told on the screen."""

    async def recall(self, venue: str, owner: str, symbol: str) -> Recalled:
        return Recalled()

    async def knows(self, client_ids: Sequence[str]) -> frozenset[str]:
        return frozenset()

    async def close(self) -> None:
        """There is nothing to close."""
