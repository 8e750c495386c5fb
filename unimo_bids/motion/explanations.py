"""What frames show beside motion, found in turn; the ways that are left to explain them.

What goes otherwise than the middle of the head is left out (`middle`). A ghost, the frame itself
half of its field of view away, is taken off (`ghosts`). Slices whose brightness differs, in all
frames alike (`bands`) or in each (`stripes`), are divided by that; a tissue that is brighter in
some frames is an image of its own (`tissues`). Where contrast changes, frames are tied to each
other, or a few images take the template's place (`changing`): whether that is taken, the judge says
(`ways`).
"""

from __future__ import annotations

from dataclasses import dataclass

from unimo_bids.motion.artefacts.bands import unbanded
from unimo_bids.motion.artefacts.ghosts import unghosted
from unimo_bids.motion.artefacts.middle import by_middle
from unimo_bids.motion.artefacts.stripes import find_stripes, unstriped
from unimo_bids.motion.contrast.changing import ROUNDS, by_contrast, tie
from unimo_bids.motion.contrast.tissues import by_tissues
from unimo_bids.motion.refinement import refine_to_template
from unimo_bids.motion.scan import Scan
from unimo_bids.motion.tracking import Track
from unimo_bids.motion.ways import Way
from unimo_bids.words import Mode


@dataclass(frozen=True)
class Explanations:
    """Ways to explain a scan, as it is seen by then; a sentence for all that was found."""

    scan: Scan
    ways: dict[Mode, Way]
    findings: tuple[str, ...]


def explain(scan: Scan, tracked: Track, contrasts: bool) -> Explanations:
    """Find poses in all ways that the frames ask for.

    Parameters
    ----------
    contrasts
        One image has lost already, in tracking.
    """
    findings: tuple[str, ...] = ()
    fitted = refine_to_template(scan, tracked)
    one_image = scan.settings.template and not contrasts
    if one_image:
        scan, fitted, findings = by_middle(scan, tracked, fitted)
    stripes = find_stripes(scan, fitted[2][0], fitted[1].poses)
    # slices of a brightness of their own pass for ghosts
    if one_image and not (stripes is not None and stripes.own):
        scan, fitted, ghosts = unghosted(scan, tracked, fitted)
        if ghosts:
            findings = (*findings, *ghosts)
            stripes = find_stripes(scan, fitted[2][0], fitted[1].poses)
    steady, refined, image, changing = fitted
    way = Way(refined, image, tracked)
    # what each frame has of its own would be sought in vain in what all have in common
    own = stripes is not None and stripes.own
    striped = unstriped(scan, way, stripes) if own or contrasts else None
    if striped is None and not contrasts:
        banded = unbanded(scan, way)
        if banded is not None:
            scan, steady, way, changing = banded.scan, banded.steady, banded.way, banded.contrasts
            findings = (*findings, banded.told)
            stripes = find_stripes(scan, way.images[0], way.refined.poses)
        if banded is not None or not own:
            striped = unstriped(scan, way, stripes)
    if striped is not None:
        scan, way, told = striped
        return Explanations(scan, {"plain": way}, (*findings, told))
    if contrasts:
        mode, way, told = by_contrast(scan, tracked, ROUNDS[-1:])
        return Explanations(scan, {mode: way}, (*findings, told))
    plain, told_tissues = by_tissues(steady, way)
    ways: dict[Mode, Way] = {"plain": plain}
    if changing:
        mode, changed, told = by_contrast(steady, tie(steady, way.refined.poses), ROUNDS)
        ways[mode] = changed
        findings = (*findings, told)
    return Explanations(steady, ways, (*findings, *told_tissues))
