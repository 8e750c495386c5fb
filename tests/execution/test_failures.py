import pytest

from unimo_bids.execution.failures import reason

NESTED = """\
Traceback (most recent call last):
  File "worker.py", line 80, in work
    node.run(updatehash=updatehash)
    ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
nipype.pipeline.engine.nodes.NodeExecutionError: Exception raised while executing Node motion.

Traceback:
\tTraceback (most recent call last):
\t  File "core.py", line 401, in run
\t    runtime = self._run_interface(runtime)
\t              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
\t  File "series.py", line 3, in estimate
\t    raise ValueError(
\tValueError: the mask is empty
\tin two lines
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (NESTED, "ValueError: the mask is empty"),
        (
            'Traceback:\n  File "a.py", line 1\nunimo_bids.errors.MachineError: d: full; free it.',
            "d: full; free it.",
        ),
        (
            'Traceback:\n  File "a.py", line 1\nOSError: [Errno 28] No space left on device',
            "a file of the work folder: the disk or your quota on it is full",
        ),
        (
            "MemoryError: Unable to allocate 9 GiB",
            "there is not enough memory (MemoryError: Unable to allocate 9 GiB); give --mem",
        ),
        ("", "no reason was given"),
    ],
)
def test_reason(text, said):
    assert reason(text).startswith(said)
