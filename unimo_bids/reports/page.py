"""Put pages together: one file each, with all it needs inside, asking nothing of the network."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from unimo_bids.files.staging import machine_error, write_text

# may stand in an address as they are; a line's end may not, which browsers take out
_PLAIN = " !$&'()*+,-./:;=?@[]_~"


def write_page(path: Path, template: str, script: str, **content: object) -> None:
    """Fill in a template and write it.

    `script`: the page's script, in ``templates``: the only one that a browser will run on it.
    """
    code = _text(script)
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    # Nothing is fetched, and nothing runs but this script: not even what escaping might miss.
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline';"
        f" script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    html = (
        _environment()
        .get_template(template)
        .render(policy=policy, style=Markup(_text("report.css")), script=Markup(code), **content)
    )
    write_text(path, html)


def data_uri(path: Path) -> str:
    """Encode an image as a data URI; scripts in such an image never run."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise machine_error(path, error) from error
    if path.suffix == ".svg":
        # base64 would make the pictures in it, which are base64, a third larger once more
        return f"data:image/svg+xml,{quote(content, safe=_PLAIN)}"
    return f"data:image/webp;base64,{base64.b64encode(content).decode()}"


def number(value: float | None, digits: int = 2) -> str:
    """Write a number for readers."""
    if value is None:
        return "n/a"
    return str(value) if isinstance(value, int) else f"{value:.{digits}f}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("unimo_bids.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    return environment


def _text(name: str) -> str:
    return (resources.files("unimo_bids.reports") / "templates" / name).read_text(encoding="utf-8")
