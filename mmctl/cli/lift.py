"""How ``resume`` lifts halts: those in scope, named one by one, and never while a stop is sweeping."""

from __future__ import annotations

import contextlib
import os
import time

from mmctl.cli.options import Output, say, warn_of_environment
from mmctl.cli.stop_targets import ScopeAsked, targets
from mmctl.engine.halt import FileHaltLatch, who
from mmctl.engine.lock import alone, stop_lock
from mmctl.errors import EXIT_DONE, PairHeld
from mmctl.ports import Halt
from mmctl.settings import state_dir


def lift(asked: ScopeAsked, output: Output) -> int:
    """Lift the halts of the accounts in scope, or of the pairs named.

    Raises ``UsageError``, ``StateUnreadable``, and ``PairHeld`` while a stop is sweeping one of the accounts.
    """
    warn_of_environment()
    found, _ = targets(asked, mock=True)
    accounts = {(target.account.venue, target.account.name): target for target in found}

    def chosen(halt: Halt) -> bool:
        target = accounts.get((halt.scope.venue, halt.scope.account))
        return target is not None and (target.symbols is None or halt.scope.symbol in target.symbols)

    latch = FileHaltLatch(state_dir(os.environ))
    with contextlib.ExitStack() as stack:
        for venue, account in accounts:
            if not stack.enter_context(alone(stop_lock(latch.path.parent, venue, account))):
                raise PairHeld(f"a stop is sweeping {venue}, account {account}", "resume when it has ended")
        lifted = latch.resume(chosen, by=who(), at_ms=time.time_ns() // 1_000_000)
    left = [halt for halt in latch.halts() if (halt.scope.venue, halt.scope.account) in accounts]
    if output is Output.JSON:
        from mmctl.views import jsonlines

        say(jsonlines.resumed([str(one) for one in lifted], [str(one) for one in left]))
        return EXIT_DONE
    for one in lifted:
        say(f"lifted {one!s}")
    if not lifted:
        say("nothing was halted in this scope")
    for one in left:
        say(f"still halted: {one!s}" + ("" if one.scope.symbol else "; resume without --pair lifts it"))
    return EXIT_DONE
