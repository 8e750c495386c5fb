"""Workflows that can say what they do."""

from __future__ import annotations

from collections.abc import Sequence

from nipype.pipeline import engine as pe


class DescribedWorkflow(pe.Workflow):
    """A workflow with sentences for the methods section of a paper."""

    def __init__(self, name: str, desc: Sequence[str] = ()) -> None:
        super().__init__(name=name)
        self.desc = tuple(desc)

    def hand_on(self, giver: pe.Node, taker: pe.Node, *names: str, **others: str) -> None:
        """Connect outputs to inputs: some have the same name, others are ``output="input"``."""
        self.connect([(giver, taker, [*zip(names, names, strict=True), *others.items()])])

    def described(self) -> list[str]:
        """Paragraphs of this workflow and those within, each once, in the order of the nodes."""
        paragraphs = list(self.desc)
        for node in sorted(self._graph.nodes(), key=lambda node: str(node.name)):
            if isinstance(node, DescribedWorkflow):
                paragraphs += [text for text in node.described() if text not in paragraphs]
        return paragraphs
