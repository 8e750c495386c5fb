"""`make demo`: simulate a fetus whose head moves, correct the file, compare with the truth."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unimo_bids.cli.correct import guarded, print_result, run

if TYPE_CHECKING:
    from unimo_bids.cli.correction import Corrected
    from unimo_bids.simulation import SimulatedSeries

_STEM = "demo_bold"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demonstration; exit codes as `unimo-correct`."""
    parser = argparse.ArgumentParser(
        prog="python -m unimo_bids.cli.demo",
        description="Simulate a fetal series with known motion, correct it, measure the error.",
    )
    parser.add_argument("out_dir", metavar="OUT_DIR", type=Path, help="folder for all files")
    parser.add_argument("--frames", type=int, default=40, help="how many (default: 40)")
    parser.add_argument("--seed", type=int, default=1, help="another fetus, another motion")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    arguments = parser.parse_args(argv)
    if arguments.frames < 2:
        parser.error("--frames must be at least 2")
    return guarded(lambda: _demonstrate(arguments), debug=arguments.debug)


def _demonstrate(arguments: argparse.Namespace) -> None:
    from unimo_bids.cli.correction import Options

    if not arguments.quiet:
        print(f"simulating {arguments.frames} frames of a moving fetal head", file=sys.stderr)
    truth = _simulated(arguments.frames, arguments.seed)
    written = _save(truth, arguments.out_dir)
    options = Options(
        input=written[0],
        out_dir=arguments.out_dir,
        mask=written[1],
        reference=truth.reference,
        overwrite=True,
    )
    done = run(options, arguments.quiet)
    print(_table(truth, done))
    print_result(done, also=written)


def _simulated(frames: int, seed: int) -> SimulatedSeries:
    from unimo_bids.simulation import (
        artefacts,
        fetal_head,
        fetal_surroundings,
        kinematics,
        simulate,
    )

    return simulate(
        fetal_head(weeks=30, seed=seed),
        kinematics.synthetic_fetal(frames, "typical", seed=seed),
        shape=(72, 72, 36),
        voxel_sizes=(3.0, 3.0, 4.0),
        surroundings=fetal_surroundings(seed=seed),
        artefacts=(artefacts.RicianNoise(sigma=1000 / 40),),
        repetition_time=2.5,
        seed=seed,
    )


def _save(truth: SimulatedSeries, folder: Path) -> list[Path]:
    """Write series, mask of the reference frame and true poses, as if a scanner had."""
    import nibabel
    import numpy as np

    from unimo_bids.files.staging import staged

    # int16 with a slope, as scanners write
    series = nibabel.Nifti1Image(truth.data, truth.affine)
    series.set_data_dtype(np.int16)
    series.header.set_zooms((*series.header.get_zooms()[:3], truth.repetition_time))
    series.header.set_xyzt_units("mm", "sec")
    mask = nibabel.Nifti1Image((truth.brain > 0.5).astype(np.uint8), truth.affine)
    names = [f"{_STEM}.nii.gz", f"{_STEM}_true-mask.nii.gz", f"{_STEM}_true-poses.npy"]
    with staged(folder) as stage:
        nibabel.save(series, stage / names[0])
        nibabel.save(mask, stage / names[1])
        np.save(stage / names[2], truth.poses)
    return [folder / name for name in names]


def _table(truth: SimulatedSeries, done: Corrected) -> str:
    """Compare poses with the truth: how far they are apart, on average over the brain, mm."""
    import numpy as np

    from unimo_bids.motion.quality import STATUSES

    status = np.asarray(done.estimate.status)
    identity = np.broadcast_to(np.eye(4), truth.poses.shape)
    moved = _mean_displacement(identity, truth)
    error = _mean_displacement(done.estimate.poses, truth)
    lines = [
        f"{'mean displacement of the brain, mm':<36}{'frames':>7}{'median':>9}{'p95':>9}{'max':>9}"
    ]

    def add(name: str, values: Any) -> None:
        numbers = "".join(f"{x:9.3f}" for x in (*np.percentile(values, (50, 95)), values.max()))
        lines.append(f"{name:<36}{len(values):7d}{numbers}")

    add("true motion from the reference", moved)
    for one in STATUSES:
        if (status == one).any():
            add(f"error, {one}", error[status == one])
    return "\n".join(lines)


def _mean_displacement(poses: Any, truth: SimulatedSeries) -> Any:
    import torch

    from unimo_bids.spatial import rigid

    points = torch.as_tensor(truth.brain_points)
    true = torch.as_tensor(truth.poses)
    return rigid.displacement(torch.as_tensor(poses.copy()), true, points).mean(dim=-1).numpy()


if __name__ == "__main__":
    sys.exit(main())
