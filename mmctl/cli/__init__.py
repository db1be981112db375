"""The ``mmctl`` command: its verbs, and how a fault becomes one line and an exit code.

Nothing heavy is imported here: every verb imports what it needs when it runs, so that ``--help`` is quick.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from mmctl import __version__
from mmctl.cli import doctor, drill, journal, looking, quoting, sandbox, stopping, watching
from mmctl.cli.options import say
from mmctl.cli.plain import PlainGroup
from mmctl.errors import EXIT_DONE, EXIT_FAULT, EXIT_SIGINT, EXIT_USAGE, MmctlError, UsageError

app = typer.Typer(
    name="mmctl",
    cls=PlainGroup,
    help="Make markets from a reference book: two ladders of own quotes, and a stop that is proven.",
    epilog="\b\nStart with:       mmctl dry-run\nIn an emergency:  mmctl cancel-near --profile NAME",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
quoting.add_to(app)
looking.add_to(app)
stopping.add_to(app)
watching.add_to(app)
journal.add_to(app)
doctor.add_to(app)
sandbox.add_to(app)
drill.add_to(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mmctl {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and end.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def run_cli(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; faults become one line, traces only with ``--debug``."""
    try:
        code = app(args=list(arguments), prog_name="mmctl", standalone_mode=False)
    except typer.TyperException as error:
        where = getattr(getattr(error, "ctx", None), "command_path", "mmctl")
        message = " ".join(error.format_message().split()).replace(": Value error, ", ": ").rstrip(".")
        _tell(arguments, "usage", message, f"see `{where} --help`")
        return EXIT_USAGE
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_SIGINT
    except SystemExit:  # how Typer ends where the reader of a help page has gone
        return EXIT_DONE
    except Exception as error:  # noqa: BLE001 - the top: saves the operator from a trace
        return _tell_fault(arguments, error)
    return code if isinstance(code, int) else EXIT_DONE


def _tell_fault(arguments: Sequence[str], error: Exception) -> int:
    """One line for whatever a verb raised; returns the exit code."""
    while isinstance(error, ExceptionGroup):  # a task's fault, in the wrapping of its group
        error = error.exceptions[0]
    if "--debug" in arguments and not isinstance(error, UsageError):
        traceback.print_exception(error)
    if isinstance(error, MmctlError):
        _tell(arguments, error.kind, error.message, error.hint)
        return error.exit_code
    hint = "" if "--debug" in arguments else "run again with --debug for the trace"
    _tell(arguments, "fault", f"{type(error).__name__}: {error}", hint)
    return EXIT_FAULT


def _tell(arguments: Sequence[str], kind: str, message: str, hint: str) -> None:
    from mmctl.views import jsonlines, text

    if _wants_json(arguments):
        say(jsonlines.error(kind, message, hint))
    else:
        say(text.error(kind, message, hint), err=True)


def _wants_json(arguments: Sequence[str]) -> bool:
    """Whether ``--output json`` is on the command line, which may be wrong in other places."""
    joined = " ".join(arguments).replace("--output ", "--output=")
    return "--output=json" in joined
