"""The command line: options of a command are the arguments of the function it stands for."""

import inspect
from importlib import import_module

import pytest

from benchmarks import __main__ as commands

WORDS = (
    *("real", "outside", "tracking series.npz", "slices", "history", "distortion", "pushed"),
    *("distortion --outside", "brain", "brain --leave-out pack.npz", "pairs", "pairs --rendered 2"),
    *("modalities", "deformation", "spaces", "app", "correct", "golden out.json", "cohort"),
)


@pytest.mark.parametrize("words", WORDS)
def test_options_are_what_the_function_takes(monkeypatch, words):
    called = []

    class Only:
        """A module whose functions are asked for their arguments alone."""

        def __init__(self, name):
            self.module = import_module(name)

        def __getattr__(self, function):
            signature = inspect.signature(getattr(self.module, function))
            return lambda *given, **named: called.append(signature.bind(*given, **named)) or 0

    monkeypatch.setattr(commands, "import_module", Only)
    for name in ("distortion", "brain", "leave_out"):
        module = import_module(f"benchmarks.{name}")
        only = Only(module.__name__)
        for function in ("judge", "judge_outside"):
            if hasattr(module, function):
                monkeypatch.setattr(module, function, getattr(only, function))
    assert commands.main(words.split()) == 0
    assert len(called) == 1
