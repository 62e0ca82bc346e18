"""Running tasks: order, any executor, interruption, progress."""

import logging
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from celestepy.catalog import CatalogError
from celestepy.inference.executors import run_tasks

EXECUTORS = {"none": lambda: None, "one": lambda: 1, "two": lambda: 2, "all cores": lambda: -1,
             "numpy": lambda: np.int64(2), "pool": lambda: ThreadPoolExecutor(2)}


@pytest.fixture(params=EXECUTORS)
def executor(request):
    return EXECUTORS[request.param]()


def test_results_are_in_the_order_of_the_tasks(executor):
    """The first task is the last to finish."""

    def work(task):
        time.sleep(0.02 if task == 0 else 0)
        return task**2

    results, interrupted = run_tasks(work, list(range(20)), executor=executor)
    assert results == [task**2 for task in range(20)]
    assert not interrupted


def test_no_tasks(executor):
    assert run_tasks(len, [], executor=executor) == ([], False)


def test_two_threads_work_at_once():
    """Each waits for the other; it would never end with one."""
    barrier = threading.Barrier(2, timeout=20)
    results, _ = run_tasks(lambda task: barrier.wait() >= 0, [0, 1], executor=2)
    assert results == [True, True]


def test_linear_algebra_has_one_thread():
    def threads(_):
        return max((pool["num_threads"] for pool in threadpool_info()), default=1)

    assert run_tasks(threads, [0])[0] == [1]


def test_errors_are_not_swallowed(executor):
    def work(task):
        raise ZeroDivisionError("of task")

    with pytest.raises(ZeroDivisionError):
        run_tasks(work, [1, 2], executor=executor)


@pytest.mark.parametrize("n_jobs", [None, 1, 2])
def test_errors_keep_the_place_where_they_were_raised(n_jobs):
    """By the traceback the command line tells a refusal of this package from a mistake in it."""

    def fail(_):
        raise CatalogError("full")

    with pytest.raises(CatalogError) as caught:
        run_tasks(fail, range(5), executor=n_jobs)
    assert caught.traceback[-1].name == "fail"


@pytest.mark.parametrize("executor", ["2", 0, -2, 1.5, object(), False])
def test_what_is_no_executor(executor):
    with pytest.raises(TypeError, match="executor = .*: expected None, a number of threads"):
        run_tasks(len, [[]], executor=executor)


def test_an_interruption_keeps_what_is_done(caplog):
    """Ctrl-C while the fourth of many tasks runs; with more threads the moment of its arrival is left to chance."""

    def work(task):
        if task == 3:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
        return task

    with caplog.at_level(logging.WARNING):
        results, interrupted = run_tasks(work, list(range(500)), description="fit")
    assert interrupted
    assert len(results) == 500
    done = [task for task in results if task is not None]
    assert all(result in (None, task) for task, result in enumerate(results))
    assert 3 <= len(done) < 500
    assert "interrupted: fit" in caplog.text


def test_progress_is_shown_on_request(capsys):
    run_tasks(abs, [1, 2, 3])
    assert capsys.readouterr() == ("", "")
    run_tasks(abs, [1, 2, 3], progress=True, description="fit")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "fit" in shown.err
    assert "3/3" in shown.err or "0/3" in shown.err
