"""An extraction cut into blocks and stages, which run here one after the other, without Ray."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fakes
import numpy as np
import pytest

# The same tests as on one machine.
from test_extract import (  # noqa: F401
    expected,
    rows_of,
    test_a_duplicate_costs_nothing_and_is_counted,
    test_a_new_tap_joins_its_entry_and_pools_come_of_a_cached_flatten,
    test_a_second_run_makes_no_forward_pass,
    test_a_sweep_of_sizes_is_an_entry_each_in_one_pass,
    test_bad_images_are_set_aside_with_the_reason_and_the_run_goes_on,
    test_compressed_rows_are_the_same_rows_and_stay_compressed,
    test_every_row_is_the_features_of_its_own_image,
    test_labels_and_classes_follow_the_folders,
    test_new_images_get_every_tap_that_the_entry_has,
    test_nothing_but_bad_images_is_an_error,
    test_strict_stops_at_a_bad_image_and_keeps_what_was_done,
    test_the_report_is_json,
    test_two_backbones_share_one_decode,
    test_views_are_entries_beside_the_plain_one,
    test_what_was_added_or_edited_costs_its_own_row,
    test_what_was_renamed_moved_or_deleted_costs_nothing,
)

import featx
from featx.backbones import parse_backbone
from featx.cluster import Room, _init
from featx.errors import (
    CacheBusyError,
    CacheWriteError,
    ClusterError,
    EngineError,
    ImageError,
    UnknownNameError,
    WeightsError,
)
from featx.extraction import dispatch
from featx.extraction.dispatch import cut_blocks
from featx.extraction.report import ExtractReport
from featx.extraction.stages import Decoder, Forwarder, Worker
from featx.extraction.work import Block, Row, Work
from featx.store.part import Part

Run = Callable[..., ExtractReport]


class Stages:
    """Runs the stages in this process, and keeps what went in and out."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.work: Work | None = None
        self.times = 1
        self.before_first: Callable[[], object] = lambda: None
        self.after_decode: Callable[[], object] = lambda: None
        self.before_last: Callable[[], object] = lambda: None
        self.after_last: Callable[[], object] = lambda: None

    def __call__(
        self, rows: Sequence[Row], stages: Sequence[type], arguments: Sequence[Any], room: Room
    ) -> Iterator[Row]:
        self.rows = list(rows)
        (self.work,) = arguments
        self.before_first()
        assert stages == [Worker]  # that is both, with nothing to look at between them
        task, worker = Decoder(*arguments), Forwarder(*arguments)
        for number, row in enumerate(rows):
            if number == len(rows) - 1:
                self.before_last()
            decoded = task(row)
            self.after_decode()
            for _ in range(self.times):  # a worker that was lost after it had published
                done = worker(decoded)
            yield done
        self.after_last()


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> Stages:
    stages = Stages()
    monkeypatch.setattr("featx.cluster.connect", lambda where: nullcontext())
    monkeypatch.setattr("featx.cluster.prepare", lambda where: None)
    monkeypatch.setattr("featx.cluster.find_room", lambda use_gpus: Room(1, 0, 2, 2))
    monkeypatch.setattr(dispatch, "stream", stages)
    monkeypatch.setattr(dispatch, "cpu_batch_size", lambda height, width, images: 4)
    monkeypatch.setattr("featx.extraction.stages.limit_threads", lambda count: None)
    monkeypatch.setattr("featx.extraction.stages.SEEN_SECONDS", 0.0)
    return stages


@pytest.fixture
def run(photos: Path, tmp_path: Path, projection: str, stages: Stages) -> Run:
    def extract(**options: Any) -> ExtractReport:
        return featx.extract(
            **{
                "data": photos,
                "backbone": "mobilenet",
                "weights": "random",
                "engine": projection,
                "cache_dir": tmp_path / "cache",
                "cluster": "local",
                **options,
            }
        )

    return extract


def digests_in_parts(folder: Path) -> list[str]:
    found: list[str] = []
    for path in folder.glob("**/parts/*.h5"):
        with Part(path) as part:
            found += part.digests()
    return found


def test_one_actor_that_does_both_gives_the_same(
    run: Run, stages: Stages, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "class0" / "torn.jpg").write_bytes(b"\xff\xd8\xff torn")

    def both(
        rows: Sequence[Row], kinds: Sequence[type], arguments: Sequence[Any], room: Room
    ) -> Any:
        (kind,) = kinds
        return map(kind(*arguments), rows)

    monkeypatch.setattr(dispatch, "stream", both)
    report = run()
    assert [path for path, _ in report.quarantined] == ["class0/torn.jpg"]
    rows = rows_of(report)
    assert len(rows) == 24
    for relpath, row in rows.items():
        np.testing.assert_array_equal(row, expected(photos, relpath, "avg"))


def test_a_part_a_block_with_every_row_once(run: Run, stages: Stages, tmp_path: Path) -> None:
    run()
    assert len(stages.rows) == 6
    assert len(list(tmp_path.glob("cache/**/parts/*.h5"))) == 6
    found = digests_in_parts(tmp_path)
    assert len(found) == len(set(found)) == 24


def test_a_block_done_again_finds_its_part(run: Run, stages: Stages, tmp_path: Path) -> None:
    stages.times = 3
    report = run()
    assert len(fakes.PASSES) == 6
    found = digests_in_parts(tmp_path)
    assert len(found) == len(set(found)) == 24
    assert report.extracted == 24


def test_a_block_decoded_again_finds_its_part(run: Run, stages: Stages, photos: Path) -> None:
    (photos / "class0" / "000.jpg").write_bytes(b"no image")
    run()
    assert stages.work
    blocks = [Block.of(Decoder(stages.work)(row)) for row in stages.rows]
    assert all(block.decoded == [] for block in blocks)
    assert [r for block in blocks for r in block.bad.values()] == [
        "not an image (JPEG, PNG, WebP, BMP, GIF or TIFF)"
    ]


def test_several_backbones_and_views_share_a_decode_and_have_parts_of_their_own(
    run: Run, photos: Path, stages: Stages
) -> None:
    report = run(backbone=["mobilenet", "resnet50"], pooling=["avg", "max"], views="flip")
    assert len(report.caches) == 4
    for number, name in enumerate(["mobilenet", "resnet50"]):
        for relpath, row in rows_of(report, "max", number).items():
            np.testing.assert_array_equal(row, expected(photos, relpath, "max", name))
    plain, flipped = rows_of(report, "avg", 0), rows_of(report, "avg", 2)
    assert any(not np.array_equal(plain[p], flipped[p]) for p in plain)


def test_images_that_lack_other_taps_are_in_other_blocks(
    run: Run, photos: Path, stages: Stages
) -> None:
    run(pooling="avg")
    (photos / "class0" / "000.jpg").write_bytes((photos / "class0" / "001.png").read_bytes()[:-1])
    (photos / "class0" / "new.png").write_bytes((photos / "class1" / "001.png").read_bytes() + b"!")
    report = run(pooling=["avg", "max"])
    lacking = {tuple(Block.of(row).lacks[0]) for row in stages.rows}
    assert lacking == {("max",), ("avg", "max")}
    for relpath, row in rows_of(report, "max").items():
        np.testing.assert_array_equal(row, expected(photos, relpath, "max"))


def test_a_bad_image_is_set_aside_with_its_reason(run: Run, photos: Path) -> None:
    (photos / "class0" / "000.jpg").write_bytes(b"")
    report = run()
    assert report.quarantined == (("class0/000.jpg", "0 bytes"),)
    assert report.extracted == 23
    with pytest.raises(ImageError, match=r"class0/000.jpg: 0 bytes"):
        run(backbone="resnet50", strict=True)


def test_a_block_of_bad_images_alone_makes_no_part(run: Run, photos: Path, tmp_path: Path) -> None:
    for path in (photos / "class1").iterdir():
        path.write_bytes(path.name.encode())
    report = run()
    assert (report.extracted, len(report.quarantined)) == (16, 8)


def test_a_vanished_file_is_set_aside(run: Run, photos: Path, stages: Stages) -> None:
    stages.before_last = lambda: (photos / "class2" / "007.png").unlink()
    report = run()
    assert [path for path, _ in report.quarantined] == ["class2/007.png"]


def test_a_worker_that_does_not_see_the_images_is_named(
    run: Run, photos: Path, stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featx.extraction.stages.platform.node", lambda: "worker-7")
    aside = photos.with_name("elsewhere")
    stages.before_first = lambda: photos.rename(aside)
    stages.after_decode = lambda: aside.exists() and aside.rename(photos)
    with pytest.raises(ClusterError, match=r"worker-7 does not see the image .*000\.jpg") as error:
        run()
    assert "shared file system" in str(error.value)


def test_a_worker_that_does_not_see_the_cache_is_named(run: Run, stages: Stages) -> None:
    run()
    assert stages.work
    share = stages.work.shares[0]
    away = replace(stages.work, shares=(replace(share, entry="/not/there"),))
    block = Block.of(Forwarder(away)(stages.rows[0]))
    with pytest.raises(ClusterError, match=r"does not see the cache folder /not/there"):
        block.raise_error()


def test_a_worker_of_another_version_is_turned_down(run: Run, stages: Stages) -> None:
    run()
    assert stages.work
    other = replace(stages.work, version="0.0.1")
    with pytest.raises(ClusterError, match="Install the same version"):
        Block.of(Forwarder(other)(stages.rows[0])).raise_error()


def test_weights_that_differ_on_a_worker_are_turned_down(
    run: Run, stages: Stages, tmp_path: Path
) -> None:
    path = tmp_path / "mine.weights.h5"
    path.write_bytes(b"one")

    stages.before_first = lambda: path.write_bytes(b"two")
    with pytest.raises(ClusterError, match=r"mine\.weights\.h5 on .* is not the weights file"):
        run(weights=str(path))


@pytest.mark.slow
def test_workers_of_openvino_are_given_the_graph(
    run: Run, stages: Stages, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options = {"backbone": "mobilenet(alpha=0.25)", "engine": "openvino", "image_size": 64}
    alone = run(**options, cluster=None, cache_dir=tmp_path / "alone")

    def nothing_to_load(*_: Any) -> None:
        raise AssertionError("a worker builds its graph itself")

    monkeypatch.setattr("featx.extraction.stages.load_runner", nothing_to_load)
    monkeypatch.setattr("featx.extraction.stages.resolve_weights", nothing_to_load)
    found, wanted = rows_of(run(**options)), rows_of(alone)
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[path], wanted[path]) for path in wanted)


@pytest.mark.slow
def test_a_graph_that_the_driver_cannot_build_is_told_as_it_was(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.weights.h5"
    path.write_bytes(b"no weights")
    with pytest.raises(WeightsError, match=r"mine\.weights\.h5"):
        run(engine="openvino", weights=str(path))


def test_nothing_is_published_once_another_run_has_taken_over(
    run: Run, stages: Stages, tmp_path: Path
) -> None:
    def take_over() -> None:
        (claim,) = tmp_path.glob("cache/*/*/claim.json")
        claim.unlink()

    stages.before_last = take_over
    with pytest.raises(CacheBusyError, match="held by another run by now"):
        run()
    assert len(digests_in_parts(tmp_path)) == 20
    stages.before_last = lambda: None
    assert run().extracted == 4


def test_what_a_worker_began_that_died_meanwhile_is_gone_in_the_end(
    run: Run, stages: Stages, tmp_path: Path
) -> None:
    made = (
        "import sys, pathlib; from featx.store.atomic import temp_path\n"
        "temp_path(pathlib.Path(sys.argv[1])).touch()"
    )

    def leave() -> None:  # once the run's own writers have looked
        (folder,) = tmp_path.glob("cache/*/*/parts")
        subprocess.run([sys.executable, "-c", made, str(folder / "a.h5")], check=True)
        assert list(folder.glob(".*.tmp"))

    stages.after_last = leave
    run()
    assert not list(tmp_path.rglob("*.tmp"))


def test_ray_is_asked_once_more_where_its_part_of_the_connection_did_not_start() -> None:
    class Ray:
        def __init__(self, *said: str) -> None:
            self.said = list(said)

        def init(self, where: str, **_: Any) -> None:
            if self.said:
                raise ConnectionAbortedError(self.said.pop(0))

    failed = "Starting Ray client server failed."
    _init(Ray(failed), "ray://there:1", {})
    for said in ((failed, failed), ("refused",)):
        with pytest.raises(ConnectionError, match=said[-1]):
            _init(Ray(*said), "ray://there:1", {})


def test_an_error_on_a_worker_arrives_as_it_was(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any) -> None:
        raise UnknownNameError("layer", "blok4", ["block4"], hint="See: featx list backbones")

    monkeypatch.setattr("featx.extraction.stages.load_runner", load)
    with pytest.raises(UnknownNameError, match=r"Did you mean 'block4'\?") as error:
        run()
    assert list(error.value.near) == ["block4"]


def test_an_engine_that_fails_on_a_worker_stops_the_run(
    run: Run, stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(batch: np.ndarray, seed: int) -> np.ndarray:
        raise EngineError("the device is gone")

    def broken_at_last() -> None:
        monkeypatch.setattr(fakes, "feature_maps", broken)

    stages.before_last = broken_at_last
    with pytest.raises(EngineError, match="the device is gone"):
        run()
    assert len(stages.rows) == 6


def test_a_disk_too_small_stops_the_run_at_the_first_block(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featx.extraction.steps.SPARE_BYTES", 1 << 60)
    with pytest.raises(CacheWriteError, match=r"need .* GB .* has .* GB free"):
        run()
    assert len(fakes.PASSES) == 1


def test_ray_is_left_alone_where_nothing_is_to_be_computed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()

    def begin(where: str) -> None:
        raise AssertionError("Ray is imported for nothing")

    monkeypatch.setattr("featx.cluster.prepare", begin)
    assert run().extracted == 0


def test_a_path_that_is_not_utf_8_comes_through() -> None:
    block = Block(["0" * 64], ["/photos/caf\udce9.jpg"], [["avg"]])
    assert Block.of(block.row()) == block


def test_blocks_are_smaller_at_both_ends_and_hold_each_image_once(
    run: Run, stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    assert stages.work
    paths = {f"{i:064}": str(i) for i in range(5000)}
    wanted = [dict.fromkeys(paths, ("avg",))]
    sizes = []
    seen: list[str] = []
    for block in cut_blocks(stages.work, wanted, paths, actors=2):
        sizes.append(len(block.digests))
        seen += block.digests
    assert seen == list(paths)
    assert max(sizes) * 3 * 224 * 224 <= dispatch.BLOCK_BYTES
    assert sizes[:5] == [4, 4, 4, 4, max(sizes)]  # two an actor, to begin with
    assert sizes[4:] == sorted(sizes[4:], reverse=True)
    assert sizes[-3:] == [4, 4, 4]


@pytest.mark.parametrize(("engine", "least"), [("openvino", 8), ("tensorflow", 32)])
def test_the_last_blocks_are_one_batch_of_the_engine(engine: str, least: int) -> None:
    image = parse_backbone("mobilenet", weights="random").image
    work = SimpleNamespace(images=(image,), engine=engine)
    paths = {f"{i:064x}": f"/photos/{i}.jpg" for i in range(3200)}
    blocks = cut_blocks(work, [dict.fromkeys(paths, ("avg",))], paths, actors=2)  # type: ignore[arg-type]
    sizes = [len(block.digests) for block in blocks]
    assert sum(sizes) == len(paths)
    assert sizes[:4] == [32] * 4
    assert sizes[-6:] == [least] * 6


def test_two_graphs_are_built_at_once_and_those_not_taken_are_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str] = []

    class Build:
        def __init__(self, spec: str, *args: object) -> None:
            self.spec = spec
            seen.append(f"begin {spec}")

        def __enter__(self) -> Build:
            return self

        def __exit__(self, *error: object) -> None:
            seen.append(f"end {self.spec}")

        def result(self) -> str:
            return f"graph of {self.spec}"

    monkeypatch.setattr(dispatch, "GraphBuild", Build)
    plan = SimpleNamespace(extract_taps=("avg",))
    targets: Any = [SimpleNamespace(spec=name, weights="", plan=plan) for name in "abc"]
    with ExitStack() as stack:
        graphs = dispatch.Graphs(targets, stack)
        assert seen == ["begin a", "begin b"]
        assert graphs.take() == "graph of a"
        assert seen[2:] == ["end a", "begin c"]
    assert {"end b", "end c"} < set(seen)
