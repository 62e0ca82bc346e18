"""Running independent fits: serially, in joblib's threads, or with anything that has a ``map``."""

import logging
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits
from tqdm import tqdm

__all__ = ["run_tasks"]

log = logging.getLogger(__name__)


def run_tasks(function, tasks, *, executor=None, progress=False, description=""):
    """Results of a function over independent tasks, in their order, whatever finishes first.

    Parameters
    ----------
    function : callable
        Of one task; must not depend on the other tasks, so that the result is the same for any executor.
    tasks : sequence
        The tasks.
    executor : None, int or object with ``map``, optional
        None or 1 runs serially; a number n runs n threads of joblib (-1: one for each core), of which only the
        kernels, not the Python around them, run at the same time; anything else must have a lazy, ordered
        ``map(function, tasks)``, such as `concurrent.futures.ThreadPoolExecutor`.
    progress : bool
        Whether to show a progress bar.
    description : str
        Label of the bar.

    Returns
    -------
    results : list
        One for each task; None for those that an interruption left undone.
    interrupted : bool
        Whether Ctrl-C stopped the run.
    """
    # Kept where they are made: threads may have finished more than the loop below has seen when Ctrl-C comes.
    results, interrupted = [None] * len(tasks), False

    def work(number):
        try:
            results[number] = function(tasks[number])
        except Exception as error:  # raised below: joblib takes from it the traceback, which tells whose it is
            return number, _Failure(error)
        return number, results[number]

    # One thread per fit: threaded linear algebra on matrices this small only makes the threads wait for each other.
    bar_options = dict(desc=description, disable=not progress, unit="group", leave=False)
    with threadpool_limits(1), tqdm(total=len(tasks), **bar_options) as bar:
        try:
            for number, result in _map(work, range(len(tasks)), executor):
                if isinstance(result, _Failure):
                    raise result.error
                results[number] = result
                bar.update()
        except KeyboardInterrupt:
            interrupted = True
            finished = sum(result is not None for result in results)
            log.warning("interrupted: %s: %d of %d groups are finished", description or "run", finished, len(tasks))
    return list(results), interrupted  # a copy: after Ctrl-C a thread may still be at work


@dataclass(frozen=True)
class _Failure:
    """What a task has raised, on its way from a thread."""

    error: Exception


def _map(function, tasks, executor):
    if executor is None or executor == 1:
        return map(function, tasks)
    if isinstance(executor, (int, np.integer)) and not isinstance(executor, bool) and (executor > 0 or executor == -1):
        parallel = Parallel(n_jobs=int(executor), backend="threading", return_as="generator", batch_size=1)
        return parallel(delayed(function)(task) for task in tasks)
    if not callable(getattr(executor, "map", None)):
        raise TypeError(
            f"executor = {executor!r}: expected None, a number of threads (-1: one for each core), or an "
            "object with a map method"
        )
    return executor.map(function, tasks)
