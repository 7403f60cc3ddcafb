"""A sweep over workers gives what one process gives; what is killed, stopped or not to be seen."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import fakes
import h5py
import numpy as np
import psutil
import pytest
from conftest import make_photos
from joblib import cpu_count

from featx.classify import classify, classify_targets
from featx.errors import CacheError, ClusterError, UnknownNameError
from featx.extract import extract
from featx.heads import parse_head
from featx.progress import Bars
from featx.records import RunRecord, to_json
from featx.runs import load_runs
from featx.store import local_cache
from featx.sweep import Request, Swept, sweep, workers
from featx.sweep.sent import SentRequest
from featx.views import find_sources

needs_two = pytest.mark.skipif(cpu_count() < 2, reason="workers need two processors")

SMALL = "mobilenet(alpha=0.25)"
HEADS = ("linear_svc", "knn", "l2+ridge")
LEFT_OUT = ("peak_memory_bytes", "environment")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Photos, and a cache of two backbones at two taps of them, one wider than there are rows."""
    root = tmp_path_factory.mktemp("sweep")
    fakes.register()
    photos = make_photos(root / "photos", each=20)
    extract(
        photos,
        backbone=("mobilenet", SMALL),
        pooling=("avg", "flatten"),
        weights="random",
        engine="projection",
        cache_dir=root / "features",
    )
    return photos, root / "features"


def requests_of(cache: tuple[Path, Path], heads: Sequence[str], **options: Any) -> list[Request]:
    photos, features = cache
    specs = tuple(parse_head(text) for text in heads)
    return [
        Request(source, None, ("",), None, specs, options=options)
        for source in find_sources(photos, cache_dir=features)
    ]


def records_of(swept: Iterator[Swept]) -> list[RunRecord]:
    return [run.record for part in swept for run in part.runs]


def kept(value: Any) -> Any:
    """Leave times out, and what else differs from process to process."""
    if isinstance(value, dict):
        return {k: kept(v) for k, v in value.items() if k not in LEFT_OUT and "seconds" not in k}
    return [kept(v) for v in value] if isinstance(value, list) else value


def content(record: RunRecord) -> tuple[Any, dict[str, bytes]]:
    """What a record says, but for times, the memory of the process, and where and when it ran."""

    arrays = {name: array.tobytes() for name, array in record.arrays.items()}
    return kept(to_json(replace(record, arrays={}))), arrays


def run_sweep(
    cache: tuple[Path, Path],
    runs: Path,
    cluster: str | None,
    heads: Sequence[str] = HEADS,
    **more: Any,
) -> list[tuple[Any, RunRecord]]:
    """Return the rows shown, in order, each with its record on the disk."""
    photos, features = cache
    options = {"shots": (5, None), "draws": 2, **more}
    found = classify_targets(
        photos, heads=heads, cache_dir=features, runs_dir=runs, cluster=cluster, **options
    )
    (comparison,) = found.values()
    records = {(r.backbone, r.tap, r.head.text, r.shots, r.draw): r for r in load_runs(runs)}
    names = ("backbone", "tap", "head", "shots", "draw")
    rows = [(tuple(row[name] for name in names), row["accuracy"]) for row in comparison.rows]
    assert len(rows) == len(records)
    return [((name, accuracy), records[name]) for name, accuracy in rows]


@pytest.fixture(scope="module")
def alone(cache: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return run_sweep(cache, tmp_path_factory.mktemp("alone"), None)


def check_same(found: Sequence[Any], expected: Sequence[Any]) -> None:
    assert [row for row, _ in found] == [row for row, _ in expected]
    assert len(found) >= 8
    for (_, one), (_, other) in zip(found, expected, strict=True):
        (said, arrays), (said_other, arrays_other) = content(one), content(other)
        assert said == said_other
        assert arrays == arrays_other
        assert one.environment["command"] == sys.argv


# --- the same records ----------------------------------------------------------------------------


@pytest.mark.slow
def test_processes_make_the_records_of_one(cache, alone, tmp_path: Path) -> None:
    check_same(run_sweep(cache, tmp_path, "local"), alone)
    assert not loky_workers()


@pytest.mark.slow
def test_averages_and_networks_do_not_depend_on_the_worker(cache, tmp_path: Path) -> None:
    """The seed of a network is its draw's; the members of an average are in the same order."""
    heads = ("ridge", "centroid", "mlp(hidden=(8,), epochs=1)")
    options: dict[str, Any] = {"taps": ["avg"], "average": (2,), "folds": 2, "shots": (5,)}
    check_same(
        run_sweep(cache, tmp_path / "local", "local", heads, **options),
        run_sweep(cache, tmp_path / "alone", None, heads, **options),
    )


@pytest.fixture
def one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with one processor, where the only worker is this process."""
    monkeypatch.setattr(workers, "cpu_count", lambda: 1)


def test_a_source_is_opened_once_by_a_worker_and_its_features_are_not_sent(
    cache, monkeypatch: pytest.MonkeyPatch, one_worker: None
) -> None:
    opened, sizes, run_task = [], [], workers.run_task
    arrive = SentRequest.arrive

    def counted(self: SentRequest) -> Request:
        opened.append(self.source.places)
        return arrive(self)

    def measured(task: workers.Task) -> Any:
        sizes.append(len(pickle.dumps(task)))
        return run_task(pickle.loads(pickle.dumps(task)))  # noqa: S301

    monkeypatch.setattr(SentRequest, "arrive", counted)
    monkeypatch.setattr(workers, "run_task", measured)
    requests = requests_of(cache, HEADS, shots=(5, None), draws=2)
    found = records_of(sweep(requests, "local", Bars(False)))
    assert len(found) == 4 * 9
    assert len(sizes) == 4 * 9  # each draw of each head: none of these share anything
    assert len(opened) == 4
    assert max(sizes) < 20_000
    assert workers._held._source is None  # and is let go in the end


def test_heads_that_share_their_axes_are_one_task(cache, one_worker: None) -> None:
    heads = ("linear_svc", "logreg(C=1.0)", "ridge", "knn", "l2+ridge", "l2+linear_svc")
    (request, *_) = requests_of(cache, heads, shots=(5, None), draws=2)
    _, tasks = workers._plan("a", 0, request)
    assert [task.piece.heads for task in tasks] == [(0, 1, 2), (3,), (4, 5)] * 3


def test_fusions_views_columns_tables_and_other_data_sets(
    cache, tmp_path: Path, one_worker: None
) -> None:
    """Also where the sources are sent: through paths, without what was read of them."""
    photos, features = cache
    table = tmp_path / "attributes.csv"
    table.write_text("class,metal\nclass0,yes\nclass1,no\nclass2,no\n")
    extract(
        photos,
        backbone=SMALL,
        weights="random",
        engine="projection",
        views="flip",
        cache_dir=tmp_path / "viewed",
    )
    for options in (
        {"use_views": True, "cache_dir": tmp_path / "viewed"},
        {"fuse": [f"mobilenet+{SMALL}:flatten"], "backbones": [SMALL]},
        {"attributes": table, "targets": ["class", "metal"], "taps": ["avg"]},
        {"test_on": photos, "taps": ["avg"]},
    ):
        made = {}
        for cluster in (None, "local"):
            found = classify_targets(
                photos,
                heads=("ridge", "knn"),
                shots=(5,),
                draws=2,
                runs_dir=None,
                cluster=cluster,
                **{"cache_dir": features, **options},
            )
            made[cluster] = {name: [kept(row) for row in c.rows] for name, c in found.items()}
        assert made[None] == made["local"]
        assert sum(map(len, made[None].values())) >= 4


def test_a_file_of_embeddings_is_read_by_the_worker(tmp_path: Path, one_worker: None) -> None:
    rng = np.random.default_rng(0)
    file = tmp_path / "made.npz"
    y = np.repeat([0, 1], 20)
    X = rng.normal(size=(40, 5)).astype(np.float32) + y[:, None]
    paths = np.array([f"{i}.jpg" for i in range(40)])
    np.savez(file, features_a=X, features_b=X[:, :3], labels=y, paths=paths)
    alone, local = (
        classify(file, heads=("ridge",), runs_dir=None, cluster=cluster).rows
        for cluster in (None, "local")
    )
    assert [kept(row) for row in alone] == [kept(row) for row in local]
    assert len(local) == 2


@pytest.mark.slow
def test_bits_depend_on_threads_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On rows enough for products to be shared between threads, one thread here is one there."""
    rng = np.random.default_rng(0)
    y = np.arange(400) % 5
    X = rng.normal(size=(400, 256)) + 0.3 * rng.normal(size=(5, 256))[y]
    np.savez(tmp_path / "made.npz", X=X.astype(np.float32), y=y)
    options: dict[str, Any] = {"heads": ("linear_svc", "logreg", "knn"), "folds": 3}
    classify(tmp_path / "made.npz", runs_dir=tmp_path / "local", cluster="local", **options)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with workers.limit_threads(1):
        classify(tmp_path / "made.npz", runs_dir=tmp_path / "alone", **options)
    found, expected = (
        sorted((r.head.text, content(r)) for r in load_runs(tmp_path / name))
        for name in ("local", "alone")
    )
    assert [text for text, _ in expected] == ["knn", "linear_svc", "logreg"]
    assert found == expected


# --- what goes wrong -----------------------------------------------------------------------------


def test_a_cache_that_a_worker_does_not_see_is_named_with_its_host(cache) -> None:
    (request, *_) = requests_of(cache, ["ridge"])
    sent = SentRequest.of(request)
    elsewhere = replace(sent, source=replace(sent.source, places=("/no/where/at/all",)))
    with pytest.raises(ClusterError, match=r"on \S+ does not see /no/where/at/all.*--cache-dir"):
        elsewhere.arrive()


def test_a_worker_with_another_mirror_of_object_storage_fetches_what_it_reads(
    cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fsspec")
    photos, features = cache
    store = shutil.copytree(features, tmp_path / "store")
    monkeypatch.setenv("FEATX_MIRROR", str(tmp_path / "here"))
    found = find_sources(photos, cache_dir=local_cache(f"file://{store}"))
    sent = [
        SentRequest.of(replace(r, source=s))
        for r, s in zip(requests_of(cache, ["ridge"]), found, strict=True)
    ]
    shutil.rmtree(tmp_path / "here")
    monkeypatch.setenv("FEATX_MIRROR", str(tmp_path / "there"))
    request = sent[0].arrive()
    ((view, _),) = request.source.parts
    assert tmp_path / "there" in view.path.parents
    group = request.open(lazy=True).groups[0]()
    (record,) = [run.record for piece in group.pieces() for run in group.run(piece)]
    assert record.metrics["accuracy"] > 0.5


def test_other_images_than_were_planned_for_are_noticed(cache) -> None:
    (request, *_) = requests_of(cache, ["ridge"])
    _, (task,) = workers._plan("a sweep", 0, request)
    with pytest.raises(CacheError, match="changed while heads were fitted"):
        workers.run_task(replace(task, digests=("0" * 64,)))


def test_a_task_that_comes_again_is_made_again(cache) -> None:
    """Ray may ask for it where an outcome was lost; test rows are given once a run all the same."""
    (request, *_) = requests_of(cache, ["ridge"])
    _, (task,) = workers._plan("another sweep", 0, request)
    (first,), (again,) = workers.run_task(task), workers.run_task(task)
    assert content(first.record) == content(again.record)


def test_errors_can_be_sent() -> None:
    error = pickle.loads(pickle.dumps(UnknownNameError("head", "knm", ["knn"], "See: ...")))  # noqa: S301
    assert str(error) == "Unknown head 'knm'. Did you mean 'knn'? See: ..."
    assert error.near == ("knn",)


@pytest.fixture(scope="module")
def damaged(
    cache: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """The same with a part whose rows are not what was written."""
    photos, features = cache
    copy = Path(shutil.copytree(features, tmp_path_factory.mktemp("damaged") / "features"))
    (part, *_) = sorted(copy.glob("*/mobilenet-*/parts/[!.]*.h5"))
    with h5py.File(part) as file:
        place = file["features/avg"].id.get_offset()
    with part.open("r+b") as raw:
        raw.seek(place + 100)
        raw.write(b"damage")
    return photos, copy


@pytest.mark.slow
def test_an_error_in_a_worker_is_told_in_a_line(damaged) -> None:
    run = start(damaged, "local", "--head", "ridge", "--quiet")
    out, err = run.communicate(timeout=200)
    check_told(run.returncode, err)
    assert not out


def check_told(status: int, err: str) -> None:
    assert status == 1, err
    assert err.startswith("Error: "), err
    assert "featx cache repair" in err
    assert len(err.splitlines()) == 1


@needs_two
@pytest.mark.slow
@pytest.mark.parametrize("to_all", [True, False])
def test_ctrl_c_ends_the_workers_at_once(cache, tmp_path: Path, to_all: bool) -> None:
    run = start(cache, "local", "--shots", "5", "--draws", "3000", runs=tmp_path)
    parent = psutil.Process(run.pid)
    wait_until(lambda: len(loky_workers(run.pid)) > 1)
    time.sleep(1)
    children = parent.children(recursive=True)
    if to_all:  # as a terminal does
        os.killpg(run.pid, signal.SIGINT)
    else:
        run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 130, err
    assert "Stopped." in err
    assert "Traceback" not in err
    wait_until(lambda: not any(alive(child) for child in children))
    assert not list(tmp_path.iterdir())


@needs_two
def test_workers_are_ended_quietly_while_results_come_in(monkeypatch) -> None:
    """One result after the other is on its way, so that some come in while workers are ended."""
    told: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    monkeypatch.setattr(workers, "_run_apart", lambda index, task, threads: (index, []))
    for count in range(5):
        some = workers._run_once([(i, None) for i in range(400)], workers.Processes(), 2, 1)
        for _ in range(5 + count):
            next(some)
        some.close()
    assert not told
    assert not loky_workers()


@needs_two
@pytest.mark.slow
def test_a_worker_that_is_killed_costs_nothing_but_time(cache, alone, tmp_path: Path) -> None:
    with killing(times=1) as killed:
        found = run_sweep(cache, tmp_path, "local")
    assert len(killed) == 1
    check_same(found, alone)


@needs_two
@pytest.mark.slow
def test_workers_that_are_killed_again_and_again_end_the_sweep(cache, tmp_path: Path) -> None:
    with killing(times=1000), pytest.raises(ClusterError, match=r"killed twice, with \d+ of 36"):
        run_sweep(cache, tmp_path, "local")
    assert not loky_workers()
    assert not list(tmp_path.iterdir())


# --- on Ray --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    pytest.importorskip("ray")
    from ray_nodes import ray_nodes

    with ray_nodes(1, 1) as found:
        yield found


@pytest.mark.slow
def test_a_cluster_makes_the_records_of_one_process(cache, alone, nodes, tmp_path: Path) -> None:
    """Two nodes, from a process that is part of the cluster and from outside."""
    check_same(run_sweep(cache, tmp_path / "member", nodes.address), alone)
    check_same(run_sweep(cache, tmp_path / "client", nodes.client), alone)


@pytest.mark.slow
def test_an_error_on_a_cluster_is_told_in_a_line(damaged, nodes) -> None:
    run = start(damaged, "auto", "--head", "ridge", "--quiet", env=nodes.env)
    _, err = run.communicate(timeout=200)
    check_told(run.returncode, err)


@pytest.mark.slow
def test_ctrl_c_ends_the_work_on_a_cluster(cache, nodes, tmp_path: Path) -> None:
    words = ("--shots", "5", "--draws", "3000")
    run = start(cache, "auto", *words, runs=tmp_path, env=nodes.env)
    nodes.wait_for(TASK)
    os.killpg(run.pid, signal.SIGINT)
    _, err = run.communicate(timeout=100)
    assert run.returncode == 130, err
    assert "Stopped." in err
    assert "Traceback" not in err
    wait_until(lambda: not nodes.workers(TASK))


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_and_a_node_goes_on(cache, nodes, tmp_path: Path) -> None:
    """The last of these tests: the node is gone."""
    words = ("--shots", "5", "--draws", "25", "--head", "ridge,knn", "--pooling", "avg")
    run = start(cache, "auto", *words, runs=tmp_path / "cluster", env=nodes.env)
    nodes.wait_for(TASK).kill()
    time.sleep(1)
    nodes.kill_node(2)
    _, err = run.communicate(timeout=200)
    assert run.returncode == 0, err
    other = start(cache, "", *words, runs=tmp_path / "alone")
    _, err = other.communicate(timeout=200)
    assert other.returncode == 0, err
    found, expected = (
        sorted(((r.backbone, r.head.text, r.draw), content(r)) for r in load_runs(tmp_path / name))
        for name in ("cluster", "alone")
    )
    assert len(expected) == 100
    assert found == expected


TASK = "ray::_call"


def start(
    cache: tuple[Path, Path], cluster: str, *words: str, runs: Path | None = None, env: Any = None
) -> subprocess.Popen[str]:
    """Start `featx classify` as a process, in a group of its own."""
    photos, features = cache
    command = [sys.executable, "-m", "featx", "classify", str(photos), "--cache-dir", str(features)]
    command += ["--runs-dir", str(runs or features.parent / "runs")]
    command += ["--cluster", cluster] if cluster else []
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*command, *words], stdout=pipe, stderr=pipe, text=True, start_new_session=True, env=env
    )


def alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def loky_workers(parent: int | None = None) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(parent).children(recursive=True):
        try:
            if alive(child) and "popen_loky_posix" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def wait_until(done: Callable[[], Any], seconds: float = 100) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def killing(times: int) -> Iterator[list[int]]:
    """SIGKILL so many worker processes of this one, as they appear."""
    killed: list[int] = []
    stop = threading.Event()

    def kill() -> None:
        while not stop.wait(0.05) and len(killed) < times:
            for worker in loky_workers()[: times - len(killed)]:
                if worker.pid not in killed:
                    killed.append(worker.pid)
                    worker.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        stop.set()
        thread.join()
