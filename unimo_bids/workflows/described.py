"""Workflows that can say what they do."""

from __future__ import annotations

from collections.abc import Sequence

from nipype.pipeline import engine as pe


class DescribedWorkflow(pe.Workflow):
    """A workflow with sentences for the methods section of a paper."""

    def __init__(self, name: str, desc: Sequence[str] = ()) -> None:
        super().__init__(name=name)
        self.desc = tuple(desc)

    def hand_on(self, giver: str, taker: str, *names: str, **renamed: str) -> None:
        """Connect outputs of one node to inputs of another, both given by name.

        `names` are outputs whose input has the same name; others are ``output="input"``.
        """
        pairs = [*zip(names, names, strict=True), *renamed.items()]
        self.connect([(self.get_node(giver), self.get_node(taker), pairs)])

    def described(self) -> list[str]:
        """Paragraphs of this workflow and those within, each once, in the order of the nodes."""
        paragraphs = list(self.desc)
        for node in sorted(self._graph.nodes(), key=lambda node: str(node.name)):
            if isinstance(node, DescribedWorkflow):
                paragraphs += [text for text in node.described() if text not in paragraphs]
        return paragraphs
