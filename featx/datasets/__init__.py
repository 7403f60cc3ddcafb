"""What images there are: `index_dataset` lists the images of a data set with their labels.

One module a kind of data set (folder, food101, manifest, arrays, cifar, digits, archive), each
registered in `KINDS`. Whatever the kind, what comes out are image files below one folder: arrays
and archives are written out once. `featx.datasets.decode` turns a file's bytes into pixels.
"""

from __future__ import annotations

from featx.datasets.index import index_dataset
from featx.datasets.kinds import KINDS, DatasetKind

__all__ = ["KINDS", "DatasetKind", "index_dataset"]
