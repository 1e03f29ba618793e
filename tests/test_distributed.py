"""Two processes that train as one equal one process, and end together. They are begun once, for all tests."""

import copy
import csv
import os
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.distributed as dist
from conftest import FEW_STEPS, call, write_folder
from torch import nn

import train_simsiam
import transfer
import utils
from evaluation import plots, report
from models import heads
from models.classifier import Classifier
from models.gather import SyncBatchNorm
from models.simsiam import SimSiam
from training import compiled, distributed, views

LOG = "transfer_log.csv"
BASE = "--dataset tiny --optim SGD --lr 1 --batch_size 8 --num_epochs 2 --knn_every 1 --aug none --device cpu"
BASE += " --precision fp32"
PRETRAIN = {
    "simsiam": "--method simsiam --backbone frames --dim 32 --pred_dim 8",
    "simclr": "--method simclr --backbone frames --dim 32",
    "byol": "--method byol --backbone frames --dim 32 --pred_dim 64",
    "autoencoder": "--method autoencoder --lr 0.01",  # its ReLUs make large differences of small ones
}
TRANSFER = {
    "linear": "--protocol linear --num_crops 2 --save_features --no-keep_features",
    "finetune": "--protocol finetune --layer stage2 --num_epochs 2 --aug none --mixup 0",  # stage3 gets no gradient
    "scratch": "--protocol scratch --num_epochs 2 --aug none --mixup 0",
}


class Home:
    """Where one way of running writes: by ``one`` process or by ``two``."""

    def __init__(self, path, name):
        self.data_dir, self.path = path / "data", path / name

    def pretrain(self, name, more=""):
        where = f"--data_dir {self.data_dir} --exp_dir {self.path / name}"
        call(train_simsiam, f"{BASE} {where} {more or PRETRAIN[name]}")

    def transfer(self, name):
        where = f"--data_dir {self.data_dir} --exp_dir {self.path / 'simsiam'} --device cpu --precision fp32"
        call(transfer, f"{where} --exp_path {self.experiment('simsiam').name} --batch_size 6 {TRANSFER[name]}")

    def experiment(self, name):
        (folder,) = (self.path / name).glob("[0-9]*")
        return folder

    def transferred(self, name):
        return self.experiment("simsiam") / f"tiny_{name}"


def rows_of(file):
    return list(csv.DictReader(file.open()))


def stopped_within_an_epoch(self, progress):
    if progress > 4.5 / 6:
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def ways(tmp_path_factory):
    """(by one process, by two, what each of the two said at last, and its exit status)."""
    path = tmp_path_factory.mktemp("ways")
    write_folder(path / "data", "tiny")
    one, two = Home(path, "one"), Home(path, "two")
    with pytest.MonkeyPatch.context() as patch:
        without_pictures(patch.setattr)
        everything_that_both_do(one)
        patch.setattr(SimSiam, "after_step", stopped_within_an_epoch)
        with pytest.raises(KeyboardInterrupt):
            one.pretrain("stopped", f"{PRETRAIN['simsiam']} --checkpoint_minutes 1e-9")
    shutil.copytree(one.path / "stopped", two.path / "stopped")
    said = begin_two(path)
    return one, two, said


def without_pictures(setattr):
    for module, name in ((plots, "write"), (plots, "write_all"), (report, "write_report")):
        setattr(module, name, lambda *args, **options: None)


def begin_two(path):
    """Both run :func:`work`, as torchrun would begin them. Returns what each said last, and its exit status."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    context = torch.multiprocessing.get_context("spawn")
    processes = [context.Process(target=work, args=(rank, store.port, path)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    return [((path / f"said{rank}").read_text(), process.exitcode) for rank, process in enumerate(processes)]


def work(rank, port, path):
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "tests", "TORCHELASTIC_USE_AGENT_STORE": "True",
    }  # fmt: skip
    torch.set_num_threads(1)
    views.LEAST_STEPS = FEW_STEPS
    said = os.open(path / f"said{rank}", os.O_WRONLY | os.O_CREAT)
    os.dup2(said, 1)
    os.dup2(said, 2)
    without_pictures(setattr)
    parser = SimpleNamespace(parse_args=lambda argv: SimpleNamespace(device="cpu", path=path))
    utils.run(distributed.together(everything), parser)


def everything_that_both_do(home):
    for name in PRETRAIN:
        home.pretrain(name)
    for name in TRANSFER:
        home.transfer(name)


def of_pairs(network, chance):
    """SimSiam's loss of random views, of which the processes have different ones."""
    return network(*torch.randn(2, 8, 1, 4, 3, generator=chance))[0]


def of_labels(network, chance):
    """A classifier's, as transfer.py trains it."""
    return nn.functional.cross_entropy(network(torch.randn(8, 1, 4, 3, generator=chance)), torch.arange(8) % 3)


def compiled_or_not(path):
    """The losses of a few steps of small networks in all processes, plain and compiled: {name: (plain, compiled)}."""
    torch.manual_seed(0)
    networks = {
        of_pairs: SimSiam(Bare(), dim=8, proj_dim=0, pred_dim=4, cov=0.02, identity_start=False),
        of_labels: Classifier(Bare(), heads.genre_head(Bare.num_features, 3)),
    }
    losses = {}
    for loss_of, plain in networks.items():
        fused = copy.deepcopy(distributed.synchronised(plain))
        compiled.compile_in_place(fused, torch.device("cpu"))
        losses[loss_of.__name__] = [losses_while_learning(one, loss_of) for one in (plain, fused)]
    if distributed.is_first():
        utils.write_json(path / "compiled.json", losses)


def losses_while_learning(network, loss_of):
    forward, chance = distributed.parallel(network), torch.Generator().manual_seed(dist.get_rank())
    optimiser, losses = torch.optim.SGD(network.parameters(), lr=0.5), []
    for _ in range(4):
        loss = loss_of(forward, chance)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


class Bare(nn.Sequential):
    """As little to compile as can be."""

    num_features = 16

    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU())


def everything(args):
    two = Home(args.path, "two")
    everything_that_both_do(two)
    if not compiled.missing_for(torch.device("cpu")):
        compiled_or_not(args.path)
    two.pretrain("stopped", f"--resume {two.experiment('stopped').name}")
    if not distributed.is_first():
        raise utils.UserError("there is no air here")
    two.pretrain("failing", PRETRAIN["simsiam"])  # the others never answer


@pytest.mark.parametrize("name", [*PRETRAIN, "stopped"])
def test_pre_training_is_that_of_one_process(ways, name):
    """Its losses, what the monitors see, and so all gradients: also where two go on with what one began."""
    one, two, _ = ways
    expected = rows_of(one.experiment("simsiam" if name == "stopped" else name) / "train_log.csv")
    found = rows_of(two.experiment(name) / "train_log.csv")
    for ours, theirs in zip(found, expected, strict=True):
        for column in ("loss", "std", "effective_rank", "knn_accuracy", "probe_accuracy", "lr"):
            most = 1e-5 if column == "loss" and name != "autoencoder" else 1e-4
            np.testing.assert_allclose(float(ours[column]), float(theirs[column]), rtol=most)


def test_the_weights_and_running_statistics_are_those_of_one_process(ways):
    states = [torch.load(way.experiment("simsiam") / "pre.pth", weights_only=True) for way in ways[:2]]
    assert list(states[0]) == list(states[1])
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-3, atol=1e-5, msg=name)


def test_frozen_features_are_those_of_one_process(ways):
    one, two = (np.load(way.transferred("linear") / "features.npy") for way in ways[:2])
    np.testing.assert_allclose(two, one, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("protocol", ["finetune", "scratch"])
def test_supervised_training_is_that_of_one_process(ways, protocol):
    one, two = (rows_of(way.transferred(protocol) / LOG) for way in ways[:2])
    for ours, theirs in zip(two, one, strict=True):
        for column in ("train_loss", "validation_loss"):
            if theirs[column]:
                np.testing.assert_allclose(float(ours[column]), float(theirs[column]), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("of", [of_pairs, of_labels])
def test_compiled_processes_learn_what_plain_ones_do(ways, of):
    """Inside the graphs of ``torch.compile``, what passes between processes would come back without gradients."""
    if compiled.missing_for(torch.device("cpu")):
        pytest.skip("no C++ compiler here, which torch.compile needs")
    plain, fused = utils.read_json(ways[0].data_dir.parent / "compiled.json")[of.__name__]
    np.testing.assert_allclose(fused, plain, rtol=1e-4)
    assert np.ptp(plain) > 0.01


def test_the_first_process_alone_writes_and_speaks(ways):
    one, two, said = ways
    files = [sorted(str(file.relative_to(way.path / "simsiam")).split("/", 1)[1] for file in
             (way.path / "simsiam").rglob("*") if file.is_file()) for way in (one, two)]  # fmt: skip
    assert files[0] == files[1]
    assert "in 2 processes" in said[0][0]
    assert "loss" not in said[1][0]


def test_one_that_fails_ends_all_and_alone_says_why(ways):
    (_, first), (last_words, second) = ways[2]
    assert last_words.splitlines()[-1] == "error: there is no air here"  # torch may have warned before
    assert second == 2
    assert first not in (0, None)
    assert not list((ways[1].path / "failing").glob("[0-9]*"))


# ------------------------------------------------------------------ without other processes


def test_a_batch_has_equal_parts(monkeypatch):
    distributed.check_divides(7)
    monkeypatch.setattr(distributed, "num_processes", lambda: 4)
    distributed.check_divides(8)
    with pytest.raises(utils.UserError, match="--batch_size 7 is not a multiple of the 4 processes"):
        distributed.check_divides(7)


def test_each_process_takes_its_own_gpu(monkeypatch):
    taken = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    for rank in range(2):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        assert distributed.takes_gpu("auto")
        assert not distributed.takes_gpu("cpu")
    assert taken == [0, 1]
    with pytest.raises(utils.UserError, match="its own GPU: --device cuda"):
        distributed.takes_gpu("cuda:1")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(utils.UserError, match="torch sees 2 GPUs here: torchrun --nproc_per_node 2"):
        distributed.takes_gpu("auto")


def test_parts_of_tracks_are_equal_and_come_together_in_order(monkeypatch):
    """Three tracks, of two rows each, shared out to two processes."""
    tracks, double = torch.tensor([5, 6, 7]), lambda part: part.repeat_interleave(2)
    assert distributed.shared_out(double, tracks).tolist() == [5, 5, 6, 6, 7, 7]
    parts = []
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "num_processes", lambda: 2)
    monkeypatch.setattr(distributed, "gather", lambda rows: parts.append(rows) or torch.cat(parts))
    for rank in range(2):
        monkeypatch.setattr(dist, "get_rank", lambda rank=rank: rank)
        found = distributed.shared_out(double, tracks)
    assert [part.tolist() for part in parts] == [[5, 5, 6, 6], [7, 7, 5, 5]]
    assert found.tolist() == [5, 5, 6, 6, 7, 7]


@pytest.mark.parametrize("affine", [True, False])
def test_norms_of_one_process_are_torchs_own(affine):
    torch.manual_seed(0)
    x = torch.randn(6, 3, 4, 5) * 3 + 1
    ours, theirs = torch.nn.BatchNorm2d(3, affine=affine), torch.nn.BatchNorm2d(3, affine=affine)
    ours.__class__ = SyncBatchNorm
    for momentum in (0.1, None):
        ours.momentum = theirs.momentum = momentum
        torch.testing.assert_close(ours(x), theirs(x))
        torch.testing.assert_close(dict(ours.named_buffers()), dict(theirs.named_buffers()))
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_who_joins_watches_torchrun(monkeypatch):
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    there = {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port}
    for name, value in {**there, "TORCHELASTIC_USE_AGENT_STORE": "True"}.items():
        monkeypatch.setenv(name, str(value))
    watched = []
    monkeypatch.setattr(distributed, "end_with_parent", watched.append)
    with distributed.joined("cpu"):
        assert watched == [os.getppid()]


def test_without_torchrun_a_process_ends_as_by_kill(monkeypatch):
    parents, sent = iter([7, 7, 1]), []
    monkeypatch.setattr(os, "getppid", lambda: next(parents))
    monkeypatch.setattr(os, "kill", lambda *what: sent.append(what))
    monkeypatch.setattr(distributed.time, "sleep", lambda seconds: None)
    distributed.end_with_parent(7)
    assert sent == [(os.getpid(), signal.SIGTERM)]
    assert not list(parents)
