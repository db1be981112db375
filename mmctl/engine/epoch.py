"""The epoch: a number that grows with every engine that starts, and is part of every client order id.

With it ids never repeat, over restarts and steps of the wall clock alike.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from mmctl.core.order import MAX_EPOCH
from mmctl.engine.lock import locked, mend
from mmctl.errors import StateUnreadable


def next_epoch(
    state_dir: Path, venue: str, account: str, *, wall_ms: int, seen: int = 0, user_id: str | None = None
) -> int:
    """One more than the largest of: what is stored, ``seen`` in open own orders, and the Unix seconds.

    It is stored before it is used, under the venue's own number of the account where it has one: an account of two
    names has one. Raises ``StateUnreadable`` where the state folder cannot be read or written, or holds rubbish.
    """
    path = state_dir / f"epoch-{venue}-{quote(user_id, safe='') if user_id else account}"
    try:
        with locked(path.with_name(path.name + ".lock")):
            # Before the venue's number was known, or by an older mmctl, it was stored under the name.
            stored = max(_stored(path), _stored(state_dir / f"epoch-{venue}-{account}"))
            epoch = 1 + max(stored, seen, wall_ms // 1000)
            if epoch > MAX_EPOCH:
                raise StateUnreadable(
                    f"epoch {epoch} in {path} is too large", "set the clock right and remove the file"
                )
            fresh = path.with_name(path.name + ".new")
            fresh.write_text(f"{epoch}\n")
            os.replace(fresh, path)
    except OSError as error:
        raise StateUnreadable(
            f"the state folder {state_dir} cannot be used: {error.strerror}",
            mend(error),
        ) from error
    return epoch


def _stored(path: Path) -> int:
    """The number in ``path``, 0 where there is none. Raises ``StateUnreadable`` for rubbish, and ``OSError``."""
    try:
        return int(path.read_text()) if path.exists() else 0
    except ValueError as error:
        raise StateUnreadable(f"{path} does not hold a number", "remove it") from error
