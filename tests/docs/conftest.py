"""What the code blocks of the docs find where they are run: photos, and features cached once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

import featx
from featx.records import BackboneSpec

StandIns = Callable[[], AbstractContextManager[None]]


@pytest.fixture(scope="session")
def prepared(stand_ins: StandIns, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `photos/` (small ones of three classes) and `features/` of these."""
    from conftest import make_photos

    folder = tmp_path_factory.mktemp("docs") / "made"
    make_photos(folder / "photos", each=12)
    with stand_ins():
        featx.extract(folder / "photos", backbone="mobilenet", cache_dir=folder / "features")
    # Copies of it are the photos moved, not other photos of the same name, once these are gone.
    return folder.rename(folder.with_name("kept"))


@pytest.fixture
def imagenet(stand_ins: StandIns) -> Iterator[None]:
    """Take random weights for ImageNet's, which need a network."""
    with stand_ins():
        yield


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> StandIns:
    """A context in which random weights, always the same, are taken for ImageNet's."""
    from featx.backbones.graph import call_builder

    folder = tmp_path_factory.mktemp("weights")

    def find(spec: BackboneSpec) -> Path:
        path = folder / f"{spec.text}-{spec.image.height}x{spec.image.width}.weights.h5"
        if not path.exists():
            call_builder(spec, include_top=False).save_weights(path)
        return path

    @contextmanager
    def taken() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("featx.backbones.weights._imagenet_path", find)
            yield

    return taken
