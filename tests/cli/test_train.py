"""`unimo-train`, as one calls it."""

from __future__ import annotations

import pytest

from tests.training.conftest import ball
from unimo_bids.cli.train import main
from unimo_bids.training import brain
from unimo_bids.training.packing import pack


def test_a_training_is_stopped_by_the_clock_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(brain, "WINDOW", 32)
    data, out = tmp_path / "pack.npz", tmp_path / "out"
    pack([ball("adult", 60), ball("fetal", 35), ball("surroundings", 40)], data)
    options = ["--steps", "2", "--batch", "1", "--validate", "1", "--device", "cpu"]
    assert main(["brain", str(data), str(out), *options, "--minutes", "0.0001"]) == 0
    assert "call again" in capsys.readouterr().out
    assert not (out / "brain.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["brain", "nowhere.npz", "out"], "nowhere.npz"),
        (["pack", "out.npz", "nowhere"], "holds no label maps"),
    ],
)
def test_what_is_not_there_is_said_in_a_sentence(tmp_path, capsys, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
