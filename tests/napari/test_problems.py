import errno
import logging

from e2miseg_core.errors import ReadError
from e2miseg_napari.problems import problem_of, problem_of_job
from e2miseg_napari.protocol import JobFailed


def test_what_the_user_can_mend_is_told_as_it_is():
    error = ReadError(found="a\nplane", needed="a volume", do="stack it")
    problem = problem_of(error)
    assert problem.line == "a plane; needed: a volume; stack it"
    assert problem.details == ""


def test_a_full_disk_is_no_bug():
    problem = problem_of(OSError(errno.ENOSPC, "No space left on device", "/x/0"))
    assert "No space left on device (/x/0)" in problem.line
    assert problem.details == ""


def test_a_bug_is_one_line_and_keeps_its_traceback(caplog):
    try:
        {}["missing"]
    except KeyError as error:
        problem = problem_of(error)
    assert problem.line.startswith("This is a bug in E2MISeg: KeyError: 'missing'")
    assert 'test_problems.py", line' in problem.details
    assert caplog.records[0].levelno == logging.ERROR


def test_the_workers_failures():
    mended = JobFailed(id="j", kind="user", message="no GPU; needed: one; take cpu")
    assert problem_of_job(mended).line == "no GPU; needed: one; take cpu"
    bug = JobFailed(id="j", kind="bug", message="ValueError: 3", traceback="Trace…")
    problem = problem_of_job(bug)
    assert "bug in E2MISeg: ValueError: 3" in problem.line
    assert problem.details == "Trace…"
