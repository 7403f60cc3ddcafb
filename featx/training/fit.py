"""The training loop: one epoch after another, each of them kept before the next one starts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from featx.engines.device import has_gpu
from featx.quiet import import_keras
from featx.records import StepSpec
from featx.training.augment import build_augment
from featx.training.checkpoint import Checkpoint
from featx.training.images import iterate_ahead
from featx.training.network import count_parameters, logits_of, predict
from featx.training.optimizers import OptimizerSpec, build_optimizer
from featx.training.stopping import RATE_FACTOR, Stopping

log = logging.getLogger("featx")

Progress = Callable[[int, int, str], object]
"""Told the images done, the images in all, and a word on the epoch."""


@dataclass(frozen=True)
class FitSpec:
    """How networks are trained.

    Attributes
    ----------
    optimizer : OptimizerSpec
    augment : tuple of StepSpec
        Of training rows; empty is none.
    epochs : int
        At most so many.
    patience : int
        See `Stopping`.
    batch_size : int
        Rows a step, at most.
    precision : str
        "float32" or "mixed".
    keep_start : bool
        The weights that training starts from are kept where no epoch has a lower loss.
    """

    optimizer: OptimizerSpec
    augment: tuple[StepSpec, ...] = ()
    epochs: int = 60
    patience: int = 10
    batch_size: int = 32
    precision: str = "float32"
    keep_start: bool = False


@dataclass(frozen=True)
class Rows:
    """Images with their labels.

    Attributes
    ----------
    X : array of shape (n, height, width, 3), uint8, or lazy images
        Of a network's tail: what it takes in their place.
    y : ndarray of shape (n,), int
    digests : tuple of str
        Of the images; empty where they are not known.
    """

    X: Any
    y: np.ndarray
    digests: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class FitOutcome:
    """What training did. The network has the weights of the best epoch.

    Attributes
    ----------
    history : dict of str to list
        A value an epoch: "loss", "accuracy", "val_loss", "val_accuracy" (both None where nothing
        was held out), "rate" and "seconds".
    best_epoch : int
        The epoch kept, from 1; 0 is the start.
    resumed_after : int
        Epochs that an earlier process had done.
    parameters : dict of str to int
        `count_parameters`.
    start : dict of str to float
        "val_loss" and "val_accuracy" before the first epoch, with `FitSpec.keep_start`.
    """

    history: dict[str, list[Any]]
    best_epoch: int
    resumed_after: int
    parameters: dict[str, int] = field(default_factory=dict)
    start: dict[str, float] = field(default_factory=dict)

    @property
    def fit_seconds(self) -> float:
        """Of all epochs, those of earlier processes included."""
        return float(sum(self.history["seconds"]))


def fit_network(
    network: Any,
    train: Rows,
    held: Rows | None,
    spec: FitSpec,
    *,
    seed: int,
    checkpoint: Checkpoint | None = None,
    progress: Progress | None = None,
    name: str = "the network",
) -> FitOutcome:
    """Train a network, stopping early, and give it the weights of its best epoch.

    The best epoch is that of the lowest loss on `held`, or on the training rows where there is no
    `held`. Whatever in the network is trainable is trained. Order of rows, augmentation and dropout
    come from `seed`; on one machine and Keras backend the same seed gives the same history, up to
    the order in which threads add numbers up.

    Parameters
    ----------
    network : keras.Model
        uint8 pixels to probabilities, ending in a softmax (`featx.training.network.classify`).
    train : Rows
    held : Rows, optional
        What stopping is decided on; never augmented, never trained on.
    spec : FitSpec
    seed : int
    checkpoint : Checkpoint, optional
        Written after every epoch. What it holds is gone on from.
    progress : callable, optional
        Called as progress(images done, images in all, word).
    name : str
        For messages.

    Returns
    -------
    FitOutcome

    Raises
    ------
    RunError
        The checkpoint cannot be written.
    """
    run = _Run(network, spec, seed)
    stopping = Stopping(spec.patience)
    history: dict[str, list[Any]] = {
        k: [] for k in ("loss", "accuracy", "val_loss", "val_accuracy", "rate", "seconds")
    }
    best = run.weights()
    start: dict[str, float] = {}
    saved = checkpoint.load() if checkpoint else None
    if saved and run.restore(saved.variables):
        history, best = dict(saved.state["history"]), saved.best
        stopping = Stopping(**{**saved.state["stopping"], "patience": spec.patience})
        start = dict(saved.state.get("start", {}))
        log.info("%s: going on after epoch %d", name, len(history["loss"]))
    elif spec.keep_start and held is not None:
        start = dict(zip(("val_loss", "val_accuracy"), run.score(held), strict=True))
        stopping.best = start["val_loss"]
    resumed_after = epoch = len(history["loss"])
    try:
        while epoch < spec.epochs and not (epoch and stopping.is_over(epoch)):
            epoch += 1
            started = time.perf_counter()
            history["rate"].append(run.rate())
            loss, accuracy = run.train_epoch(train, epoch, progress)
            val_loss, val_accuracy = run.score(held) if held is not None else (None, None)
            watched = loss if val_loss is None else val_loss
            better, reduce = stopping.see(epoch, watched)
            if better:
                best = run.weights()
            if reduce:
                run.set_rate(run.rate() * RATE_FACTOR)
            outcome = (loss, accuracy, val_loss, val_accuracy)
            for key, value in zip(history, outcome, strict=False):
                history[key].append(value)
            history["seconds"].append(time.perf_counter() - started)
            if checkpoint:
                state = {"history": history, "stopping": asdict(stopping), "start": start}
                checkpoint.save(state, run.variables(), best)
    except KeyboardInterrupt:
        kept = len(history["seconds"])
        if checkpoint and kept:
            log.warning(
                "%s stopped in epoch %d; %d finished epochs are kept in %s, and the same command "
                "goes on from there.",
                name,
                epoch,
                kept,
                checkpoint.path,
            )
        raise
    run.set_weights(best)
    counts = count_parameters(network)
    return FitOutcome(history, stopping.best_epoch, resumed_after, counts, start)


class _Run:
    """A network being trained: what is compiled, and the state that goes to checkpoints."""

    def __init__(self, network: Any, spec: FitSpec, seed: int) -> None:
        keras = import_keras()
        self._keras, self._network, self._spec, self._seed = keras, network, spec, seed
        self._trainer = logits_of(network)
        if spec.augment:
            pixels = keras.Input(network.input_shape[1:], dtype="uint8")
            chain = build_augment(spec.augment, network.input_shape[1:3], seed)
            self._trainer = keras.Model(pixels, self._trainer(chain(pixels)))
        # XLA makes convolutions several times slower on a CPU; JAX has nothing else.
        slow = keras.backend.backend() == "tensorflow" and not has_gpu()
        self._trainer.compile(
            optimizer=build_optimizer(spec.optimizer),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
            jit_compile=False if slow else "auto",
        )
        if slow:
            network.jit_compile = False
        self._trainer.optimizer.build(self._trainer.trainable_variables)
        self._reseed()

    def train_epoch(
        self, train: Rows, epoch: int, progress: Progress | None
    ) -> tuple[float, float]:
        """Run one epoch in an order of its own; return mean loss and accuracy."""
        rng = np.random.default_rng([self._seed, epoch])
        batches = equal_batches(len(train), self._spec.batch_size, rng)
        totals = np.zeros(2)
        for number, x in enumerate(iterate_ahead(train.X, batches), 1):
            self._trainer.reset_metrics()
            logs = self._trainer.train_on_batch(x, train.y[batches[number - 1]], return_dict=True)
            totals += float(logs["loss"]), float(logs["accuracy"])
            if progress:
                done = (epoch - 1) * len(train) + number * len(train) // len(batches)
                word = f"epoch {epoch}, loss {totals[0] / number:.3f}"
                progress(done, self._spec.epochs * len(train), word)
        loss, accuracy = totals / len(batches)
        return float(loss), float(accuracy)

    def score(self, held: Rows) -> tuple[float, float]:
        """Return loss and accuracy of rows that are not trained on."""
        found = predict(self._network, held.X)
        chosen = found[np.arange(len(held)), held.y]
        loss = float(-np.log(np.maximum(chosen, 1e-12)).mean())
        return loss, float((found.argmax(axis=1) == held.y).mean())

    def rate(self) -> float:
        return float(self._numpy(self._trainer.optimizer.learning_rate))

    def set_rate(self, rate: float) -> None:
        self._trainer.optimizer.learning_rate = rate

    def weights(self) -> list[np.ndarray]:
        return [self._numpy(w) for w in self._network.weights]

    def set_weights(self, values: list[np.ndarray]) -> None:
        for weight, value in zip(self._network.weights, values, strict=True):
            weight.assign(value)

    def variables(self) -> list[np.ndarray]:
        return [self._numpy(v) for v in self._state()]

    def restore(self, values: list[np.ndarray]) -> bool:
        """Take over what a checkpoint holds; False where that is of another network."""
        state = self._state()
        if [tuple(v.shape) for v in state] != [v.shape for v in values]:
            return False
        for variable, value in zip(state, values, strict=True):
            variable.assign(value)
        return True

    def _state(self) -> list[Any]:
        return [*self._trainer.variables, *self._trainer.optimizer.variables]

    def _reseed(self) -> None:
        """Give every random generator, such as dropout's, a stream of its own of the seed."""
        weights = {id(w) for w in self._trainer.weights}
        generators = [v for v in self._trainer.variables if id(v) not in weights]
        for number, variable in enumerate(generators):
            variable.assign(np.array([self._seed, number], np.uint32))

    def _numpy(self, variable: Any) -> np.ndarray:
        return np.array(self._keras.ops.convert_to_numpy(variable))


def equal_batches(n: int, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Return row numbers in a new order, in batches of one length, at most `size`.

    Keras then traces its graph once. The few rows left over, fewer than there are batches, sit this
    epoch out.
    """
    count = -(-n // size)
    length = n // count
    return list(rng.permutation(n)[: count * length].reshape(count, length))
