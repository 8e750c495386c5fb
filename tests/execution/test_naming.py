import pytest

from unimo_bids.execution.naming import participant, run_and_step, workflow_name


@pytest.mark.parametrize(
    ("fullname", "run", "step"),
    [
        ("unimo_bids_wf.sub_01_wf.ses_1_task_rest_wf.motion", "sub-01 ses-1 task-rest", "motion"),
        (
            "wf.sub_01_wf.task_rest_part_mag_chunk_2_wf.track",
            "sub-01 task-rest part-mag chunk-2",
            "track",
        ),
        # the name of a step is no entity
        ("wf.sub_01_wf.task_rest_wf.run_all", "sub-01 task-rest", "run all"),
        ("group_wf.table", "", "table"),
    ],
)
def test_run_and_step(fullname, run, step):
    assert run_and_step(fullname) == (run, step)
    assert participant(fullname) == run.split(" ")[0]


def test_labels_with_a_plus_stay_apart_and_come_back():
    names = [workflow_name("sub-a+b"), workflow_name("sub-ab")]
    assert len(set(names)) == 2
    for name, label in zip(names, ("sub-a+b", "sub-ab"), strict=True):
        assert name.isidentifier()  # as nipype wants it
        assert participant(f"unimo_bids_wf.{name}_wf.task_rest_wf.track") == label
