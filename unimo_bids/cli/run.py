"""`unimo-bids`: the BIDS App."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from unimo_bids.cli.guard import guarded, importing
from unimo_bids.cli.parser import parse
from unimo_bids.cli.printing import tell

if TYPE_CHECKING:
    from unimo_bids.settings import Settings


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns 0 all runs done and their reports written, 1 a run failed or the machine did not allow
    it, 2 bad input, 3 only a report failed, 130 interrupted, 143 terminated.
    """
    settings = parse(argv)
    return guarded(
        lambda: _run(settings),
        debug=settings.debug,
        left="repeat the command to resume from what is finished",
    )


def _run(settings: Settings) -> int:
    # half a second of imports and more: not before the arguments are known to be good
    with importing():
        if settings.analysis_level == "group":
            from unimo_bids.app.group import run_group as run
        else:
            from unimo_bids.app.participants import run_participants as run

    return tell(run(settings))


if __name__ == "__main__":
    sys.exit(main())
