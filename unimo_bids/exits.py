"""Exit codes of all commands."""

from __future__ import annotations

DONE = 0
FAILED = 1  # the machine did not allow it, or a run failed
BAD_INPUT = 2
REPORT_FAILED = 3  # and nothing else
DOUBTED = 4  # the outputs are written
INTERRUPTED, TERMINATED = 130, 143  # 128 + signal, as shells count
