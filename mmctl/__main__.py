"""``python -m mmctl``, and the ``mmctl`` command."""

from __future__ import annotations

import contextlib
import io
import os
import sys


def main() -> None:
    """Run the command line and end with its exit code.

    Nothing is left to the interpreter's own end: it would wait for a thread whose reader does not read, and
    takes a tenth of the time of a short command.
    """
    try:
        _mend_streams()
        from mmctl.cli import run_cli

        code = run_cli(sys.argv[1:])
    except KeyboardInterrupt:  # while still importing
        code = 130
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or given up by a verb
            stream.flush()
    os._exit(code)


def _mend_streams() -> None:
    """Whatever standard output and error are, writing to them must not be a fault of ours."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by who started us; the next file opened would take its number
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for good
        elif isinstance(stream, io.TextIOWrapper) and name == "stdout":
            stream.reconfigure(errors="replace")  # a terminal that is not UTF-8 lacks some characters


if __name__ == "__main__":
    main()
