"""Tables from hand-made results."""

from benchmarks.table import accuracy_cell, markdown


def record(tool="simpleitk", scenario="still", seed=0, displacement=(0.0, 0.1, 0.3), **more):
    return {
        "tool": tool,
        "tool_version": "1.0",
        "tool_options": "its defaults",
        "scenario": scenario,
        "seed": seed,
        "frames": len(displacement),
        "shape": [8, 8, 8],
        "mask": "none",
        "threads": 2,
        "device": "cpu",
        "date": "2026-01-01T00:00:00+00:00",
        "command": "python -m benchmarks run",
        "machine": {"processor": "one", "cores": 2, "memory_gib": 8.0, "load": 0.1},
        "versions": {"commit": "abc"},
        "reference": 0,
        "cpu_seconds": 6.0,
        "cpu_seconds_per_volume": 2.0,
        "seconds_per_volume": 1.0,
        "peak_mib": 200.4,
        "baseline_mib": 100.0,
        "per_frame": {
            "displacement_mm": list(displacement),
            "rotation_deg": [0.0] * len(displacement),
            "translation_mm": [0.0] * len(displacement),
        },
        "metrics": {"tsnr": 50.0, "tsnr_ceiling": 60.0},
    } | more


def test_seeds_are_pooled_and_the_reference_left_out():
    cell = accuracy_cell(
        [record(displacement=(99, 0.1, 0.1)), record(seed=1, displacement=(99, 6, 6))]
    )
    assert cell == "3.0 / 6.0 (50%)"


def test_missing_poses_are_infinitely_far():
    assert accuracy_cell([record(displacement=(0, 0.1, None))]).endswith("/ ∞ (50%)")
    assert accuracy_cell([{"error": "no"}]) == "failed"
    assert accuracy_cell([]) == ""


def test_time_is_a_ratio_on_the_same_series():
    ours = record(tool="unimo", cpu_seconds=0.6, cpu_seconds_per_volume=0.2)
    other_seed = record(tool="unimo", seed=5, cpu_seconds=60.0, cpu_seconds_per_volume=0.2)
    text = markdown([record(), ours, other_seed])
    assert "| 0.20 (×0.10) · 1.0 · 200 |" in text
    assert "| 2.0 (×1.0) · 1.0 · 200 |" in text
