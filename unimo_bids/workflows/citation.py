"""What was done and whom to cite: for the report, and for papers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import resources
from importlib.metadata import version
from pathlib import Path

from markdown_it import MarkdownIt

from unimo_bids.bids.names import CITATION
from unimo_bids.files.staging import write_text

_OPENING = (
    "Results were obtained with unimo-bids {version}, which is built on Nipype (Gorgolewski et "
    "al. 2011) and PyTorch (Paszke et al. 2019)."
)
# one folder may hold the results of many calls
_CLOSING = (
    "The text above describes what was done by the call of unimo-bids that wrote it. Runs that "
    "other calls have corrected may have had other settings: `settings.toml` in the participants' "
    "log folders says which. The text may be used, changed or not, in papers (CC0)."
)


def methods_section(described: Iterable[str]) -> str:
    """Methods section and references, Markdown."""
    text = "\n\n".join([_OPENING.format(version=version("unimo-bids")), *described, _CLOSING])
    references = "\n".join(f"- {one}" for one in _references())
    return f"{text}\n\n### References\n\n{references}\n"


def read_citation(out_dir: Path) -> str | None:
    """Methods section that was written there, Markdown; None if none was."""
    path = out_dir / CITATION
    return path.read_text(encoding="utf-8") if path.exists() else None


def write_citation(out_dir: Path, text: str, *, only_markdown: bool = False) -> None:
    """Write the methods section as Markdown and HTML, and the references as BibTeX."""
    path = out_dir / CITATION
    html = MarkdownIt("commonmark", {"html": False}).render(text)
    page = f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Methods</title>\n{html}'
    for suffix, content in (
        (".md", text),
        (".html", page + "</html>\n"),
        (".bib", _bibliography()),
    ):
        if only_markdown and suffix != ".md":
            path.with_suffix(suffix).unlink(missing_ok=True)
            continue
        write_text(path.with_suffix(suffix), content)


def _bibliography() -> str:
    return resources.files("unimo_bids.data").joinpath("bibliography.bib").read_text("utf-8")


def _references() -> list[str]:
    """One line for each entry of the bibliography."""
    lines = []
    for entry in re.split(r"^@\w+", _bibliography(), flags=re.MULTILINE)[1:]:
        fields = dict(re.findall(r"(\w+) = \{(.*?)\}(?:,|\s)", entry))
        surnames = [one.split(",")[0].strip() for one in fields["author"].split(" and ")]
        authors = " & ".join(surnames) if len(surnames) < 3 else f"{surnames[0]} et al."
        where = fields.get("journal") or fields.get("booktitle") or fields["institution"]
        doi = f" doi:{fields['doi']}" if "doi" in fields else ""
        authors = authors.replace("others", "et al.").replace("& et al.", "et al.")
        lines.append(f"{authors} ({fields['year']}). {fields['title']}. *{where}*.{doi}")
    return sorted(lines)
