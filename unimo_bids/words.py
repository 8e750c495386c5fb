"""Words of choice, the same on the command line, in settings, in workflows and in the library."""

from __future__ import annotations

from typing import Literal

AnalysisLevel = Literal["participant", "group"]
OutputLevel = Literal["minimal", "full"]
# what fMRIPrep can leave out; of it, only single-band references are used here at all
Ignored = Literal["fieldmaps", "slicetiming", "sbref", "t2w", "flair", "fmap-jacobian"]

Population = Literal["fetal", "infant", "adult"]
BrainMethod = Literal["auto", "unimo", "epi"]
# without a mask, motion may be that of all tissue in view; in a BIDS dataset, masks may be required
FileBrainMethod = Literal[BrainMethod, "none"]
RunBrainMethod = Literal[BrainMethod, "derivatives"]

Fusion = Literal["information", "slerp", "image", "shape"]
TrackerName = Literal["auto", "search", "spaer"]
AttentionPart = Literal["time", "attention", "future"]
NetworkPart = Literal["votes", "vectors"]
BrainPart = Literal["find", "segment"]  # of its networks
IntensityModel = Literal["gain", "bias"]
Interpolation = Literal["cubic", "linear"]
Slices = Literal["auto", "on", "off"]

# of what rigid motion leaves: nothing, a field fixed in the scanner where it is evident, or anyway
Deformation = Literal["none", "auto", "epi"]
# what is measured of a field: itself; phase between echoes
FieldMapKind = Literal["field", "phase"]
GRID_AXES = "ijk"  # of a grid, as BIDS has them

# What explains the frames: one image; the few images that all contrasts are made of; frames of
# other contrast, a pair at a time; or nothing, as no motion at all explains them better.
Mode = Literal["plain", "common", "tied", "rest"]
Status = Literal["ok", "searched", "bridged", "lost"]


def grid_axis(direction: object) -> int | None:
    """Axis of the grid that a direction of BIDS (``j-``) is along; None where it names none.

    >>> grid_axis("j-"), grid_axis(None)
    (1, None)
    """
    letter = str(direction).removesuffix("-")
    return GRID_AXES.index(letter) if letter in tuple(GRID_AXES) else None
