"""Training networks on images: what baselines from scratch and fine-tuning share.

=============  =====================================================================
`images`       a data set's images as rows, decoded as extraction decodes them
`augment`      "flip+rotation(0.1)" as Keras layers, for training rows only
`optimizers`   "adam(1e-5)" as a Keras optimizer
`rows`         of a draw, what is learnt from and what early stopping watches
`network`      the ends of every network: pixels in, logits and probabilities out
`fit`          the training loop, with `stopping` and `checkpoint`
`record`       a trained network's run record
`train`        all of it together: `train_networks`
=============  =====================================================================
"""

from featx.training.augment import AUGMENTS, PRESETS, build_augment, format_augment, parse_augment
from featx.training.checkpoint import Checkpoint, CheckpointFolder
from featx.training.fit import FitOutcome, FitSpec, Rows, fit_network
from featx.training.images import ImageRows, load_images
from featx.training.network import classify, pixel_input, predict, save_network
from featx.training.optimizers import OPTIMIZERS, OptimizerSpec, build_optimizer, parse_optimizer
from featx.training.precision import PRECISIONS, build_under, training_policy
from featx.training.record import network_record
from featx.training.rows import FitRows, hold_out
from featx.training.train import (
    BuiltNetwork,
    NetworkPlan,
    TrainingPart,
    checkpoint_folder,
    fit_params,
    train_networks,
)

__all__ = [
    "AUGMENTS",
    "OPTIMIZERS",
    "PRECISIONS",
    "PRESETS",
    "BuiltNetwork",
    "Checkpoint",
    "CheckpointFolder",
    "FitOutcome",
    "FitRows",
    "FitSpec",
    "ImageRows",
    "NetworkPlan",
    "OptimizerSpec",
    "Rows",
    "TrainingPart",
    "build_augment",
    "build_optimizer",
    "build_under",
    "checkpoint_folder",
    "classify",
    "fit_network",
    "fit_params",
    "format_augment",
    "hold_out",
    "load_images",
    "network_record",
    "parse_augment",
    "parse_optimizer",
    "pixel_input",
    "predict",
    "save_network",
    "train_networks",
    "training_policy",
]
