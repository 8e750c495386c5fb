"""The tools, an adapter each: a command or a function that leaves poses ``(T, 4, 4)``."""

from __future__ import annotations

from benchmarks.tools import afni, ants, dipy, fsl, simpleitk, spm, unimo
from benchmarks.tools.base import Estimate, Problem, Tool

__all__ = ["TOOLS", "Estimate", "Problem", "Tool", "found_tools"]

TOOLS: dict[str, Tool] = {
    tool.name: tool
    for family in (unimo, afni, fsl, spm, ants, simpleitk, dipy)
    for tool in family.TOOLS
}


def found_tools() -> dict[str, str]:
    """Names and versions of the tools on this machine."""
    versions = {name: tool.version() for name, tool in TOOLS.items()}
    return {name: version for name, version in versions.items() if version is not None}
