"""When the monitor says that a fit should stop."""

from types import SimpleNamespace

from celestepy.density.monitor import Monitor


def monitor_of(held_out_scores, patience):
    """A monitor of a fit whose held-out scores are known, one after another."""
    scores = iter(held_out_scores)
    objective = SimpleNamespace(held_out=True, value=lambda score, _: score, held_out_score=lambda _: next(scores))
    return Monitor(objective, 1e-5, patience, len(held_out_scores))


def passes_until_the_stop(monitor, n_passes):
    """Number of passes before the monitor says to stop, with a training score that always rises."""
    for n in range(1, n_passes + 1):
        if monitor.record("minibatch", n, float(len(monitor.trace))):
            return n
    return None


def test_patience_with_the_held_out_score():
    monitor = monitor_of([-3.0, -2.0, -2.1, -2.2, -2.3], patience=3)
    assert passes_until_the_stop(monitor, 5) == 5


def test_a_fall_below_the_best_ends_a_fit():
    monitor = monitor_of([-2.0, -3.0, -2.8, -2.6, -2.4, -2.2, -2.1], patience=3)
    assert passes_until_the_stop(monitor, 7) == 4


def test_a_fall_after_a_restart_is_not_held_against_the_fit():
    """The score falls below the best and climbs back slowly: as long as it rises the fit goes on."""
    monitor = monitor_of([-2.0, -3.0, -2.8, -2.6, -2.4, -2.2, -2.1], patience=3)
    assert passes_until_the_stop(monitor, 1) is None
    monitor.restart()
    assert passes_until_the_stop(monitor, 6) is None
