"""What a dataset's `.bidsignore` takes out of it, as the validator reads that file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path


def ignored_in(bids_dir: Path) -> Callable[[Path], bool]:
    """Whether a path is ignored: patterns as git has them, of which the last counts."""
    try:
        lines = (bids_dir / ".bidsignore").read_text("utf-8-sig", errors="replace").splitlines()
    except OSError:
        return lambda path: False
    rules = [
        (not line.startswith("!"), _pattern(line.removeprefix("!")))
        for line in map(str.strip, lines)
        if line and not line.startswith("#")
    ]

    def ignored(path: Path) -> bool:
        if not path.is_relative_to(bids_dir):
            return False
        inside = path.relative_to(bids_dir).as_posix()
        return next((takes for takes, rule in reversed(rules) if rule.match(inside)), False)

    return ignored


def _pattern(line: str) -> re.Pattern[str]:
    """Match a path that a line names, or one in a folder that it names.

    >>> [bool(_pattern("*_junk*").match(path)) for path in ("a/b_junk.nii", "a/junk/b.nii")]
    [True, False]
    >>> [bool(_pattern("/a/**/c").match(path)) for path in ("a/c", "a/b/c/d", "b/a/c")]
    [True, True, False]
    >>> bool(_pattern("junk[.nii").match("junk[.nii"))
    True
    """
    anywhere = "/" not in line.rstrip("/")
    escaped = re.escape(line.strip("/"))
    for glob, regex in (
        (r"\*\*/", "(?:.*/)?"),
        (r"\*\*", ".*"),
        (r"\*", "[^/]*"),
        (r"\?", "[^/]"),
        (r"\[!", "[^"),
        (r"\[", "["),
        (r"\]", "]"),
        (r"\-", "-"),
    ):
        escaped = escaped.replace(glob, regex)
    before, behind = "(?:.*/)?" if anywhere else "", "(?:/.*)?$"
    try:
        return re.compile(before + escaped + behind)
    except re.error:  # brackets that hold no characters
        return re.compile(before + re.escape(line.strip("/")) + behind)
