"""How ``show-book`` and ``diff`` look: the feed first, then the venue; one picture a pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mmctl.bootstrap import Setup, open_pairs, readable_venues
from mmctl.cli.options import Output, note, say
from mmctl.core.order import Layer, Order, Quote
from mmctl.core.report import BookShown, Planned, Refusal, Report, Wanted
from mmctl.engine.cycle import observe
from mmctl.engine.pair import Pair
from mmctl.engine.pair_view import view_of
from mmctl.engine.recovery import adopt
from mmctl.errors import EXIT_CHANGES, EXIT_DONE, EXIT_NO_BOOK, EXIT_VENUE, NoBook, NoKeys, VenueError
from mmctl.ports import Feed
from mmctl.views import jsonlines, text

WRITER_HINT = "look at what writes the books"


def _unheard(report: Report) -> None:
    """What the engine's parts tell along the way is shown by the picture itself."""


async def show_books(setup: Setup, output: Output) -> int:
    """Show each pair's book with own orders; returns the exit code. Raises ``FeedUnreachable``."""
    code = EXIT_DONE
    async with open_pairs(setup, readable_venues, _unheard, note) as (feed, pairs):
        for pair in pairs:
            try:
                shown = await _book_shown(pair, feed)
            except NoBook as error:
                code = max(code, _no_book(error, output))
                continue
            unusable = _unusable(pair)
            code = max(
                code, EXIT_VENUE if shown.unread and not pair.desk.unread else EXIT_NO_BOOK if unusable else EXIT_DONE
            )
            if output is Output.LIVE:
                _print_ladder(pair, shown)
            else:
                say(jsonlines.book(shown) if output is Output.JSON else text.book(shown))
            if unusable:
                note(f"{pair.spec.name}: {unusable}: it is not quoted on ({WRITER_HINT})")
            if shown.unread:
                note(f"{pair.spec.name}: {shown.unread}")
    return code


async def show_plans(setup: Setup, output: Output) -> int:
    """Show what each pair's next rounds would do; returns the exit code.

    Raises ``FeedUnreachable``, and ``VenueError`` where the venue cannot be read.
    """
    changes, code = 0, EXIT_DONE
    async with open_pairs(setup, readable_venues, _unheard, note) as (feed, pairs):
        for pair in pairs:
            try:
                planned = await _planned(pair, feed)
            except NoBook as error:
                code = _no_book(error, output)
                continue
            changes += planned.changes
            if output is Output.LIVE:
                from rich.console import Console

                from mmctl.views.plan import plan

                Console().print(plan(planned))
            else:
                say(jsonlines.plan(planned) if output is Output.JSON else text.plan(planned))
    return code or (EXIT_CHANGES if changes else EXIT_DONE)


def _no_book(error: NoBook, output: Output) -> int:
    """One pair has no book: say so, and go on with the others."""
    as_json = output is Output.JSON
    say((jsonlines if as_json else text).error(error.kind, error.message, error.hint), err=not as_json)
    return error.exit_code


async def _book_shown(pair: Pair, feed: Feed) -> BookShown:
    await observe(pair, feed)
    book = pair.age.book
    if book is None:
        raise NoBook(f"{feed.source} has no book of {pair.spec.follow}")
    age_ms = pair.age.age_s(pair.clock.wall_ms(), pair.clock.monotonic()) * 1000
    if pair.desk.unread:
        return BookShown(pair.spec.name, pair.instrument, book, age_ms, None, None, pair.desk.unread)
    try:
        await adopt(pair)
    except VenueError as error:
        return BookShown(pair.spec.name, pair.instrument, book, age_ms, None, None, str(error))
    return BookShown(pair.spec.name, pair.instrument, book, age_ms, tuple(pair.ledger.live()), pair.foreign)


def _unusable(pair: Pair) -> str:
    """Why no layer may quote on the newest book, or nothing."""
    now_ms, now_s = pair.clock.wall_ms(), pair.clock.monotonic()
    stales = [pair.age.stale(state.spec.quote_timeout_s, now_ms, now_s) for state in pair.layers.values()]
    return next((stale.detail for stale in stales if stale is not None), "") if all(stales) else ""


async def _planned(pair: Pair, feed: Feed) -> Planned:
    """Both layers' plans on one book, near first, as rounds of an engine that starts now would make them."""
    if pair.desk.unread:
        raise NoKeys(f"{pair.spec.name}: {pair.desk.unread}")
    await observe(pair, feed)
    await pair.desk.refresh_balances()
    await adopt(pair)
    live = pair.ledger.live()
    keep: list[Wanted] = []
    place: list[Wanted] = []
    cancel: dict[str, Wanted] = {}
    refused: list[Refusal] = []
    for layer, state in pair.layers.items():
        stale = pair.age.stale(state.spec.quote_timeout_s, pair.clock.wall_ms(), pair.clock.monotonic())
        book = pair.age.book
        if stale is not None or book is None:
            raise NoBook(f"{pair.spec.name}: {stale.detail if stale else 'there is no book'}", WRITER_HINT)
        reference = pair.decider.reference(book, live)
        if reference.fault is not None:
            raise NoBook(f"{pair.spec.name}: without own orders {reference.fault}", WRITER_HINT)
        decision = pair.decider.decide(layer, reference, live, pair.room(), forced=False, refreshes=0)
        keep += [Wanted(order, "matches") for order in decision.plan.keep]
        place += [Wanted(_to_be(quote), "wanted") for quote in decision.plan.place]
        cancel |= {wanted.order.client_id: wanted for wanted in decision.plan.cancel}
        refused += decision.refused
        _set_aside(pair, layer, decision.plan.place)
    kept = tuple(wanted for wanted in keep if wanted.order.client_id not in cancel)
    return Planned(pair.spec.name, pair.instrument, kept, tuple(place), tuple(cancel.values()), tuple(refused))


def _to_be(quote: Quote) -> Order:
    return Order("", quote.layer, quote.side, quote.price, quote.qty)


def _set_aside(pair: Pair, layer: Layer, quotes: Sequence[Quote]) -> None:
    """What near would lock is not there for far."""
    for number, quote in enumerate(quotes):
        pair.desk.budget.reserve(f"{layer} {number}", pair.instrument, quote)


def _print_ladder(pair: Pair, shown: BookShown) -> None:
    from rich.console import Console

    from mmctl.views.ladder import ladder

    console = Console()
    view = replace(view_of(pair), status="", quoting=True)
    own = "own not read" if shown.own is None else f"own {len(shown.own)}  foreign {shown.foreign}"
    console.print(
        f"{view.pair}  {shown.book.key} from {view.source}  age {text.seconds(shown.age_ms)}  {own}", highlight=False
    )
    # The title, and the prompt that follows, are to stay on the screen too.
    console.print(ladder(view, min(console.width, 100), max(12, console.height - 3)))
