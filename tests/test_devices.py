"""Devices that are there, and those that are not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests import heads
from unimo_bids import estimate_motion
from unimo_bids.devices import on_device, torch_device
from unimo_bids.errors import MachineError
from unimo_bids.motion.frames import Frames
from unimo_bids.simulation import kinematics, simulate
from unimo_bids.spatial import rigid


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


def frames_at_once() -> int:
    """How many frames are on a device together."""
    return len(
        next(Frames(np.zeros((4, 4, 4, 50)), np.eye(4), torch.device("cuda")).chunks(range(50)))
    )


@pytest.mark.parametrize("room", [10, 2])
def test_for_want_of_memory_fewer_frames_are_taken_and_then_the_cpu(caplog, room):
    tried = []

    def work(device):
        tried.append((device, frames_at_once()))
        if device == "cuda:0" and frames_at_once() > room:
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")
        return device

    assert on_device(work, "cuda:0") == ("cuda:0" if room == 10 else "cpu")
    assert tried == [("cuda:0", 32), ("cuda:0", 8), ("cpu", 32)][: 2 if room == 10 else 3]
    assert "The memory of cuda:0 does not suffice, less at a time" in caplog.text
    assert ("the CPU takes over" in caplog.text) == (room == 2)
    assert frames_at_once() == 32


def test_other_faults_are_not_hidden():
    def work(device):
        raise (ValueError if device == "cuda" else torch.OutOfMemoryError)("no")

    with pytest.raises(ValueError, match="no"):
        on_device(work, "cuda")
    with pytest.raises(torch.OutOfMemoryError):
        on_device(work, "cpu")


@pytest.mark.gpu
def test_a_gpu_finds_the_poses_of_the_cpu():
    """Sums in another order: nothing that is reported changes by a thousandth of a millimetre."""
    truth = kinematics.smooth_with_spikes(6, 2.0, 3.0, seed=0)
    run = simulate(heads.adult(), truth, shape=(48, 48, 32), voxel_sizes=4.0)
    cpu, gpu = (estimate_motion(run.data, run.affine, device=one) for one in ("cpu", "cuda"))
    points = torch.tensor([[0.0, 0.0, 0.0], [60.0, 0.0, 0.0], [0.0, 60.0, 0.0], [0.0, 0.0, 60.0]])
    there, here = (
        rigid.transform(torch.from_numpy(one.poses), points.double()) for one in (cpu, gpu)
    )
    assert (there - here).norm(dim=-1).max() < 1e-3
    assert cpu.status.tolist() == gpu.status.tolist()
