"""Multi-layer perceptron, trained with Keras, applied with NumPy."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from featx.heads.mlp.outputs import Outputs, softmax_of_outputs
from featx.heads.mlp.rows import cut_batches, hold_out
from featx.heads.scaling import column_moments, standardized
from featx.quiet import import_keras


class MLP(ClassifierMixin, BaseEstimator):
    """Hidden layers with ReLU and a softmax, trained by Adam with early stopping.

    Keras trains; standardisation and batch normalisation are then folded into plain weight
    matrices, so that a fitted MLP is arrays only, predicts without Keras, and is the same on every
    Keras backend.

    Parameters
    ----------
    hidden : int or tuple of int
        Units a hidden layer.
    dropout : float or tuple of float
        Share dropped after each hidden layer; a tuple has one a layer.
    batch_norm : bool
        Batch normalisation between a hidden layer's product and its ReLU.
    epochs : int
        At most so many passes over the training rows.
    patience : int
        Epochs without a lower validation loss after which training stops; the weights of the best
        epoch are kept.
    learning_rate : float
        Of Adam.
    batch_size : int
        Rows a step.
    validation_fraction : float
        Share of the training rows, stratified, held out for early stopping where `fit` is given no
        validation rows.
    class_weight : None, "balanced" or dict
        Weight of a class's rows in the loss, validation included; "balanced" is the inverse of its
        share.
    joint : bool
        Take `y` with several columns: one network with an output a column, trained on the sum of
        their losses. What is a value a class is then a list with one of these a column.
    random_state : int or None
        Seed of the initial weights, dropout, order of rows and held-out rows. No global random
        state is read or set.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,), or a list of these
    coefs_ : list of ndarray, float32
        Weight matrix a layer, (inputs, units), standardisation and batch normalisation folded in.
    intercepts_ : list of ndarray, float32
    history_ : dict of str to list
        A value an epoch: "loss", "val_loss", "val_accuracy", "seconds".
    n_iter_ : int
        Epochs run.
    best_epoch_ : int
        The epoch kept, from 1.
    n_parameters_ : int
        Parameters trained.

    Examples
    --------
    >>> head = MLP(hidden=(512, 256), dropout=(0.2, 0.0), random_state=0)
    >>> head.fit(X, y, validation_data=(X_val, y_val)).predict(X_test)  # doctest: +SKIP
    """

    def __init__(
        self,
        hidden: Any = (512,),
        dropout: Any = 0.0,
        batch_norm: bool = False,
        epochs: int = 100,
        patience: int = 10,
        learning_rate: float = 1e-3,
        batch_size: int = 64,
        validation_fraction: float = 0.15,
        class_weight: Any = None,
        joint: bool = False,
        random_state: int | None = None,
    ) -> None:
        self.hidden = hidden
        self.dropout = dropout
        self.batch_norm = batch_norm
        self.epochs = epochs
        self.patience = patience
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction
        self.class_weight = class_weight
        self.joint = joint
        self.random_state = random_state

    def fit(self, X: Any, y: Any, validation_data: tuple[Any, Any] | None = None) -> MLP:
        """Train until the validation loss stops falling.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
        y : array-like of shape (n_rows,), or with `joint` (n_rows, n_columns)
        validation_data : tuple (X, y), optional
            Rows for early stopping; none of them is trained on. Without it a stratified part of
            the rows is held out (none where a class would have no row left to train on; then the
            training loss decides).

        Returns
        -------
        MLP
        """
        X, y = validate_data(self, X, y, dtype=np.float32, multi_output=self.joint)
        check_classification_targets(y)
        outputs = Outputs(_columns(y))
        self.classes_ = outputs.classes if self.joint else outputs.classes[0]
        labels, _ = outputs.encode(_columns(y))
        rng = np.random.default_rng(self.random_state)
        if validation_data is None:
            train, held = hold_out(labels, self.validation_fraction, rng)
            X_val, labels_val = X[held], labels[held]
            X, labels = X[train], labels[train]
        else:
            X_val = validate_data(self, validation_data[0], dtype=np.float32, reset=False)
            labels_val, known = outputs.encode(_columns(np.asarray(validation_data[1])))
            X_val, labels_val = X_val[known], labels_val[known]
        mean, scale = column_moments(X)
        rows = standardized(X, mean, scale)
        rows_val = standardized(X_val, mean, scale)
        outputs.weigh(self.class_weight, labels)
        network = self._build(X.shape[1], outputs, int(rng.integers(2**31)))
        self._train(network, outputs, rows, labels, rows_val, labels_val, rng)
        self.n_parameters_ = int(sum(np.prod(w.shape) for w in network.trainable_variables))
        self._fold(network, mean, scale)
        return self

    def predict_proba(self, X: Any) -> Any:
        """Return the softmax of the last layer.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)

        Returns
        -------
        ndarray of shape (n_rows, n_classes), float64; with `joint` a list with one a column
        """
        check_is_fitted(self)
        values = validate_data(self, X, dtype=np.float32, reset=False)
        for coef, intercept in zip(self.coefs_[:-1], self.intercepts_[:-1], strict=True):
            values = np.maximum(values @ coef + intercept, 0)
        logits = values @ self.coefs_[-1] + self.intercepts_[-1]
        if not self.joint:
            return softmax_of_outputs(logits, [logits.shape[1]])[0]
        return softmax_of_outputs(logits, [len(classes) for classes in self.classes_])

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class a row.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)

        Returns
        -------
        ndarray of shape (n_rows,), or with `joint` (n_rows, n_columns)
        """
        found = self.predict_proba(X)
        if not self.joint:
            return self.classes_[found.argmax(axis=1)]
        best = [c[p.argmax(axis=1)] for c, p in zip(self.classes_, found, strict=True)]
        return np.stack(best, axis=1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = self.joint
        return tags

    def _layers(self) -> list[tuple[int, float]]:
        """(units, dropout) a hidden layer."""
        hidden = [self.hidden] if isinstance(self.hidden, int) else list(self.hidden)
        many = isinstance(self.dropout, (tuple, list))
        dropout = list(self.dropout) if many else [self.dropout] * len(hidden)
        if len(dropout) != len(hidden):
            raise ValueError(
                f"dropout={self.dropout!r} has {len(dropout)} values for {len(hidden)} hidden "
                "layers: write one number for all, or one a layer"
            )
        return list(zip(hidden, dropout, strict=True))

    def _build(self, width: int, outputs: Outputs, seed: int) -> Any:
        keras = import_keras()

        network = keras.Sequential([keras.Input((width,))])
        for i, (units, dropout) in enumerate(self._layers()):
            start = keras.initializers.HeUniform(seed=seed + 2 * i)
            network.add(
                keras.layers.Dense(
                    units, kernel_initializer=start, use_bias=not self.batch_norm, name=f"hidden{i}"
                )
            )
            if self.batch_norm:
                network.add(keras.layers.BatchNormalization(name=f"norm{i}"))
            network.add(keras.layers.ReLU())
            if dropout:
                network.add(keras.layers.Dropout(dropout, seed=seed + 2 * i + 1))
        start = keras.initializers.GlorotUniform(seed=seed + 1_000_003)
        units = sum(outputs.widths)
        network.add(keras.layers.Dense(units, kernel_initializer=start, name="output"))
        network.compile(optimizer=keras.optimizers.Adam(self.learning_rate), loss=outputs.loss())
        return network

    def _train(
        self,
        network: Any,
        outputs: Outputs,
        rows: np.ndarray,
        labels: np.ndarray,
        rows_val: np.ndarray,
        labels_val: np.ndarray,
        rng: np.random.Generator,
    ) -> None:
        history: dict[str, list[float]] = {"loss": [], "val_loss": [], "val_accuracy": []}
        history["seconds"] = []
        targets = outputs.targets(labels)
        best, kept = np.inf, network.get_weights()
        self.best_epoch_ = 0
        for epoch in range(1, self.epochs + 1):
            started = time.perf_counter()
            total = 0.0
            batches = cut_batches(len(rows), self.batch_size, rng)
            for batch in batches:
                loss = network.train_on_batch(rows[batch], *targets(batch))
                total += float(loss) * len(batch)
            history["loss"].append(total / batches.size)
            if len(rows_val):
                logits = np.asarray(network.predict_on_batch(rows_val))
                watched, accuracy = outputs.watch(logits, labels_val)
                history["val_loss"].append(watched)
                history["val_accuracy"].append(accuracy)
            else:
                watched = history["loss"][-1]
            history["seconds"].append(time.perf_counter() - started)
            if watched < best:
                best, kept, self.best_epoch_ = watched, network.get_weights(), epoch
            elif epoch - self.best_epoch_ >= self.patience:
                break
        network.set_weights(kept)
        self.history_, self.n_iter_ = history, epoch

    def _fold(self, network: Any, mean: np.ndarray, scale: np.ndarray) -> None:
        """Turn the network into plain weight matrices on unscaled columns."""
        keras = import_keras()

        self.coefs_, self.intercepts_ = [], []
        for i in range(len(self._layers())):
            dense = network.get_layer(f"hidden{i}")
            coef = np.asarray(dense.kernel, np.float64)
            intercept = np.zeros(coef.shape[1]) if self.batch_norm else np.asarray(dense.bias)
            if self.batch_norm:
                norm = network.get_layer(f"norm{i}")
                gamma, beta, average, variance = (
                    np.asarray(keras.ops.convert_to_numpy(v), np.float64) for v in norm.weights
                )
                factor = gamma / np.sqrt(variance + norm.epsilon)
                coef, intercept = coef * factor, beta - average * factor
            self.coefs_.append(coef)
            self.intercepts_.append(intercept)
        output = network.get_layer("output")
        self.coefs_.append(np.asarray(output.kernel, np.float64))
        self.intercepts_.append(np.asarray(output.bias, np.float64))
        first = self.coefs_[0] / scale[:, None]
        self.intercepts_[0] = self.intercepts_[0] - mean @ first
        self.coefs_[0] = first
        self.coefs_ = [c.astype(np.float32) for c in self.coefs_]
        self.intercepts_ = [b.astype(np.float32) for b in self.intercepts_]


def _columns(y: np.ndarray) -> np.ndarray:
    return y if y.ndim == 2 else y[:, None]
