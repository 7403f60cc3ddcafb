"""Ray nodes on this machine, each with processes of its own; run as a program, it holds them.

Nodes are as apart as can be here: own raylets, workers and object stores, one file system. What
belongs to a set of nodes lies in a folder of its own, so that others on this machine stay out.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil


class Nodes:
    """Running nodes: how to reach them, and their processes."""

    def __init__(self, said: dict[str, Any], env: dict[str, str]) -> None:
        self.address: str = said["address"]
        self.client = f"ray://127.0.0.1:{said['client_port']}"
        self.raylets: list[int] = said["raylets"]
        self.env = env

    def workers(self, kind: str) -> list[psutil.Process]:
        """Return the worker processes whose title has `kind` in it, of all nodes."""
        found = []
        for raylet in self.raylets:
            found += [w for w in _children(raylet) if kind in _title(w)]
        return found

    def wait_for(self, kind: str, seconds: float = 120) -> psutil.Process:
        """Return the first worker of `kind`, once there is one."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := self.workers(kind):
                return found[0]
            time.sleep(0.02)
        raise TimeoutError(f"no {kind} within {seconds} s")

    def kill_node(self, number: int) -> None:
        """SIGKILL a node: its raylet and all its workers."""
        raylet = self.raylets[number]
        for process in [psutil.Process(raylet), *_children(raylet)]:
            if process.is_running():
                process.send_signal(signal.SIGKILL)


def _children(raylet: int) -> list[psutil.Process]:
    try:
        return psutil.Process(raylet).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


@contextmanager
def ray_nodes(*cpus: int) -> Iterator[Nodes]:
    """Start a head node without CPUs and one node each with so many CPUs."""
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # sockets have short names
    env = os.environ | {"RAY_TMPDIR": folder, "RAY_AUTH_MODE": "disabled"}
    env["RAY_worker_niceness"] = "0"  # as patient as other processes here, not less
    env.pop("RAY_ADDRESS", None)
    process = subprocess.Popen(
        [sys.executable, __file__, *map(str, cpus)],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stdin
    assert process.stdout
    try:
        said = json.loads(process.stdout.readline())
        yield Nodes(said, env | {"RAY_ADDRESS": said["address"]})
    finally:
        tree = psutil.Process(process.pid).children(recursive=True)
        process.stdin.close()  # it ends what it has started
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for left in tree:
            if left.is_running():
                left.kill()
        process.stdout.close()
        shutil.rmtree(folder, ignore_errors=True)


def hold(cpus: list[int]) -> None:
    """Start the nodes, say where they are, and end them when stdin does."""
    from ray.cluster_utils import Cluster

    with socket.create_server(("127.0.0.1", 0)) as free:
        client_port = free.getsockname()[1]
    memory = 200 << 20
    head = {
        "num_cpus": 0,
        "object_store_memory": memory,
        "include_dashboard": False,
        "ray_client_server_port": client_port,
    }
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = [cluster.add_node(num_cpus=n, object_store_memory=memory) for n in cpus]
    raylets = [node.all_processes["raylet"][0].process.pid for node in (cluster.head_node, *nodes)]
    said = {"address": cluster.address, "client_port": client_port, "raylets": raylets}
    print(json.dumps(said), flush=True)
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    hold([int(n) for n in sys.argv[1:]])
