"""The figure of standard spaces."""

from pathlib import Path

import numpy as np
import torch

from tests.spaces import heads
from unimo_bids.pipeline.spaces import Carried
from unimo_bids.reports.figures.spaces import draw_spaces
from unimo_bids.spaces.names import Space
from unimo_bids.spaces.standard import SpacePose
from unimo_bids.spaces.templates import Template


def carried(name: str, doubts: tuple[str, ...] = ()) -> Carried:
    head = heads.seen(torch.eye(4).double())
    pose = SpacePose(np.eye(4), 1.0, 0.5, 0.934, 1.0, "network", doubts)
    template = Template(Space(name), head, Path("tpl-P.nii.gz"), 2)
    return Carried(template, pose, heads.grid(2.5), *(np.zeros(heads.SHAPE), head.mask > 0.5))


def test_template_and_run_are_drawn_for_each_space(tmp_path):
    """Along the head's axes the template has another size, and is left out."""
    drawn = {}
    for name in ("P", "anat-axes"):
        path = tmp_path / f"{name}.svg"
        draw_spaces(path, [carried(name, ("upside down?",))])
        drawn[name] = path.read_text()
        assert f"{name}: Dice 0.93, in doubt" in drawn[name]
    assert drawn["P"].count("<image") == 2 * drawn["anat-axes"].count("<image") == 6
    # it comes and goes over the run
    assert drawn["P"].count('<g id="template-') == 3 and 'id="template' not in drawn["anat-axes"]
