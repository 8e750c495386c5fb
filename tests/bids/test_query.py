from __future__ import annotations

import time

import pytest

from tests.bids.layouts import dataset, image, raw, settings, write
from unimo_bids.bids.names import run_names
from unimo_bids.bids.query import find_runs
from unimo_bids.errors import InputError, MachineError
from unimo_bids.execution.naming import run_and_step
from unimo_bids.workflows.participant import init_unimo_wf

SEVERAL = (
    "sub-01_ses-a_task-rest_run-01_bold.nii.gz",
    "sub-01_ses-a_task-rest_run-02_bold.nii.gz",
    "sub-01_ses-b_task-rest_run-01_bold.nii.gz",
    "sub-02_ses-a_task-rest_run-01_bold.nii.gz",
    "sub-02_ses-a_task-film_acq-fast_bold.nii.gz",
)


def names(selection):
    return [run.name for run in selection.runs]


@pytest.fixture
def several(tmp_path):
    return dataset(tmp_path / "raw data é", *SEVERAL)  # spaces and unicode in the path


def test_all_runs_by_participant(several):
    found = find_runs(settings(several))
    assert {label: len(runs) for label, runs in found.participants.items()} == {"01": 3, "02": 2}
    assert sorted(names(found)) == sorted(name.removesuffix("_bold.nii.gz") for name in SEVERAL)
    run = found.participants["01"][2]
    assert run.entities == {"sub": "01", "ses": "b", "task": "rest", "run": "01"}
    assert run.paths == (raw(several, SEVERAL[2]),)
    assert (run.participant, run.session, run.echoes, run.sbref) == ("01", "b", (), None)
    assert run.repetition_time == 2 and run.metadata["TaskName"] == "rest"
    assert run.warnings == () and found.warnings == ()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"participant_label": ("02",)}, [SEVERAL[4], SEVERAL[3]]),
        ({"session_label": ("b",)}, [SEVERAL[2]]),
        ({"task_id": ("film",)}, [SEVERAL[4]]),
        ({"run_id": ("2",)}, [SEVERAL[1]]),  # 2 is 02
        ({"run_id": ("01",), "participant_label": ("01",)}, [SEVERAL[0], SEVERAL[2]]),
    ],
)
def test_labels(several, options, expected):
    found = find_runs(settings(several, **options))
    assert names(found) == [name.removesuffix("_bold.nii.gz") for name in expected]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"participant_label": ("02", "07")}, "--participant-label: .* sub-07; known are 01, 02"),
        ({"session_label": ("c",)}, "--session-label: .* ses-c .*; known are a, b"),
        ({"task_id": ("rset",)}, "--task-id: .* task-rset .*; known are film, rest"),
        ({"run_id": ("3",)}, "--run-id: .* run-3 .*; known are 01, 02"),
        ({"echo_idx": 1}, "--echo-idx: .* echo-1 .*; known are none"),
        # the session exists, but not for this participant
        ({"participant_label": ("02",), "session_label": ("b",)}, "ses-b .*; known are a"),
    ],
)
def test_unknown_labels_are_refused_with_the_known_ones(several, options, message):
    with pytest.raises(InputError, match=message):
        find_runs(settings(several, **options))


def test_a_participant_left_with_nothing_is_mentioned(several):
    found = find_runs(settings(several, participant_label=("01", "02"), session_label=("b",)))
    assert found.warnings == ("No run of sub-02 matches the selection.",)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"bold": {"acquisition": "fast"}}, [4]),
        ({"bold": {"acquisition": None, "session": "a"}}, [0, 1, 3]),
        ({"bold": {"session": "b|c", "regex_search": True}}, [2]),
        ({"bold": {"run": [2]}}, [1]),
        ({"bold": {"RepetitionTime": 3.0}}, [4]),
        ({"t1w": {"acquisition": "mprage"}, "bold": {"task": "film"}}, [4]),
    ],
)
def test_filter_file(several, tmp_path, filters, expected):
    write(several / "task-film_bold.json", {"TaskName": "film", "RepetitionTime": 3.0})
    file = write(tmp_path / "filters.json", filters)
    found = find_runs(settings(several, bids_filter_file=file))
    assert names(found) == [SEVERAL[i].removesuffix("_bold.nii.gz") for i in expected]


def test_nothing_to_do_is_refused(several, tmp_path):
    file = write(tmp_path / "filters.json", {"bold": {"acquisition": "slow"}})
    with pytest.raises(InputError, match="nothing to do"):
        find_runs(settings(several, bids_filter_file=file))
    empty = dataset(tmp_path / "empty")
    with pytest.raises(InputError, match="no BOLD series in this dataset"):
        find_runs(settings(empty))


def test_metadata_by_inheritance(tmp_path):
    folder = dataset(
        tmp_path,
        "sub-01_ses-1_task-rest_run-1_bold.nii.gz",
        "sub-01_ses-1_task-rest_run-2_bold.nii.gz",
        "sub-02_task-rest_bold.nii",
        sidecars={
            "task-rest_bold.json": {"TaskName": "rest", "RepetitionTime": 2.0, "FlipAngle": 90},
            "sub-01/ses-1/sub-01_ses-1_task-rest_bold.json": {"FlipAngle": 70},
            "sub-01/ses-1/func/sub-01_ses-1_task-rest_run-2_bold.json": {"FlipAngle": 60},
        },
    )
    runs = find_runs(settings(folder)).runs
    assert [run.metadata["FlipAngle"] for run in runs] == [70, 60, 90]
    assert [run.metadata["RepetitionTime"] for run in runs] == [2, 2, 2]
    assert runs[2].paths[0].suffix == ".nii"


def test_echoes_are_one_run_by_rising_echo_time(tmp_path):
    stem = "sub-01_task-rest_dir-AP_run-1"
    series = [f"{stem}_echo-{n}_bold.nii.gz" for n in (1, 2, 3)]
    references = [f"{stem}_echo-{n}_sbref.nii.gz" for n in (1, 2, 3)]
    times = {"1": 0.035, "2": 0.014, "3": 0.056}
    sidecars = {
        f"sub-01/func/{stem}_echo-{n}_bold.json": {"EchoTime": t, "RepetitionTime": 2.0}
        for n, t in times.items()
    }
    folder = dataset(tmp_path, *series, *references, sidecars=sidecars)
    (run,) = find_runs(settings(folder)).runs
    assert run.name == stem and "echo" not in run.entities
    assert run.echoes == ("2", "1", "3") and run.echo_times == (0.014, 0.035, 0.056)
    assert [path.name for path in run.paths] == [series[1], series[0], series[2]]
    assert run.sbref == raw(folder, references[1])
    assert run.metadata["EchoTime"] == 0.014

    (alone,) = find_runs(settings(folder, echo_idx=3)).runs
    assert alone.echoes == ("3",) and alone.paths == (raw(folder, series[2]),)

    write(folder / "sub-01/func" / f"{stem}_echo-1_bold.json", {"RepetitionTime": 2.0})
    (run,) = find_runs(settings(folder)).runs
    assert run.echoes == ("1", "2", "3")
    assert any("EchoTime" in warning for warning in run.warnings)


def test_sbref_of_the_same_run_only(tmp_path):
    folder = dataset(
        tmp_path,
        "sub-01_task-rest_run-1_bold.nii.gz",
        "sub-01_task-rest_run-2_bold.nii.gz",
        "sub-01_task-rest_run-2_sbref.nii.gz",
    )
    found = find_runs(settings(folder)).runs
    assert [run.sbref and run.sbref.name for run in found] == [
        None,
        "sub-01_task-rest_run-2_sbref.nii.gz",
    ]
    file = write(tmp_path / "filters.json", {"sbref": {"run": 1}})
    assert find_runs(settings(folder, bids_filter_file=file)).runs[1].sbref is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sub-01_task-rést_bold.nii.gz", "'é' may not be in a label"),
        ("sub-01_bold.nii.gz", "names no task"),
        ("sub-01_run-1_task-rest_bold.nii.gz", "order: sub, task, run"),
        ("sub-01_task-rest_task-film_bold.nii.gz", r"is not BIDS; rename"),
        ("sub-01_task-rest_desc-clean_bold.nii.gz", "is not BIDS"),
        ("sub-02_task-rest_bold.nii.gz", "is not BIDS"),  # in another's folder
    ],
)
def test_names_that_are_not_bids_are_refused(tmp_path, name, message):
    place = tmp_path / "my study"  # of which the names of files know nothing
    place.mkdir()
    folder = dataset(place, "sub-01_task-rest_bold.nii.gz", "sub-03_task-rest_bold.nii.gz")
    image(folder / "sub-01" / "func" / name)
    with pytest.raises(InputError, match=message) as refusal:
        find_runs(settings(folder))
    assert refusal.value.path.name == name and "rename" in str(refusal.value)
    # what is wrong with another participant is another day's matter
    assert len(find_runs(settings(folder, participant_label=("03",))).runs) == 1


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        ("*_junk*\n# a comment", ["sub-01_task-film", "sub-01_task-rest"]),
        ("*_junk*\n/sub-01/func/*film*", ["sub-01_task-rest"]),
        ("sub-01/**/*_bold.nii.gz\n!*-rest_bold*", ["sub-01_task-rest"]),
        ("*junk_bold.nii.gz\nfilm", ["sub-01_task-film", "sub-01_task-rest"]),
    ],
)
def test_what_the_dataset_ignores_is_no_part_of_it(tmp_path, lines, left):
    folder = dataset(tmp_path, "sub-01_task-rest_bold.nii.gz", "sub-01_task-film_bold.nii.gz")
    image(folder / "sub-01" / "func" / "sub-01_task-rest_junk_bold.nii.gz")
    with pytest.raises(InputError, match=r"is not BIDS.*\.bidsignore"):
        find_runs(settings(folder))
    write(folder / ".bidsignore", lines)
    assert names(find_runs(settings(folder))) == left


def test_other_folders_are_not_looked_into(tmp_path):
    name = "sub-01_task-rest_bold.nii.gz"
    folder = dataset(tmp_path, name)
    for place in ("derivatives/other", "sourcedata", "code", "sub-01/anat"):
        image(folder / place / "sub-01" / "func" / name.replace("rest", "film"))
    assert names(find_runs(settings(folder))) == ["sub-01_task-rest"]


def test_one_run_twice_is_refused(tmp_path):
    folder = dataset(tmp_path, "sub-01_task-rest_bold.nii.gz", "sub-01_task-rest_bold.nii")
    with pytest.raises(InputError, match="it is the same run as sub-01_task-rest_bold"):
        find_runs(settings(folder))


def test_broken_sidecar_is_named(tmp_path):
    folder = dataset(tmp_path, "sub-01_task-rest_bold.nii.gz")
    write(folder / "task-rest_bold.json", '{"RepetitionTime": 2,}')
    with pytest.raises(InputError, match=r"task-rest_bold\.json"):
        find_runs(settings(folder))
    write(folder / "task-rest_bold.json", "[1]")
    with pytest.raises(InputError, match=r"task-rest_bold\.json: it is a list, not a JSON object"):
        find_runs(settings(folder))
    write(folder / "task-rest_bold.json", '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}")
    with pytest.raises(InputError, match=r"task-rest_bold\.json: its JSON is nested too deeply"):
        find_runs(settings(folder))


@pytest.mark.parametrize("content", ["{", "[1]", "[" * 100_000, '{"RepetitionTime": 1e999}'])
def test_only_the_sidecars_of_chosen_runs_are_read(several, content):
    for name in ("sub-02/sub-02_bold.json", "sub-01/ses-a/func/sub-01_ses-a_run-2_bold.json"):
        write(several / name, content)
    chosen = {"participant_label": ("01",), "run_id": ("1",)}
    assert len(find_runs(settings(several, **chosen)).runs) == 2
    if content.endswith("}"):  # a number that no file can mean
        run = find_runs(settings(several, participant_label=("01",))).runs[1]
        assert run.repetition_time == 2 and any("inf, is no time" in one for one in run.warnings)
        return
    with pytest.raises(InputError, match=r"sub-01_ses-a_run-2_bold\.json: "):
        find_runs(settings(several, participant_label=("01",)))
    with pytest.raises(InputError, match=r"sub-02_bold\.json: "):
        find_runs(settings(several, participant_label=("02",)))


def test_links_that_lead_back_are_not_followed(several):
    """Nor is a folder that only looks like a participant's, or a sidecar of some size."""
    for place in ("sub-01/loop", "sub-01/ses-a/func/loop", "loop", "sub-loop", "sub-01/ses-loop"):
        (several / place).symlink_to(several, target_is_directory=True)
        (several / f"{place}2").symlink_to((several / place).parent, target_is_directory=True)
    large = {f"key{i}": "x" * 1000 for i in range(10_000)}
    write(several / "task-rest_bold.json", {"TaskName": "rest", "RepetitionTime": 2.0} | large)
    begin = time.perf_counter()
    found = find_runs(settings(several))
    assert sorted(names(found)) == sorted(name.removesuffix("_bold.nii.gz") for name in SEVERAL)
    assert time.perf_counter() - begin < 10  # 1 s alone on one core


def test_two_chunks_are_two_runs(tmp_path):
    chunks = [f"sub-01_task-rest_chunk-0{number}_bold.nii.gz" for number in (1, 2)]
    selection = find_runs(settings(dataset(tmp_path, *chunks)))
    assert names(selection) == ["sub-01_task-rest_chunk-01", "sub-01_task-rest_chunk-02"]
    one, other = (set(run_names(run.entities).all) for run in selection.runs)
    assert not one & other and all("_chunk-01_" in path.name for path in one)
    workflow = init_unimo_wf(selection, settings(tmp_path))
    told = {run_and_step(f"unimo_bids_wf.{node}")[0] for node in workflow.list_node_names()}
    assert told == {"sub-01 task-rest chunk-01", "sub-01 task-rest chunk-02"}


def test_database(several, tmp_path):
    place = tmp_path / "cache" / "index"
    first = find_runs(settings(several, bids_database_dir=place))
    assert [path.name for path in place.iterdir()] == ["layout_index.sqlite"]
    second = find_runs(settings(several, bids_database_dir=place))
    assert first == second == find_runs(settings(several))
    # as with other programs, what is new is not in it
    image(raw(several, "sub-09_task-rest_bold.nii.gz"))
    assert "09" not in find_runs(settings(several, bids_database_dir=place)).participants

    other = dataset(tmp_path / "other", "sub-01_task-rest_bold.nii.gz")
    with pytest.raises(InputError, match=r"another dataset .*--bids-database-dir"):
        find_runs(settings(other, bids_database_dir=place))
    (place / "layout_index.sqlite").write_text("no index at all")
    with pytest.raises(InputError, match="PyBIDS cannot read this index"):
        find_runs(settings(several, bids_database_dir=place))
    with pytest.raises(MachineError, match="Not a directory"):
        find_runs(settings(other, bids_database_dir=other / "README" / "db"))


def test_phase_is_left_out(tmp_path):
    folder = dataset(
        tmp_path, "sub-01_task-rest_part-mag_bold.nii.gz", "sub-01_task-rest_part-phase_bold.nii.gz"
    )
    assert names(find_runs(settings(folder))) == ["sub-01_task-rest_part-mag"]


def test_hidden_files_are_no_series(tmp_path):
    folder = dataset(tmp_path, "sub-01_task-rest_bold.nii.gz")
    write(folder / "sub-01/func/._sub-01_task-rest_bold.nii.gz", "what a Mac leaves behind")
    assert len(find_runs(settings(folder)).runs) == 1
