"""The wiring of what hosts share, alone so that it imports little: an address -> Redis behind its port."""

from __future__ import annotations

from mmctl.ports import Shared


def make_shared(redis_url: str | None) -> Shared | None:
    """Redis at an address that was checked, not asked for anything yet; ``None`` where none is configured.

    Slow to import: a stop calls it when its first requests have left. Raises ``UsageError`` where an option of the
    address does not fit.
    """
    if redis_url is None:
        return None
    from mmctl.shared.redis import RedisShared

    return RedisShared(redis_url)
