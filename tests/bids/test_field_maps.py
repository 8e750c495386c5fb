"""Which field map is for a run, and why others are not used."""

import pytest

from tests.bids.layouts import dataset, image, settings, write
from unimo_bids.bids.query import BoldRun, find_runs, used_files
from unimo_bids.pipeline.measured_field import MeasuredField

BOLD = "sub-01_ses-a_task-rest_bold.nii.gz"
RUN = {"TaskName": "rest", "RepetitionTime": 2.0, "PhaseEncodingDirection": "j-"}
TIMED = RUN | {"TotalReadoutTime": 0.05}
MINE = {"IntendedFor": f"bids::sub-01/ses-a/func/{BOLD}"}
HERTZ = MINE | {"Units": "Hz"}


def run(tmp_path, about_run, maps, **options) -> BoldRun:
    """The run of a dataset with maps, by suffix, and what is said of each."""
    folder = dataset(tmp_path / "raw", BOLD, sidecars={"task-rest_bold.json": about_run})
    for suffix, about in maps.items():
        path = folder / "sub-01" / "ses-a" / "fmap" / f"sub-01_ses-a_{suffix}.nii.gz"
        image(path, None)
        write(path.with_name(path.name.replace(".nii.gz", ".json")), about)
    given = settings(folder, **{"deformation": "auto"} | options)
    selection = find_runs(given)
    (found,) = selection.runs
    if found.field_map is not None:
        assert {*found.field_map.paths, *found.field_map.sidecars} <= used_files(selection, given)
    return found


def measured(found: BoldRun) -> MeasuredField:
    assert found.field_map is not None
    return found.field_map


@pytest.mark.parametrize(
    "mine",
    [
        HERTZ,
        {"Units": "Hz", "IntendedFor": ["ses-b/func/other.nii.gz", f"ses-a/func/{BOLD}"]},
        {"Units": "Hz", "B0FieldIdentifier": ["other", "pepolar"]},
    ],
)
def test_the_map_that_names_a_run_or_is_named_by_it(tmp_path, mine):
    source = {"B0FieldSource": "pepolar"} if "B0FieldIdentifier" in mine else {}
    others = {"Units": "Hz", "B0FieldIdentifier": "another"}
    maps = {"fieldmap": mine, "magnitude": {}, "acq-1_fieldmap": others, "run-2_fieldmap": {}}
    found = measured(run(tmp_path, TIMED | source, maps))
    assert found.kind == "field" and found.magnitude is not None
    assert [path.name for path in found.paths] == ["sub-01_ses-a_fieldmap.nii.gz"]
    assert found.magnitude.name == "sub-01_ses-a_magnitude.nii.gz"
    assert (found.scale, found.readout) == (1.0, -0.05)


def test_readout_and_unit_in_other_words(tmp_path):
    spaced = RUN | {"PhaseEncodingDirection": "i", "EffectiveEchoSpacing": 0.002}
    found = measured(run(tmp_path, spaced, {"fieldmap": HERTZ | {"Units": "rad/s"}}))
    assert found.magnitude is None
    assert found.readout == pytest.approx(0.002 * (6 - 1))  # voxels along i
    assert 6.283185 * found.scale == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("maps", "names"),
    [
        (
            {"phasediff": MINE | {"EchoTime1": 0.00492, "EchoTime2": 0.00738}, "magnitude2": {}},
            ["phasediff"],
        ),
        # the later echo last, whatever the names say
        (
            {
                "phase1": MINE | {"EchoTime": 0.00738},
                "phase2": MINE | {"EchoTime": 0.00492},
                "magnitude1": {},
            },
            ["phase2", "phase1"],
        ),
    ],
)
def test_phases(tmp_path, maps, names):
    found = measured(run(tmp_path, TIMED, maps))
    assert found.kind == "phase" and found.scale == pytest.approx(0.00246)
    assert [path.name.split("_")[2].split(".")[0] for path in found.paths] == names
    assert found.magnitude is not None and "magnitude" in found.magnitude.name


@pytest.mark.parametrize(
    ("about_run", "maps", "because"),
    [
        (RUN, {"fieldmap": HERTZ}, "lacks a PhaseEncodingDirection, and a TotalReadoutTime"),
        (RUN | {"TotalReadoutTime": 50}, {"fieldmap": HERTZ}, "TotalReadoutTime"),
        (TIMED, {"fieldmap": HERTZ | {"Units": "ppm"}}, "Units are 'ppm'"),
        (TIMED, {"fieldmap": {"Units": "Hz"}}, "none says that it is for this run"),
        (TIMED | {"B0FieldSource": "x"}, {"fieldmap": HERTZ}, "none says"),
        (TIMED, {"phasediff": MINE | {"EchoTime1": 0.005}}, "no EchoTime1 and EchoTime2"),
        (TIMED, {"phasediff": MINE | {"EchoTime1": 0.005, "EchoTime2": 0.005}}, "0 s apart"),
        (TIMED, {"phasediff": MINE | {"EchoTime1": 4.92, "EchoTime2": 7.38}}, "2.46 s apart"),
        (TIMED, {"phasediff": MINE | {"EchoTime1": 0.005, "EchoTime2": 0.007}}, "no _magnitude1"),
        (TIMED, {"phase1": MINE | {"EchoTime": 0.005}}, "no _phase2"),
        (TIMED, {"phase1": MINE, "phase2": MINE}, "no EchoTime, seconds"),
        (TIMED, {"dir-AP_epi": HERTZ}, "of _epi no field is calculated"),
        (TIMED, {"magnitude": {}}, ""),
    ],
)
def test_why_a_map_is_not_used(tmp_path, about_run, maps, because):
    found = run(tmp_path, about_run, maps)
    assert found.field_map is None
    assert because in found.about_field_maps and bool(because) == bool(found.about_field_maps)


def test_maps_are_not_looked_at_where_nobody_asks(tmp_path):
    for options, said in (({"deformation": "none"}, True), ({"ignore": ("fieldmaps",)}, False)):
        found = run(tmp_path / str(said), TIMED, {"fieldmap": "{"}, **options)
        assert found.field_map is None and bool(found.about_field_maps) == said
