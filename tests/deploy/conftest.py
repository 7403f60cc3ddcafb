"""A few photos, extracted by two tiny untrained backbones, and runs on them."""

from __future__ import annotations

import pytest
from conftest import make_photos
from deployed import OTHER, SMALL, Place

import featx
from featx.classify import classify


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("deploy")
    place = Place(make_photos(root / "photos", each=10), root / "features", root / "runs")
    featx.extract(
        place.photos,
        backbone=[SMALL, OTHER],
        pooling=["avg", "max", "flatten"],
        weights="random",
        image_size=32,
        cache_dir=place.cache,
    )
    common = {"cache_dir": place.cache, "runs_dir": place.runs, "draws": 1}
    heads = ["linear_svc(C=0.01)", "logreg(C=0.01)"]
    classify(place.photos, backbones=[SMALL], heads=heads, **common)
    fusion = [f"{SMALL}+{OTHER}"]
    classify(place.photos, fuse=fusion, fused_only=True, heads=["ridge(1.0)"], **common)
    averaged = ["centroid", "l2+knn(k=3)"]
    classify(
        place.photos, backbones=[SMALL, OTHER], taps=["avg"], heads=averaged, average=[3], **common
    )
    return place
