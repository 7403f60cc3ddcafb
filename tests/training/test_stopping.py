"""When training stops and slows down."""

from __future__ import annotations

import math

from featx.training.stopping import Stopping


def run(losses: list[float], patience: int) -> tuple[Stopping, int, list[int]]:
    """Return the state, the last epoch, and the epochs after which the rate was reduced."""
    stopping, reduced = Stopping(patience), []
    for epoch, loss in enumerate(losses, 1):
        _, reduce = stopping.see(epoch, loss)
        reduced += [epoch] if reduce else []
        if stopping.is_over(epoch):
            break
    return stopping, epoch, reduced


def test_it_stops_after_so_many_epochs_without_a_lower_loss() -> None:
    stopping, last, _ = run([3, 2, 1, 2, 2, 2, 2, 0], patience=4)
    assert (stopping.best_epoch, stopping.best, last) == (3, 1, 7)


def test_the_rate_is_reduced_again_and_again_on_a_plateau() -> None:
    _, last, reduced = run([1] * 20, patience=6)
    assert reduced == [4, 7]  # each after three epochs that were no better
    assert last == 7


def test_a_hair_lower_is_not_lower() -> None:
    stopping, _, _ = run([1, 1 - 1e-6, 1 - 1e-3], patience=9)
    assert stopping.best_epoch == 3


def test_a_loss_that_is_no_number_never_is_the_best() -> None:
    stopping, last, _ = run([math.nan] * 9, patience=3)
    assert (stopping.best_epoch, last) == (0, 3)
    stopping, _, _ = run([2, math.nan, 1], patience=3)
    assert stopping.best_epoch == 3
