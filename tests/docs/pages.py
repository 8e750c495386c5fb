"""The pages that are written for readers, and what can be taken from them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))


def code(page: str, language: str) -> list[str]:
    """Blocks of code in a page, in their order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def without_code(path: Path) -> str:
    return re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)


def first_cells(page: str) -> list[str]:
    """First cell of every row of every table."""
    return re.findall(r"^\| (.*?)(?<!\\) \|", (ROOT / page).read_text(encoding="utf-8"), re.M)


def quoted(text: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`\n]+)`", text)
