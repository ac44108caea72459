"""Which cluster, how much room, and which folders have to be shared. No Ray is started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from makers.specs import cell

from clipfed_bench.cli.options import PlaceOptions
from clipfed_bench.config.cell_spec import CellSpec
from clipfed_bench.core.errors import UserError
from clipfed_bench.core.messages import Environment
from clipfed_bench.execution.jobs import plan
from clipfed_bench.execution.ray_cluster import Cluster, _begin, ready, room
from clipfed_bench.execution.shared_places import Place, absolute, shared_places, unseen
from clipfed_bench.execution.worker import Settings


def node(cpus, gpus=0):
    return {"NodeID": "n", "Alive": True, "Resources": {"CPU": cpus, "GPU": gpus}}


def test_room_is_counted_node_by_node():
    nodes = [node(4, 1), node(1, 4), node(0, 8), {"NodeID": "n", "Alive": True, "Resources": {}}]
    assert room(nodes, 0) == 5
    assert room(nodes, 1) == 2  # one GPU here, one CPU there
    assert room(nodes, 0.5) == 3
    assert room(nodes, 0.3) == 4  # three to a GPU
    assert room([node(99, 1)], 0.1) == 10
    assert room([node(99, 1)], 1 / 3) == 3


def test_gpus_per_cell_is_a_share_of_one():
    assert Cluster().gpus("cuda") == 1.0
    assert Cluster(gpus_per_cell=0.25).gpus("cuda") == 0.25
    assert Cluster(gpus_per_cell=0.25).gpus("cpu") == 0.0
    for wrong in (0, -1, 1.5):
        with pytest.raises(UserError, match="--gpus-per-cell"):
            Cluster(gpus_per_cell=wrong)


def test_options_that_need_ray_say_so(tmp_path):
    assert PlaceOptions().places(tmp_path).executor == "local"
    for chosen in (
        PlaceOptions(executor="ray", address="h:1", gpus_per_cell=0.5),
        PlaceOptions(executor="ray[address=h:1,gpus_per_cell=0.5]"),
    ):
        assert chosen.places(tmp_path).engine.cluster == Cluster("h:1", 0.5)
    with pytest.raises(UserError, match="--address is for cells on a Ray cluster: add --executor ray"):
        PlaceOptions(address="h:1").places(tmp_path)
    with pytest.raises(UserError, match="--gpus-per-cell is for cells on a Ray cluster"):
        PlaceOptions(gpus_per_cell=0.5).places(tmp_path)
    with pytest.raises(UserError, match="--gpus-per-cell: with --device cpu"):
        PlaceOptions(executor="ray", gpus_per_cell=0.5, device="cpu").places(tmp_path)


def test_the_address_given_goes_before_the_environments(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert Cluster().known_as is None
    monkeypatch.setenv("RAY_ADDRESS", "env:1")
    assert Cluster().known_as == "env:1"
    assert Cluster("given:1").known_as == "given:1"
    assert Cluster("local").known_as is None


def test_a_device_that_is_named_needs_no_look_at_the_cluster():
    cluster = Cluster("nowhere.invalid:1")
    assert [cluster.device(device) for device in ("cpu", "cuda")] == ["cpu", "cuda"]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("head", "--address: 'head' is not HOST:PORT"),
        ("head:", "--address: 'head:' is not HOST:PORT"),
        ("127.0.0.1:99999", r"there is no Ray cluster at 127\.0\.0\.1:99999"),
        ("ray://head:10001", "ray://head:10001 is for Ray Client"),
    ],
)
def test_a_wrong_address_is_said_at_once(address, message):
    pytest.importorskip("ray")
    with pytest.raises(UserError, match=message):
        ready(Cluster(address))


def test_an_address_where_nobody_listens_is_said_at_once():
    pytest.importorskip("ray")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ready(Cluster(f"127.0.0.1:{port}"))
    with pytest.raises(UserError, match=rf"there is no Ray cluster at 127\.0\.0\.1:{port} \(.*refused"):
        ready(Cluster(f"127.0.0.1:{port}"))


def test_without_ray_it_is_said_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'clipfed-bench\[ray\]'"):
        ready(Cluster())


def test_paths_mean_the_same_everywhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPFED_BENCH_DATA", "images")
    settings = absolute(
        Settings(Environment(cache_dir=Path("cache"), warmup_dir=Path("w")), Path("run/logs"), "runner")
    )
    assert settings.environment == Environment(
        data_dir=tmp_path / "images", cache_dir=tmp_path / "cache", warmup_dir=tmp_path / "w"
    )
    assert settings.logs == tmp_path / "run" / "logs"
    assert settings.runner == "runner"
    given = absolute(Settings(Environment(data_dir=Path("given")), Path("run/logs")))
    assert given.environment.data_dir == tmp_path / "given"


def places_of(tmp_path, cells, **environment):
    settings = Settings(
        Environment(**{"warmup_dir": tmp_path / "run" / "warmups", **environment}), tmp_path / "run/logs"
    )
    with shared_places(settings, plan(cells)) as places:
        assert unseen(places, 0) == ()
        found = {place.option: place.path for place in places}
    assert not any(place.proof.exists() for place in places if place.proof != place.path)
    assert not (tmp_path / "run" / "logs").exists()
    return found


def test_folders_that_have_to_be_shared_are_those_that_are_used(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPFED_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CLIPFED_BENCH_DATA", raising=False)
    run = {"--out": tmp_path / "run"}
    assert places_of(tmp_path, [cell()]) == run
    assert places_of(tmp_path, [cell(warmup_rounds=1)]) == run
    warmups = {"warmup_dir": tmp_path / "elsewhere"}
    assert places_of(tmp_path, [cell()], **warmups) == run
    assert places_of(tmp_path, [cell(warmup_rounds=1)], **warmups) == run | {"--warmups": tmp_path / "elsewhere"}
    teacher = [cell(defense="clip-fed", teacher="local")]
    assert places_of(tmp_path, teacher) == run | {"--cache-dir": tmp_path / "cache"}
    assert places_of(tmp_path, teacher, cache_dir=tmp_path / "t") == run | {"--cache-dir": tmp_path / "t"}
    downloaded = [CellSpec(dataset="cifar10", model="cnn", warmup_rounds=0)]
    assert places_of(tmp_path, downloaded) == run | {"--data-dir": tmp_path / "cache" / "data"}
    assert places_of(tmp_path, downloaded, data_dir=tmp_path) == run | {"--data-dir": tmp_path}


def test_sigterm_while_ray_starts_is_an_interrupt():
    def init(**options):
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))  # as Ray does
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        _begin(SimpleNamespace(init=init), "Ray cannot be started")
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("no room\n  here", "no room here"),
        (
            "Last error: Traceback (most recent call last):\n  File x\nOSError: gone\n",
            "Last error: OSError: gone",
        ),
        (
            "Failed: Traceback (most recent call last):\nRpcError: InvalidAuthToken: missing",
            "the cluster wants a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to what its nodes have.",
        ),
    ],
)
def test_what_ray_says_is_one_line_without_tracebacks(said, shown):
    def init(**options):
        raise RuntimeError(said)

    with pytest.raises(UserError) as caught:
        _begin(SimpleNamespace(init=init), "--address: head:1")
    assert str(caught.value) == f"--address: head:1: {shown}"


def test_ray_that_was_too_slow_to_start_is_started_again_once():
    def init(**options):
        tries.append(options)
        if len(tries) <= failures:
            raise RuntimeError("The current node timed out during startup. This could happen because")

    tries, failures = [], 1
    _begin(SimpleNamespace(init=init), "Ray cannot be started", num_cpus=2)
    assert tries == [{"num_cpus": 2}] * 2
    tries, failures = [], 2
    with pytest.raises(UserError, match="Ray cannot be started: The current node timed out during startup"):
        _begin(SimpleNamespace(init=init), "Ray cannot be started")


def test_what_killed_commands_left_in_shared_folders_is_removed_when_it_is_old(tmp_path):
    new, old = (tmp_path / f".seen-{letter * 32}" for letter in "ab")
    new.touch()
    old.touch()
    os.utime(old, (time.time() - 90000,) * 2)
    places_of(tmp_path, [cell(warmup_rounds=1)], warmup_dir=tmp_path)
    assert list(tmp_path.glob(".seen-*")) == [new]


def test_a_folder_is_known_by_what_is_in_it_and_may_be_late(tmp_path):
    place = Place("--out", tmp_path, tmp_path / "proof")
    assert unseen([place], 0) == (place,)
    timer = threading.Timer(0.3, place.proof.touch)
    timer.start()
    begin = time.monotonic()
    assert unseen([place], 10) == ()
    assert time.monotonic() - begin < 5
    timer.join()


def test_the_command_loads_neither_torch_nor_ray_before_it_needs_it():
    script = """
import sys
import clipfed_bench.execution.session, clipfed_bench.cli.running
print(sorted({"torch", "ray", "pandas"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
