"""The PyBIDS index of the series of a dataset, and what a query of it finds."""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unimo_bids.bids.ignored import ignored_in
from unimo_bids.bids.names import OTHER_DATATYPES
from unimo_bids.errors import InputError
from unimo_bids.files.objects import read_object
from unimo_bids.files.staging import machine_error

if TYPE_CHECKING:
    from bids.layout import BIDSLayout

# Only functional series are looked for; to pass by the rest halves the time.
_NOT_FUNC = re.compile(rf"^/(sub-[^/]+/)(ses-[^/]+/)?({'|'.join(OTHER_DATATYPES)})(/|$)")
# Nor does a series lie elsewhere than here, at the end of no link that leads back up.
_NOT_PLACE = re.compile(
    r"^/(?!([^/]+|sub-[^/]+/[^/]+|sub-[^/]+/(ses-[^/]+|func)/[^/]+|sub-[^/]+/ses-[^/]+/func/[^/]+)$)"
)
_DEEPEST = re.compile(r"^(/[^/]+){10}")
_NOT_RAW = re.compile(r"^/(code|derivatives|models|phenotype|sourcedata|stimuli)(/|$)")
_SERIES = (".nii", ".nii.gz")
_DATABASE = "layout_index.sqlite"


class Index:
    """Series of a raw dataset.

    Parameters
    ----------
    database_dir
        Where an index is kept, to be used if it is there and made if it is not; None for an index
        that is forgotten.
    participants
        Labels; of others nothing is looked at (but for an index that is kept). Empty for all.
    metadata
        Whether queries will ask for metadata: then all sidecars have to be sound.
    """

    def __init__(
        self,
        bids_dir: Path,
        database_dir: Path | None = None,
        *,
        participants: Sequence[str] = (),
        metadata: bool = False,
    ) -> None:
        self._bids_dir = bids_dir
        self._participants, self._metadata = participants, metadata
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                self._layout = self._opened(database_dir)
            except RecursionError as error:
                # it reads one JSON besides those of the series
                path = bids_dir / "dataset_description.json"
                read_object(path)
                raise self._refusal(error) from error
            except OSError as error:
                if error.errno is not None:
                    raise machine_error(error.filename or bids_dir, error) from error
                raise self._refusal(error) from error
            except InputError:
                raise
            except Exception as error:
                raise self._refusal(error) from error

    def _refusal(self, error: Exception) -> InputError:
        finding = f"PyBIDS cannot index this dataset ({' '.join(str(error).split())})"
        return InputError(self._bids_dir, finding, "check it with bids-validator")

    def _opened(self, database_dir: Path | None) -> BIDSLayout:
        if database_dir is None:
            others = [_others(self._participants)] if self._participants else []
            places = [_NOT_RAW, _NOT_FUNC, _NOT_PLACE, *others]
            return self._indexed(ignore=places, metadata=self._metadata)
        if not (database_dir / _DATABASE).exists():
            # complete or not there: an index cut short would pass for a dataset with few files
            database_dir.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".index-", dir=database_dir) as temporary:
                # other programs may share it, and they look for more
                self._indexed(database_path=temporary, ignore=[_NOT_RAW, _DEEPEST], suffix=None)
                (Path(temporary) / _DATABASE).replace(database_dir / _DATABASE)
        return self._known(database_dir)

    def _indexed(
        self,
        ignore: list[re.Pattern[str]],
        database_path: str | None = None,
        suffix: tuple[str, ...] | None = ("bold", "sbref"),
        metadata: bool = True,
    ) -> BIDSLayout:
        from bids.layout import BIDSLayout, BIDSLayoutIndexer

        only = {"suffix": list(suffix), "extension": [*_SERIES, ".json"]} if suffix else {}
        indexer = BIDSLayoutIndexer(validate=False, ignore=ignore, index_metadata=metadata, **only)
        return BIDSLayout(
            str(self._bids_dir), validate=False, database_path=database_path, indexer=indexer
        )

    def _known(self, database_dir: Path) -> BIDSLayout:
        from bids.layout import BIDSLayout

        try:
            layout = BIDSLayout(database_path=str(database_dir), validate=False)
        except Exception as error:  # SQLAlchemy wraps what SQLite says into lines of SQL
            said = " ".join(str(getattr(error, "orig", error)).split())
            finding = f"PyBIDS cannot read this index ({said})"
            raise InputError(database_dir / _DATABASE, finding, "remove it") from error
        if Path(layout.root).resolve() != self._bids_dir.resolve():
            finding = f"the index in it is of another dataset ({layout.root})"
            raise InputError(database_dir, finding, "give another --bids-database-dir")
        return layout

    def series(self, suffix: str, filters: Mapping[str, Any] | None = None) -> list[Path]:
        """Series in `func` with a suffix that pass filters, sorted.

        Parameters
        ----------
        suffix
            ``bold`` or ``sbref``.
        filters
            By PyBIDS entity; None stands for "without", ``"*"`` for "with any".
        """
        wanted = {"suffix": suffix, "datatype": "func", "extension": list(_SERIES)}
        wanted |= {name: _query(value) for name, value in (filters or {}).items()}
        found = self._layout.get(return_type="filename", invalid_filters="allow", **wanted)
        ignored = ignored_in(Path(self._layout.root))
        return sorted(path for path in map(Path, found) if not ignored(path))


def _others(participants: Sequence[str]) -> re.Pattern[str]:
    """Folders of all participants but these."""
    chosen = "|".join(map(re.escape, participants))
    return re.compile(rf"^/sub-(?!({chosen})(/|$))")


def _query(value: Any) -> Any:
    from bids.layout import Query

    if isinstance(value, list):
        return [_query(one) for one in value]
    if value is None:
        return Query.NONE
    return Query.ANY if value == "*" else value
