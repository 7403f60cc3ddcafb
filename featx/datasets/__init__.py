"""What images there are: `index_dataset` lists the images of a data set with their labels.

One module a kind of data set (folder, food101, manifest, arrays, cifar, digits, archive), each
registered in `KINDS`. Whatever the kind, what comes out are image files below one folder: arrays
and archives are written out once. `featx.datasets.decode` turns a file's bytes into pixels.
"""

from __future__ import annotations

from featx.datasets import archive, arrays, cifar, digits, folder, food101, manifest
from featx.datasets.index import index_dataset
from featx.datasets.kinds import KINDS, DatasetKind

__all__ = ["KINDS", "DatasetKind", "index_dataset"]

# The first to claim a data set gets it: the special before the general.
KINDS.register("digits", digits.KIND)
KINDS.register("cifar", cifar.KIND)
KINDS.register("csv", manifest.KIND)
KINDS.register("npz", arrays.KIND)
KINDS.register("archive", archive.KIND)
KINDS.register("food101", food101.KIND)
KINDS.register("folder", folder.KIND)
