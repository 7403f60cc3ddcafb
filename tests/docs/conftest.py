"""What the code blocks of the docs find where they are run: photos, and features cached once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import featx
from featx.records import BackboneSpec


@pytest.fixture(scope="session")
def prepared(imagenet: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `photos/` (small ones of three classes) and `features/` of these."""
    from conftest import make_photos

    folder = tmp_path_factory.mktemp("docs") / "made"
    make_photos(folder / "photos", each=12)
    featx.extract(folder / "photos", backbone="mobilenet", cache_dir=folder / "features")
    # Copies of it are the photos moved, not other photos of the same name, once these are gone.
    return folder.rename(folder.with_name("kept"))


@pytest.fixture(scope="session")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Take random weights for ImageNet's, which need a network."""
    from featx.backbones.graph import call_builder

    folder = tmp_path_factory.mktemp("weights")

    def find(spec: BackboneSpec) -> Path:
        path = folder / f"{spec.text}-{spec.image.height}x{spec.image.width}.weights.h5"
        if not path.exists():
            call_builder(spec, include_top=False).save_weights(path)
        return path

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("featx.backbones.weights._imagenet_path", find)
        yield
