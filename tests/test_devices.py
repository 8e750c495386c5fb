"""Devices that are there, and those that are not."""

from __future__ import annotations

import pytest
import torch

from unimo_bids.devices import torch_device
from unimo_bids.errors import MachineError


def test_no_gpu_where_there_is_none_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert torch_device("auto") == "cpu"
    assert torch_device("cpu") == "cpu"
    with pytest.raises(MachineError, match="--device cuda:1: no CUDA device here; use --device"):
        torch_device("cuda:1")


def test_a_gpu_is_taken_if_it_exists(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert torch_device("auto") == "cuda"
    assert torch_device("cuda:1") == "cuda:1"
    with pytest.raises(MachineError, match="finds 2 CUDA devices"):
        torch_device("cuda:2")
