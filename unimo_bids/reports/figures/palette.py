"""Colours of figures: quiet, told apart by all eyes."""

from __future__ import annotations

INK, QUIET, LINE, GRID = "#1f2328", "#5f6670", "#b9bec6", "#e6e8eb"
# after Okabe & Ito
AXES = (("x", "#0072b2"), ("y", "#c94f00"), ("z", "#00805c"))
BEFORE, AFTER = "#868c96", "#0871b3"
THRESHOLD = "#b3470a"
# seen on light and dark alike
UNCORRECTED = "#e8762d"
# over images: an outline, and what is less sure
OUTLINE, SOFT = "#ff9a3c", "#63b3ff"
STATUS = {"searched": "#d9b000", "bridged": "#cc79a7", "lost": "#d0301a"}

# evenly spaced colours of matplotlib's maps (CC0)
GRAY = ("#000000", "#ffffff")
MAGMA = (
    *("#000004", "#0c0926", "#221150", "#400f74", "#5f187f", "#7b2382", "#982d80", "#b73779"),
    *("#d3436e", "#eb5760", "#f8765c", "#fd9a6a", "#febb81", "#fddc9e", "#fcfdbf"),
)
VIRIDIS = (
    *("#440154", "#481b6d", "#46327e", "#3f4788", "#365c8d", "#2e6e8e", "#277f8e", "#21918c"),
    *("#1fa187", "#2db27d", "#4ac16d", "#73d056", "#a0da39", "#d0e11c", "#fde725"),
)
