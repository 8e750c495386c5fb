"""SPM's ``spm_realign``: standalone (``spm12``, ``spm25``), or in MATLAB or Octave.

For the latter two, the environment variable ``SPM_PATH`` names SPM's folder.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks.tools.base import WATCH, Estimate, Problem, Tool
from benchmarks.tools.conventions import spm_poses

SCRIPT = """\
spm('defaults', 'fmri'); spm_get_defaults('cmdline', true);
V = spm_vol('{series}');
order = [{reference}, setdiff(1:numel(V), {reference})];  % all are aligned to the first
flags = struct('quality', 1{weight});
R = spm_realign(V(order), flags);
f = fopen('{saved}', 'w');
after = cell(1, numel(V));
for i = 1:numel(V), after{{order(i)}} = R(i).mat; end
for i = 1:numel(V)
  fprintf(f, '%.12g ', V(i).mat', after{{i}}'); fprintf(f, '\\n');
end
fclose(f);
"""


def _launcher(script: Path) -> list[str] | None:
    """Command that runs a script, None where there is no SPM."""
    for standalone in ("spm12", "spm25", "spm"):
        if shutil.which(standalone):
            return [standalone, "script", str(script)]
    folder = os.environ.get("SPM_PATH")
    if folder is None:
        return None
    source = f"addpath('{folder}'); run('{script}');"
    if shutil.which("octave"):
        return ["octave", "--no-gui", "--quiet", "--eval", source]
    if shutil.which("matlab"):
        return ["matlab", "-batch", source]
    return None


def _version() -> str | None:
    launcher = _launcher(Path("script.m"))
    return None if launcher is None else shutil.which(launcher[0])


def _prepare(problem: Problem) -> Callable[[], Estimate]:
    series, mask = problem.write_series(), problem.write_mask()
    saved, script = problem.folder / "poses.txt", problem.folder / "realign.m"
    script.write_text(
        SCRIPT.format(
            series=series,
            reference=problem.reference + 1,
            weight="" if mask is None else f", 'PW', '{mask}'",
            saved=saved,
        )
    )
    command = _launcher(script)
    assert command is not None

    def run() -> Estimate:
        WATCH.run(command, problem.folder)
        return Estimate(spm_poses(saved))

    return run


TOOLS = (Tool("spm", _version, _prepare, "spm_realign, quality 1", external=True),)
