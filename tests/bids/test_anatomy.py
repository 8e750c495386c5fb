"""What fMRIPrep leaves of a head, found for a run."""

from pathlib import Path

from unimo_bids.bids.anatomy import find_anatomy


def prepared(root: Path, folder: str, stem: str, name: str, mask: bool = True) -> Path:
    place = root / folder
    place.mkdir(parents=True, exist_ok=True)
    endings = [f"desc-preproc_{name}.nii.gz", f"space-MNI_res-2_desc-preproc_{name}.nii.gz"]
    endings += [f"from-{name}_to-{to}_mode-image_xfm.h5" for to in ("MNIInfant+2", "MNI")]
    endings += [f"from-MNI_to-{name}_mode-image_xfm.h5", f"from-{name}_to-fsnative_xfm.h5"]
    for ending in endings + ["desc-brain_mask.nii.gz"] * mask:
        (place / f"{stem}_{ending}").touch()
    return place / f"{stem}_{endings[0]}"


def test_that_of_the_session_comes_first_and_without_a_mask_it_is_none(tmp_path):
    all_sessions = prepared(tmp_path, "sub-1/anat", "sub-1", "T1w")
    of_a = prepared(tmp_path, "sub-1/ses-a/anat", "sub-1_ses-a", "T2w")
    prepared(tmp_path, "sub-1/ses-b/anat", "sub-1_ses-b", "T1w", mask=False)
    known = {"one": tmp_path / "nothing", "two": tmp_path}
    found = {ses: find_anatomy({"sub": "1", "ses": ses}, known) for ses in "ab"}
    assert [one and one.image for one in found.values()] == [of_a, all_sessions]
    assert found["a"].name == "T2w" and set(found["a"].transforms) == {"MNIInfant+2", "MNI"}
    assert find_anatomy({"sub": "2"}, known) is None
