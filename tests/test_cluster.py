"""preprocessing.py --dask: by worker processes of a real Dask scheduler on this machine, some of which are killed."""

import concurrent.futures
import contextlib
import gc
import os
import signal
import socket
import sys
import threading

import numpy as np
import pytest
from test_preprocessing import flags, music  # noqa: F401  a fixture

import preprocessing
import utils
from data import cluster
from data.cluster import run_cluster
from data.collection import Collection, Extractor, Track
from data.settings import Embedding

NOBODY = "tcp://127.0.0.1:1"  # a port on which nobody listens


class Deadly(Extractor):
    """A vector of ones; the process that is first to be given ``deadly`` is killed."""

    def __init__(self, file):
        super().__init__(Embedding(num_layers=1, num_features=3))
        self.file = file

    def __call__(self, source):
        if source.endswith("deadly") and self.file.exists():
            self.file.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return np.ones((1, 3), np.float32)


@pytest.fixture(scope="module")
def distributed():
    return pytest.importorskip("distributed", reason="no Dask: pip install -r requirements-optional.txt")


@pytest.fixture(scope="module")
def scheduler(distributed):
    """The address of a scheduler with two worker processes, which come again when they die."""
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "silence_logs": 50}
    with distributed.LocalCluster(host="127.0.0.1", **options) as started:
        yield started.scheduler_address


def run(command):
    preprocessing.main(flags(command))


def test_a_cluster_makes_the_bytes_that_one_process_makes(scheduler, music, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)  # the workers are elsewhere
    (music / "rock" / "broken.mp3").write_text("no music")
    command = "--dataset own --source music --n_mels 20 --data_dir"
    run(f"{command} here --workers 1")
    run(f"{command} there --dask {scheduler}")
    here, there = (
        {path.name: path.read_bytes() for path in (tmp_path / name / "own_npy").rglob("*.*") if path.is_file()}
        for name in ("here", "there")
    )
    assert here == there
    assert len(here) == 10 + 4


def test_a_worker_that_is_killed_loses_nothing(scheduler, tmp_path, monkeypatch):
    (tmp_path / "alive").touch()
    tracks = [Track(f"t{n}", "deadly" if n == 5 else "t", f"a/{n}.npy", "rock", "training") for n in range(20)]
    source = "own", Collection(tracks), Deadly(tmp_path / "alive")
    monkeypatch.setattr(preprocessing, "open_source", lambda args: source)
    run(f"--data_dir {tmp_path} --dask {scheduler}")
    assert not (tmp_path / "alive").exists()  # one was killed
    assert len(list((tmp_path / "own_npy").glob("a/*.npy"))) == 20
    assert (tmp_path / "own_npy" / "failed.csv").read_text() == "track_id,path,reason\n"


class Failing:
    """A cluster with one worker, of which every job ends in the same error."""

    def __init__(self, error):
        self.error = error

    def ncores(self):
        return {"a worker": 1}

    def get_executor(self, **options):
        return self

    def submit(self, function, job):
        future = concurrent.futures.Future()
        future.set_exception(self.error)
        return future

    def shutdown(self, wait):
        pass


def results_of(error, tmp_path):
    jobs = [(Track(f"t{n}", "t", "t.npy", "rock", "test"), tmp_path, Deadly(tmp_path)) for n in range(3)]
    return [(track.track_id, frames, reason) for track, frames, reason in run_cluster(jobs, Failing(error))]


def test_a_track_that_kills_worker_after_worker_is_named(distributed, tmp_path):
    reason = "the processes that converted it died (out of memory?)"
    results = results_of(distributed.KilledWorker("convert_there", None, 3), tmp_path)
    assert sorted(results) == [(f"t{n}", 0, reason) for n in range(3)]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (utils.UserError("of all tracks"), "^of all tracks$"),
        (concurrent.futures.CancelledError(), "the Dask scheduler is gone: start it and run the same command again"),
        (ModuleNotFoundError("No module named 'data'"), "No module named 'data'.: start its scheduler and its"),
    ],
)
def test_what_is_wrong_with_the_cluster_is_said(distributed, tmp_path, error, message):
    with pytest.raises(utils.UserError, match=message):
        results_of(error, tmp_path)


@pytest.fixture
def silent():
    """The address of one who takes connections and says nothing that Dask would."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def chatty():
    """The address of one who answers everybody in HTTP."""

    def answer(server):
        with contextlib.suppress(OSError):
            while True:
                with server.accept()[0] as caller:
                    caller.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 9)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=answer, args=(server,), daemon=True).start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("who", ["silent", "chatty"])
def test_who_listens_and_is_no_scheduler_is_named(distributed, who, request, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(cluster, "SECONDS", 0.3)
    address = request.getfixturevalue(who)
    with pytest.raises(utils.UserError, match=rf"^no Dask scheduler answers at {address} \(.*\): start one"), \
            cluster.connected(address, Deadly(tmp_path)):  # fmt: skip
        pass
    gc.collect()
    assert capfd.readouterr().err == ""


WRONG = ["nowhere", "foo://x", "tcp://", ":", "/etc/passwd", "http://h:1", "inproc://", "tcp://127.0.0.1:99999"]


@pytest.mark.parametrize("address", [NOBODY, *WRONG])
def test_a_scheduler_that_does_not_answer_is_named(distributed, address, music, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(cluster, "SECONDS", 0.3)
    with pytest.raises(utils.UserError, match=rf"^no Dask scheduler answers at {address} \(.*\): start one") as error:
        run(f"--dataset own --source {music} --data_dir {tmp_path}/data --dask {address}")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "data" / "own_npy").exists()


def test_what_a_cluster_needs_is_said(tmp_path, monkeypatch):
    extractor = Deadly(tmp_path)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(utils.UserError, match=r"pip install -r requirements-optional\.txt"), \
            cluster.connected(NOBODY, extractor):  # fmt: skip
        pass
    extractor.stays_here = True
    with pytest.raises(utils.UserError, match="stay here"), cluster.connected(NOBODY, extractor):
        pass
