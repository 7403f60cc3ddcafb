"""Whatever happens to a data set and its cache, the end is what a fresh extraction gives."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from fake_cache import expected, extract, make_index
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import featx.store.entry
from featx.store import gc, load_features, repair, verify

OPTIONS = {"part_bytes": 1500, "batch": 4}
NAMES = st.sampled_from([f"{c}/{i}.jpg" for c in "abc" for i in range(6)])
CONTENTS = st.integers(0, 11)
TAPS = st.lists(st.sampled_from(["avg", "max", "flatten", "block:avg"]), min_size=1, unique=True)


class Stop(BaseException):
    """The process ends here, without any clean-up of its own."""


class Cache(RuleBasedStateMachine):
    """A data set that changes, a cache that is written, damaged, repaired and tidied up."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="featx-test-"))
        self.cache = self.folder / "cache"
        self.files: dict[str, object] = {}
        self.ever: set[object] = set()
        self.forwarded: list[str] = []
        self.lossless = True

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @initialize(names=st.lists(NAMES, min_size=1, max_size=8), content=CONTENTS)
    def begin(self, names: list[str], content: int) -> None:
        self.files = {name: content + i for i, name in enumerate(names)}

    @rule(name=NAMES, content=CONTENTS)
    def add_or_edit(self, name: str, content: int) -> None:
        self.files[name] = content

    @rule(data=st.data(), new=NAMES)
    def rename(self, data: st.DataObject, new: str) -> None:
        old = data.draw(st.sampled_from(sorted(self.files)))
        self.files[new] = self.files.pop(old)

    @precondition(lambda self: len(self.files) > 1)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        del self.files[data.draw(st.sampled_from(sorted(self.files)))]

    @rule(taps=TAPS)
    def extract(self, taps: list[str]) -> None:
        index, forwarded = make_index(self.files), []
        entry = extract(self.cache, index, taps, forwarded=forwarded, **OPTIONS)
        for tap in taps:
            found = load_features(entry.path, tap)
            np.testing.assert_array_equal(found.X, expected(index, tap))
            assert found.paths == tuple(s.relpath for s in index.samples)
            assert [found.classes[i] for i in found.y] == [s.labels[0] for s in index.samples]
            with h5py.File(entry.view_path) as file:
                np.testing.assert_array_equal(file[f"features/{tap}"][:], found.X)
        again: list[str] = []
        extract(self.cache, index, taps, forwarded=again, **OPTIONS)
        assert again == []

    @rule(taps=TAPS, writes=st.integers(1, 60))
    def crash(self, taps: list[str], writes: int) -> None:
        """The process is gone before its n-th change of the disk; its files lie as they are."""
        names = ("pwrite", "replace", "link", "rename", "unlink", "mkdir")
        real = {name: getattr(os, name) for name in names}
        left = writes

        def change(name: str, *args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left <= 0:
                raise Stop
            return real[name](*args, **kwargs)

        try:
            for name in names:
                setattr(os, name, partial(change, name))
            extract(self.cache, make_index(self.files), taps, **OPTIONS)
        except Stop:
            pass
        finally:
            for name in names:
                setattr(os, name, real[name])
        for claim in self.cache.glob("*/*/claim.json"):
            said = json.loads(claim.read_text())
            claim.write_text(json.dumps({**said, "pid": 2**22 + 1}))  # a process that is gone

    @precondition(lambda self: list(self.cache.glob("*/*/parts/*.h5")))
    @rule(data=st.data(), where=st.floats(0, 1, exclude_max=True), cut=st.booleans())
    def damage(self, data: st.DataObject, where: float, cut: bool) -> None:
        made = ("*.h5", "entry.json", "dataset.json")
        files = sorted(p for kind in made for p in self.cache.rglob(kind) if p.stat().st_size)
        path = files[data.draw(st.integers(0, len(files) - 1))]
        content = bytearray(path.read_bytes())
        position = int(where * len(content))
        if cut:
            del content[position:]
        else:
            content[position] ^= 1 + position % 255
        path.write_bytes(content)
        bad = verify(self.cache)["bad"]
        assert str(path) in {str(Path(flaw["path"])) for flaw in bad}
        repair(self.cache)

    @precondition(lambda self: list(self.cache.glob("*/*/parts/*.h5")))
    @rule()
    def lose_a_part(self) -> None:
        min(self.cache.glob("*/*/parts/*.h5")).unlink()

    @precondition(lambda self: list(self.cache.glob("*/*/parts")))
    @rule()
    def tidy(self) -> None:
        gc(self.cache)

    @invariant()
    def nothing_is_damaged(self) -> None:
        if self.cache.exists():
            bad = verify(self.cache)["bad"]
            assert [flaw for flaw in bad if flaw["reason"] != "missing"] == []


@pytest.fixture(autouse=True)
def _merge_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(featx.store.entry, "MANY_SMALL", 6)


TestSequences = pytest.mark.slow(Cache.TestCase)
TestSequences.settings = settings(
    max_examples=25,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_the_machine_merges_parts(tmp_path: Path) -> None:
    index = make_index({f"a/{i}.jpg": i for i in range(40)})
    entry = extract(tmp_path, index, part_bytes=300)
    assert len(entry.part_paths()) <= 6
    np.testing.assert_array_equal(load_features(entry.path).X, expected(index, "avg"))
