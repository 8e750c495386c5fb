"""Workflows that can say what they do."""

from __future__ import annotations

from typing import Any

from nipype.pipeline import engine as pe


class DescribedWorkflow(pe.Workflow):
    """A workflow with sentences for the methods section of a paper.

    Attributes
    ----------
    desc
        Markdown, of the steps that are in this workflow itself.
    """

    def __init__(self, name: str, desc: str = "") -> None:
        super().__init__(name=name)
        self.desc = desc

    def described(self) -> list[str]:
        """Sentences of this workflow and those within, each once, in the order of the nodes."""
        told = [self.desc] if self.desc else []
        for node in self._nodes_in_order():
            if isinstance(node, DescribedWorkflow):
                told += [one for one in node.described() if one not in told]
        return told

    def _nodes_in_order(self) -> list[Any]:
        return sorted(self._graph.nodes(), key=lambda node: str(node.name))
