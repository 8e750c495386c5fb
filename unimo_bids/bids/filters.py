"""Files of PyBIDS filters (`--bids-filter-file`), in the form that fMRIPrep uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unimo_bids.bids.names import FULL_ENTITIES
from unimo_bids.errors import InputError
from unimo_bids.files.objects import read_object

USED = ("bold", "sbref")
# A file may serve several programs: what they look for besides is no mistake.
_OTHERS = ("t1w", "t2w", "flair", "fmap", "roi", "asl", "m0scan", "dwi", "pet")
_ENTITIES = (*FULL_ENTITIES, "datatype", "suffix", "extension", "regex_search")


def read_filters(path: str | Path) -> dict[str, dict[str, Any]]:
    """Read PyBIDS filters from a JSON file; refuse anything else.

    Returns, for each of ``bold`` and ``sbref``, values by entity (or, with a capital letter, by
    metadata field) as the file has them: null stands for "without", ``"*"`` for "with any".
    """
    path = Path(path)
    remedy = 'write it like {"bold": {"task": "rest", "acquisition": null}}'
    filters = read_object(path, remedy)
    if not all(isinstance(one, dict) for one in filters.values()):
        raise InputError(path, "it is not an object of objects", remedy)
    for kind in filters:
        if kind not in USED + _OTHERS:
            raise InputError(path, f"it filters {kind!r}, which is not known", remedy)
    used = {kind: filters.get(kind, {}) for kind in USED}
    for kind, wanted in used.items():
        for entity in wanted:
            if entity not in _ENTITIES and not entity[:1].isupper():
                finding = f"it filters {kind} by {entity!r}, which is no entity"
                raise InputError(path, finding, f"use one of {', '.join(_ENTITIES)}")
    return used
