"""What a node is called in messages: the run it works on, and the step it is."""

from __future__ import annotations

import re

from unimo_bids.bids.names import ENTITIES

_PAIR = re.compile(rf"(?:^|_)({'|'.join(ENTITIES)})_([0-9A-Za-z]+)(?=_|$)")
_PLUS = "PLUS"


def workflow_name(label: str) -> str:
    """Turn a BIDS name into one that Nipype accepts; different names stay different.

    >>> workflow_name("sub-01"), workflow_name("sub-a+b")
    ('sub_01', 'sub_aPLUSb')
    """
    return label.replace("-", "_").replace("+", _PLUS)


def run_and_step(fullname: str) -> tuple[str, str]:
    """Read the BIDS entities out of a node's full name.

    Returns the run and the step.

    >>> run_and_step("unimo_bids_wf.sub_01_wf.ses_1_task_rest_wf.motion_wf.estimate")
    ('sub-01 ses-1 task-rest', 'motion estimate')
    >>> run_and_step("unimo_bids_wf.sub_01_wf.report")
    ('sub-01', 'report')
    >>> run_and_step("group_wf.table")
    ('', 'table')
    """
    parts = [part.removesuffix("_wf") for part in fullname.split(".")]
    found = [_PAIR.findall(part) for part in parts[:-1]]
    last = max((index for index, pairs in enumerate(found) if pairs), default=len(parts) - 2)
    labels = {entity: label.replace(_PLUS, "+") for pairs in found for entity, label in pairs}
    run = " ".join(f"{entity}-{labels[entity]}" for entity in ENTITIES if entity in labels)
    return run, " ".join(parts[last + 1 :]).replace("_", " ")


def participant(fullname: str) -> str:
    """Which participant a node works for.

    >>> participant("unimo_bids_wf.sub_01_wf.ses_1_task_rest_wf.motion")
    'sub-01'
    >>> participant("group_wf.table")
    ''
    """
    return run_and_step(fullname)[0].split(" ")[0]
