"""The system's clock behind the ``Clock`` port."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """Monotonic time from the running loop, so that a loop with virtual time moves it too."""

    def __init__(self, wall_offset_ms: int | None = None) -> None:
        self._wall_offset_ms = wall_offset_ms

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def wall_ms(self) -> int:
        if self._wall_offset_ms is None:
            return time.time_ns() // 1_000_000
        return self._wall_offset_ms + round(self.monotonic() * 1000)

    def boot_s(self) -> float:
        if self._wall_offset_ms is not None or not hasattr(time, "CLOCK_BOOTTIME"):  # macOS: monotonic counts it
            return self.monotonic()
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))
