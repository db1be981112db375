"""Redis, where one is configured: its client is imported and connected beside all else, and never waited for long."""

from __future__ import annotations

import asyncio
import os

from mmctl.bootstrap_shared import make_shared
from mmctl.engine.beside import beside
from mmctl.engine.everywhere import SHARED_TIMEOUT_S
from mmctl.errors import SharedUnreadable, UsageError
from mmctl.ports import Shared
from mmctl.settings import plain_redis_url


class SharedPlace:
    """What hosts share. ``where`` names the server for people, empty where none is configured.

    ``fault`` says what is wrong with the address, which is told wherever Redis is asked.
    """

    def __init__(self, url: str | None, where: str = "", fault: str = "") -> None:
        self._url = url
        self.where = where
        self._fault = fault
        self._opening: asyncio.Task[Shared | None] | None = None

    @property
    def configured(self) -> bool:
        return self._url is not None

    def begin(self) -> None:
        """Import and connect from now on."""
        if self._url is not None and not self._fault and self._opening is None:
            self._opening = asyncio.create_task(_open(self._url))

    async def get(self) -> Shared | None:
        """What hosts share; ``None`` where no Redis is configured. Raises ``SharedUnreadable``."""
        if self._fault:
            raise SharedUnreadable(self._fault, "mend the address")
        self.begin()
        if self._opening is None:
            return None
        try:
            async with asyncio.timeout(SHARED_TIMEOUT_S):
                return await asyncio.shield(self._opening)
        except UsageError as error:
            raise SharedUnreadable(error.message, error.hint) from None
        except TimeoutError:
            raise SharedUnreadable(f"the client of {self.where} took more than {SHARED_TIMEOUT_S:g} s") from None

    async def close(self) -> None:
        """Let go of it. Never raises."""
        opening, self._opening = self._opening, None
        if opening is None:
            return
        opening.cancel()
        (shared,) = await asyncio.gather(opening, return_exceptions=True)
        if shared is not None and not isinstance(shared, BaseException):
            await shared.close()


def shared_place(option: str | None, profile_url: str | None) -> SharedPlace:
    """Where hosts share: ``--redis-url``, else ``MMCTL_REDIS_URL``, else the profile's, else nowhere.

    Raises ``UsageError`` for a wrong address on the command line.
    """
    return SharedPlace(*plain_redis_url(option, os.environ, profile_url))


async def _open(url: str) -> Shared | None:
    return await beside(lambda: make_shared(url))
