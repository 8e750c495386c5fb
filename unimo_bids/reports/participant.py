"""A participant's report, put together from the figures that are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markdown_it import MarkdownIt
from markupsafe import Markup

from unimo_bids.bids.names import labels
from unimo_bids.errors import InputError
from unimo_bids.files.objects import read_object
from unimo_bids.reports.crashes import CrashReport
from unimo_bids.reports.page import data_uri, write_page
from unimo_bids.reports.reportlets import (
    SECTIONS,
    Section,
    anchor,
    find_reportlets,
    run_order,
    session_page,
)
from unimo_bids.reports.summary import AGAIN, Summary, read_summary


@dataclass(frozen=True)
class _Figure:
    """A figure of a run: its section, image, and the track of a movie."""

    section: Section
    anchor: str
    image: str
    track: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class _Run:
    """What a page says of a run; `href` is where it is shown with its figures."""

    entities: str
    anchor: str
    href: str
    session: str | None
    title: str
    errors: Sequence[CrashReport]
    complete: bool
    summary: Summary
    figures: Sequence[_Figure] = ()


def write_participant_report(
    out_dir: str | Path,
    participant: str,
    *,
    about: Mapping[str, str],
    methods: str,
    errors: Sequence[CrashReport] = (),
    runs: Sequence[str] = (),
    most_sessions: int = 4,
) -> Path:
    """Write the page of a participant, and those of the sessions where these are many.

    Parameters
    ----------
    out_dir
        Root of the derivatives; figures are sought in ``<participant>/figures``.
    methods
        What was done and whom to cite, Markdown.
    errors
        What failed; see `crashes.read_crash`.
    runs
        Entities of all runs that were to be corrected. One without figures is named as failed.
    most_sessions
        With more than these, each session has a page of its own, ``<participant>_ses-1.html``, to
        which the participant's leads.

    Returns ``<out_dir>/<participant>.html``.
    """
    out_dir = Path(out_dir)
    if Path(participant).name != participant or not participant.startswith("sub-"):
        raise InputError(participant, "this is not a participant", "give a name like sub-01")
    found = find_reportlets(out_dir / participant / "figures")
    # those of a node above all runs are the participant's
    named = {error.run for error in errors if "_" in error.run}
    expected = sorted({*found, *runs, *named}, key=run_order)
    belonging = {name: [error for error in errors if error.run == name] for name in expected}
    of_participant = f"{participant}.html"
    many = len({session_page(name) for name in expected} - {None}) > most_sessions
    pages = {name: (session_page(name) if many else None) or of_participant for name in expected}
    read = [_read_run(name, pages[name], found.get(name, {}), belonging[name]) for name in expected]
    for former in out_dir.glob(f"{participant}_ses-*.html"):
        if former.name not in pages.values():  # of a call with other sessions, or more on a page
            former.unlink()

    def write(page: str, overview: Sequence[_Run], **content: object) -> None:
        shown = {run.entities: _drawn(run, found) for run in read if pages[run.entities] == page}
        write_page(
            out_dir / page,
            "participant.html.j2",
            "player.js",
            participant=participant,
            overview=[shown.get(run.entities, run) for run in overview],
            runs=list(shown.values()),
            **content,
        )

    for page in sorted({*pages.values()} - {of_participant}):
        those = [run for run in read if pages[run.entities] == page]
        session = those[0].session
        title = f"{participant}, session {session}: head motion"
        write(page, those, title=title, session=session, about={}, methods="", errors=())
    write(
        of_participant,
        read,
        title=f"{participant}: head motion",
        session=None,
        about=about,
        methods=_rendered(methods),
        errors=[(error, _relative(error.path, out_dir)) for error in errors],
    )
    return out_dir / of_participant


def _read_run(
    entities: str, page: str, files: Mapping[str, Path], errors: Sequence[CrashReport]
) -> _Run:
    given = labels(entities)
    rest = [
        f"{key} {value}" if value else key
        for key, value in given.items()
        if key not in ("sub", "ses")
    ]
    return _Run(
        entities=entities,
        anchor=anchor(entities),
        href=f"{quote(page)}#{anchor(entities)}",
        session=given.get("ses"),
        title=" · ".join(rest) or entities,
        errors=errors,
        complete="summary.json" in files,
        summary=read_summary(files["summary.json"]) if "summary.json" in files else Summary(),
    )


def _drawn(run: _Run, found: Mapping[str, Mapping[str, Path]]) -> _Run:
    """The run with its figures, for the page that shows them."""
    files = found.get(run.entities, {})
    figures = (_read_figure(section, run.anchor, files) for section in SECTIONS)
    return replace(
        run, href=f"#{run.anchor}", figures=[figure for figure in figures if figure is not None]
    )


def _read_figure(section: Section, run: str, files: Mapping[str, Path]) -> _Figure | None:
    what, place = section.what, f"{run}-{section.what}"
    if what == "movie":
        if not {"movie.webp", "movie.json"} <= files.keys():
            return None
        track = read_object(files["movie.json"], AGAIN)
        if not isinstance(track.get("shown"), list) or not isinstance(track.get("frames"), int):
            raise InputError(files["movie.json"], "it is not the track of a movie", AGAIN)
        return _Figure(section, place, data_uri(files["movie.webp"]), track)
    if f"{what}.svg" not in files:
        return None
    return _Figure(section, place, data_uri(files[f"{what}.svg"]))


def _rendered(markdown: str) -> Markup:
    """Turn Markdown into HTML, without raw HTML, with headings below the page's own."""
    renderer = MarkdownIt("commonmark", {"html": False}).disable("image")
    tokens = renderer.parse(markdown)
    headings = [token for token in tokens if token.type in ("heading_open", "heading_close")]
    highest = min((int(token.tag[1]) for token in headings), default=0)
    for token in headings:
        token.tag = f"h{min(int(token.tag[1]) - highest + 3, 6)}"
    return Markup(renderer.renderer.render(tokens, renderer.options, {}))


def _relative(path: Path, out_dir: Path) -> str:
    return str(path.relative_to(out_dir) if path.is_relative_to(out_dir) else path)
