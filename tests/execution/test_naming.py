import pytest

from unimo_bids.execution.naming import participant, run_and_step


@pytest.mark.parametrize(
    ("fullname", "run", "step"),
    [
        ("unimo_bids_wf.sub_01_wf.ses_1_task_rest_wf.motion", "sub-01 ses-1 task-rest", "motion"),
        (
            "wf.sub_A7_wf.bold_task_nback_run_02_echo_1_wf.motion_wf.estimate_all",
            "sub-A7 task-nback run-02 echo-1",
            "motion estimate all",
        ),
        ("wf.sub_01_wf.report", "sub-01", "report"),
        # the name of a step is no entity
        ("wf.sub_01_wf.task_rest_wf.run_all", "sub-01 task-rest", "run all"),
        ("group_wf.table", "", "table"),
        ("table", "", "table"),
    ],
)
def test_run_and_step(fullname, run, step):
    assert run_and_step(fullname) == (run, step)
    assert participant(fullname) == run.split(" ")[0]
