"""The wiring of how an engine is known to others: by the state folder, and by Redis where one is configured."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from mmctl import __version__
from mmctl.bootstrap_shared import make_shared
from mmctl.core.report import Faulted, Report
from mmctl.engine.beside import beside
from mmctl.engine.folder_presence import FolderPresence
from mmctl.engine.halt import FileHaltLatch
from mmctl.engine.presence import Presence
from mmctl.engine.scribe import Scribe
from mmctl.ports import Journal, Venue

if TYPE_CHECKING:
    from mmctl.bootstrap import Setup


def known_to_others(
    setup: Setup,
    venue: Venue,
    latch: FileHaltLatch,
    report: Callable[[Report], None],
    journal: Journal,
    stack: AsyncExitStack,
) -> Presence:
    """The presence of an engine on an open venue; all of it ends with ``stack``.

    Its faults are in the journal too. Raises ``UsageError`` where an option of Redis's address does not fit.
    """
    scribe = Scribe(journal, setup.clock, venue)

    def told(one: Report) -> None:
        if isinstance(one, Faulted):
            scribe.faulted("", one.kind, one.detail, one.action)
        report(one)

    shared = make_shared(setup.redis_url)
    if shared is not None:
        stack.push_async_callback(shared.close)
    made = FolderPresence(
        *(setup.state_dir, venue, setup.clock, latch, told),
        shared=shared,
        version=__version__,
        done_by=beside,
    )
    stack.push_async_callback(made.end)
    return made
