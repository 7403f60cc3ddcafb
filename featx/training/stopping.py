"""When to stop and when to slow down: pure decisions from the losses seen, without Keras."""

from __future__ import annotations

import math
from dataclasses import dataclass

RATE_FACTOR = 0.5
"""What the learning rate is multiplied by where the loss has not fallen for a while."""

LEAST_CHANGE = 1e-4
"""A loss lower by no more than this is not lower."""


@dataclass
class Stopping:
    """Early stopping, and a learning rate that is halved on a plateau.

    As Keras's EarlyStopping and ReduceLROnPlateau, but its whole state is four numbers that go to
    a checkpoint.

    Attributes
    ----------
    patience : int
        Epochs without a lower loss after which training stops. Half as many (at least 2) after
        which the rate is multiplied by `RATE_FACTOR`; that count starts anew with each reduction.
    best : float
        Lowest loss so far; that of the start, where it counts.
    best_epoch : int
        Its epoch, from 1; 0 before there is one, or for the start.
    waited : int
        Epochs since then, or since the rate was reduced.
    """

    patience: int
    best: float = math.inf
    best_epoch: int = 0
    waited: int = 0

    @property
    def rate_patience(self) -> int:
        """Epochs without a lower loss after which the rate is reduced."""
        return max(2, self.patience // 2)

    def see(self, epoch: int, loss: float) -> tuple[bool, bool]:
        """Take in the loss of an epoch.

        Returns
        -------
        better : bool
            It is the lowest so far: its weights are worth keeping.
        reduce : bool
            The learning rate is to be reduced before the next epoch.
        """
        if loss < self.best - LEAST_CHANGE or (math.isinf(self.best) and not math.isnan(loss)):
            self.best, self.best_epoch, self.waited = loss, epoch, 0
            return True, False
        self.waited += 1
        if self.waited >= self.rate_patience:
            self.waited = 0
            return False, True
        return False, False

    def is_over(self, epoch: int) -> bool:
        """Tell whether `epoch` was the last worth running."""
        return epoch - self.best_epoch >= self.patience
