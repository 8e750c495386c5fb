from __future__ import annotations

import gzip
import struct

import pytest

from tests.bids.layouts import dataset, image, raw, settings
from unimo_bids.bids.query import find_runs
from unimo_bids.execution.naming import run_and_step
from unimo_bids.workflows.citation import methods_section, read_citation, write_citation
from unimo_bids.workflows.participant import init_unimo_wf, series_gb

SERIES = (
    "sub-01_ses-1_task-rest_run-1_bold.nii.gz",
    "sub-01_ses-1_task-rest_run-2_bold.nii.gz",
    "sub-02_task-rest_echo-1_bold.nii.gz",
    "sub-02_task-rest_echo-2_bold.nii.gz",
)


@pytest.fixture
def study(tmp_path):
    return dataset(tmp_path / "raw", *SERIES)


def rest_and_plain(tmp_path, **about):
    """A dataset with two runs; more is known about the first, ``rest``."""
    tasks = ("rest", "plain")
    sidecars = {f"task-{t}_bold.json": {"TaskName": t, "RepetitionTime": 2.0} for t in tasks}
    sidecars["task-rest_bold.json"] |= about
    series = [f"sub-01_task-{t}_bold.nii.gz" for t in tasks]
    return dataset(tmp_path / "raw", *series, sidecars=sidecars)


def built(folder, **options):
    given = settings(folder, **options)
    return init_unimo_wf(find_runs(given), given)


def nodes(workflow):
    return {name: workflow.get_node(name) for name in workflow.list_node_names()}


def test_every_run_has_its_steps(study):
    names = {f"unimo_bids_wf.{name}" for name in nodes(built(study))}
    runs = {run_and_step(name)[0] for name in names}
    assert runs == {
        "sub-01 ses-1 task-rest run-1", "sub-01 ses-1 task-rest run-2", "sub-02 task-rest"
    }  # fmt: skip
    for run in runs:
        assert {run_and_step(name)[1] for name in names if run_and_step(name)[0] == run} == {
            *("prepare", "track", "motion", "resample"),
            *("residual", "confounds", "figures", "save"),
        }


def test_slices_are_followed_where_their_times_are_known(tmp_path):
    timing = [0, 0.4, 0.8, 1.2, 1.6]
    folder = rest_and_plain(tmp_path, SliceTiming=timing)

    def following(**options):
        return [name for name in nodes(built(folder, **options)) if name.endswith(".slices")]

    (one,) = following()
    assert "task_rest" in one
    assert nodes(built(folder))[one].inputs.metadata == {"SliceTiming": timing}
    assert following(slices="off") == following(ignore=("slicetiming",)) == []
    figures = nodes(built(folder, slices="on"))
    (plain,) = [node for name, node in figures.items() if "plain" in name and "figures" in name]
    assert "no sidecar has a SliceTiming" in plain.inputs.known_warnings[0]


def test_distortion_is_looked_for_where_its_axis_is_known(tmp_path):
    folder = rest_and_plain(tmp_path, PhaseEncodingDirection="j-")
    image(folder / "sub-01" / "fmap" / "sub-01_phasediff.nii.gz", None)
    assert not [name for name in nodes(built(folder, deformation="none")) if "deform" in name]
    found = nodes(built(folder, deformation="auto"))
    (one,) = [name for name in found if name.endswith(".deform")]
    assert "task_rest" in one and found[one].inputs.axis == 1
    facts = [node.inputs.facts for name, node in found.items() if name.endswith("figures")]
    assert ["PhaseEncodingDirection" in one.get("Distortion", "") for one in facts].count(True) == 1
    assert all("not used" in one["Field maps"] for one in facts)


def test_a_file_that_was_not_fetched_is_no_hindrance_to_the_others(study):
    series = [raw(study, name) for name in SERIES[1:3]]
    for path in [*series, raw(study, "sub-02_task-rest_echo-1_sbref.nii.gz")]:
        path.unlink(missing_ok=True)
        path.symlink_to("../../.git/annex/objects/zz/SHA.nii.gz")
    assert len(nodes(built(study, reference="sbref"))) == 24


def test_runs_do_not_wait_for_each_other(study):
    import networkx

    graph = built(study)._create_flat_graph()
    parts = list(networkx.weakly_connected_components(graph))
    assert len(parts) == 3
    for part in parts:
        # all begins with the check of the series, all ends in the derivatives
        within = graph.subgraph(part)
        assert [node.name for node in within if not list(within.predecessors(node))] == ["prepare"]
        assert [node.name for node in within if not list(within.successors(node))] == ["save"]


def test_all_echoes_are_resampled_by_the_motion_of_the_first(study):
    graph = built(study, participant_label=("02",))._create_flat_graph()
    steps = {node.name: node for node in graph}
    assert [path.endswith(f"echo-{echo}_bold.nii.gz") for echo, path in
            enumerate(steps["prepare"].inputs.in_files, start=1)] == [True, True]  # fmt: skip

    def given(step):
        return graph.get_edge_data(steps["prepare"], steps[step])["connect"]

    assert ("series", "in_files") in given("resample")
    assert ("first", "in_file") in given("motion")


def test_raw_series_are_read_by_one_step_only(tmp_path):
    """Whatever is asked for; `save` names the raw files, and does not open them."""
    about = {
        "SliceTiming": [0, 0.4, 0.8, 1.2, 1.6],
        "SliceEncodingDirection": "i-",
        "PhaseEncodingDirection": "j",
    }
    folder = dataset(
        tmp_path / "raw",
        *SERIES,
        sidecars={"task-rest_bold.json": {"TaskName": "rest", "RepetitionTime": 2.0} | about},
    )
    found = nodes(
        built(folder, slices="on", deformation="epi", output_spaces=("MNI152NLin2009cAsym",))
    )
    steps = {run_and_step(f"unimo_bids_wf.{name}")[1]: [] for name in found}
    assert {"slices", "deform", "spaces", "track", "residual"} <= steps.keys()
    for name, node in found.items():
        if "_bold.nii.gz" in repr(node.inputs):
            steps[run_and_step(f"unimo_bids_wf.{name}")[1]].append(name)
    assert {step for step, named in steps.items() if named} == {"prepare", "save"}
    axes = [node.inputs.slice_axis for name, node in found.items() if name.endswith(".prepare")]
    assert set(axes) == {0}


def test_an_sbref_is_used_only_if_asked_for(study):
    image(raw(study, "sub-02_task-rest_echo-1_sbref.nii.gz"), None)
    for reference, used in (("auto", False), (2, False), ("sbref", True)):
        found = nodes(built(study, reference=reference))
        for name, node in found.items():
            if name.endswith((".prepare", ".track", ".motion")):
                given = str(node.inputs.reference_file)
                assert given.endswith("_sbref.nii.gz") == (used and "sub_02" in name)


def test_memory_that_a_step_asks_for_grows_with_the_series(tmp_path):
    folder = dataset(tmp_path / "raw", "sub-01_task-rest_bold.nii.gz")
    path = raw(folder, "sub-01_task-rest_bold.nii.gz")
    image(path, 100, shape=(64, 64, 40))
    assert series_gb(path) == pytest.approx(64 * 64 * 40 * 100 * 4 / 2**30)
    assert all(node.mem_gb > 0.1 + series_gb(path) for node in nodes(built(folder)).values())
    path.write_bytes(b"no image")
    assert series_gb(path) == 0


def test_methods_say_what_these_runs_were_given(study, tmp_path):
    auto = methods_section(built(study).described())
    third = methods_section(built(study, reference=3, fd_threshold=0.25).described())
    assert "a frame from the stretch of lowest motion" in auto
    assert "one reference, frame 3." in third and "0.25 mm" in third
    # once for two runs that were given the same
    alone = methods_section(built(study, participant_label=("01",)).described())
    assert alone.count("Head motion of each run") == 1

    # runs of one call that were not given the same
    image(raw(study, "sub-02_task-rest_echo-1_sbref.nii.gz"), None)
    apart = methods_section(built(study, reference="sbref").described())
    assert "relative to the single-band reference of the run." in apart
    assert read_citation(tmp_path) is None
    write_citation(tmp_path, auto)
    assert read_citation(tmp_path) == auto


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_header_that_claims_more_than_its_file_holds_says_nothing(tmp_path, suffix):
    honest = image(tmp_path / f"honest{suffix}")
    assert series_gb(honest) == 6 * 6 * 5 * 4 * 4 / 2**30
    content = (gzip.decompress if suffix == ".nii.gz" else bytes)(honest.read_bytes())
    # dim[1:5], int16
    lie = content[:42] + struct.pack("<4h", 32767, 32767, 32767, 32767) + content[50:]
    lying = tmp_path / f"lying{suffix}"
    lying.write_bytes(gzip.compress(lie) if suffix == ".nii.gz" else lie)
    assert series_gb(lying) == 0
    assert series_gb(tmp_path / "none.nii") == 0


def brain_and_figures(folder, **options):
    found = nodes(built(folder, participant_label=("02",), **options))
    return [next(one for name, one in found.items() if name.endswith(end))
            for end in (".prepare", ".figures")]  # fmt: skip


def test_a_place_given_for_the_brain_is_looked_at(study):
    brain, _ = brain_and_figures(study)
    assert brain.inputs.center is None
    pointed, figures = brain_and_figures(study, brain_center="1,2,3")
    assert (pointed.inputs.center, pointed.inputs.center_reason) == ("1,2,3", "--brain-center")
    assert not [one for one in figures.inputs.known_warnings if "place" in one]
    elsewhere, _ = brain_and_figures(study, brain_center="1,2,4")
    # a step that was done before is done anew
    hashes = {one.inputs.get_hashval()[1] for one in (brain, pointed, elsewhere)}
    assert len(hashes) == 3


def test_a_place_is_not_looked_at_beside_a_mask(study, tmp_path):
    masks = dataset(tmp_path / "masks", DatasetType="derivative")
    image(masks / "sub-02/func/sub-02_task-rest_echo-1_desc-brain_mask.nii.gz", None)
    table = "participant_id\tbrain_center\nsub-02\t1,2,3\n"
    (study / "participants.tsv").write_text(table)
    for options, instead in (
        ({"derivatives": {"masks": masks}}, "a mask"),
        ({"brain_extraction": "epi"}, "--brain-extraction epi"),
    ):
        brain, figures = brain_and_figures(study, **options)
        assert brain.inputs.center is None
        assert figures.inputs.known_warnings[-1] == (
            "The place of the brain (participants.tsv: brain_center) was not used: "
            f"{instead} was given."
        )


def test_standard_spaces_are_reached_only_where_they_are_asked_for(study):
    """Each run with the age of its fetus; the run's own space is no other."""
    (study / "participants.tsv").write_text("participant_id\tgestational_age\nsub-01\t28.5\n")
    assert len(nodes(built(study, output_spaces=("func",)))) == 24
    found = nodes(built(study, output_spaces=("func", "MNI:res-2"), level="minimal"))
    spaces = {name: node.inputs for name, node in found.items() if name.endswith("spaces")}
    assert [one.age for one in spaces.values()] == [28.5, 28.5, None]
    assert not any(one.series for one in spaces.values())
