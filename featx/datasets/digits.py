"""scikit-learn's 1,797 handwritten digits, the embedded data set, as 8×8 grey PNG files."""

from __future__ import annotations

import numpy as np

from featx.datasets.kinds import DatasetKind, Listing
from featx.datasets.pictures import Pictures, list_pictures
from featx.datasets.workdir import WorkDir


def list_images(data: str, workdir: WorkDir) -> Listing:
    """Write the digits out once (values 0..16 become 0..255) and list them."""

    def load() -> list[Pictures]:
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        pixels = np.rint(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
        return [Pictures("", pixels, {"class": [str(label) for label in labels]})]

    return list_pictures(workdir, "digits-v1", load)


KIND = DatasetKind(
    "scikit-learn's 1,797 handwritten digits; needs no network",
    claims=lambda data: data == "digits",
    list_images=list_images,
)
