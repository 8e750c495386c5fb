"""fMRIPrep's grammar of output spaces."""

import pytest

from unimo_bids.spaces.names import SpaceError, parse_spaces


@pytest.mark.parametrize(
    ("words", "entities", "targets"),
    [
        (["func", "boldref"], [], []),
        (["MNI152NLin2009cAsym"], ["space-MNI152NLin2009cAsym"], ["MNI152NLin2009cAsym"]),
        (["MNIInfant:cohort-1:res-2"], ["space-MNIInfant_cohort-1_res-2"], ["MNIInfant+1"]),
        (["X:res-02", "X:resolution-2"], ["space-X_res-2"], ["X"]),
        (["X:res-2:res-native"], ["space-X_res-2", "space-X_res-native"], ["X", "X"]),
    ],
)
def test_names_of_files_follow_from_what_was_asked_for(words, entities, targets):
    spaces = parse_spaces(words)
    assert [space.entities for space in spaces] == entities
    assert [space.target for space in spaces] == targets


@pytest.mark.parametrize("word", ["fsaverage:den-10k", "MNI:res", "MNI:den-91k", "a/b", ""])
def test_what_is_no_volume_or_no_name_is_refused(word):
    with pytest.raises(SpaceError):
        parse_spaces([word])
