"""Errors, files that are never half-written, experiment folders, the learning-rate schedule."""

import argparse
import math
import time
from multiprocessing.pool import ThreadPool

import numpy as np
import pytest
import torch

import utils


def test_user_errors_are_one_line_and_exit_2(capsys):
    def main(args):
        raise utils.UserError("do this instead")

    with pytest.raises(SystemExit) as exit_info:
        utils.run(main, argparse.ArgumentParser(), [])
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == "error: do this instead\n"


def test_a_lack_of_memory_is_one_line_and_other_failures_are_not_hidden(capsys):
    def run(failure):
        utils.run(lambda args: failure(), argparse.ArgumentParser(), [])

    for too_much in (lambda: torch.empty(2**60), lambda: np.empty(2**50)):
        with pytest.raises(SystemExit) as exit_info:
            run(too_much)
        assert exit_info.value.code == 2
        assert capsys.readouterr().err.startswith("error: out of memory: ask for less")
    with pytest.raises(RuntimeError, match="shape"):
        run(lambda: torch.ones(2) @ torch.ones(3, 3))


def test_flags_do_not_change():
    flags = utils.Flags(lr=0.0, seed=1)
    assert vars(flags) == {"lr": 0.0, "seed": 1}
    with pytest.raises(AttributeError, match="lr is resolved"):
        flags.lr = 1
    with pytest.raises(AttributeError, match="seed is resolved"):
        del flags.seed
    with pytest.raises(AttributeError, match="more is resolved"):
        flags.more = 1
    assert vars(flags) == {"lr": 0.0, "seed": 1}


def test_what_does_not_fit_into_memory_is_refused(monkeypatch):
    assert 10**7 < utils.free_memory() < 10**14
    monkeypatch.setattr(utils, "free_memory", lambda: 2 * 10**9)
    utils.check_memory(2 * 10**9, "the cake")
    with pytest.raises(utils.UserError, match=r"^the cake would need about 2\.5 GB of memory, 2\.0 GB are free$"):
        utils.check_memory(2.5 * 10**9, "the cake")


def test_a_network_is_weighed_without_being_made(monkeypatch):
    monkeypatch.setattr(utils, "free_memory", lambda: 16 * 1010)
    state = torch.get_rng_state()
    utils.check_weights(lambda: torch.nn.Linear(100, 10), "it")
    with pytest.raises(utils.UserError, match="it would need"):
        utils.check_weights(lambda: torch.nn.Linear(101, 10), "it")
    with pytest.raises(utils.UserError, match="it would need about 16000"):
        utils.check_weights(lambda: torch.nn.Linear(10**6, 10**6), "it")
    assert torch.equal(torch.get_rng_state(), state)  # or the networks after it would be others


def test_atomic_path_leaves_the_old_file_when_writing_fails(tmp_path):
    file = tmp_path / "numbers.csv"
    utils.write_csv(file, ["a"], [[1]])

    def rows():
        yield [2]
        raise RuntimeError("the power went out")

    with pytest.raises(RuntimeError):
        utils.write_csv(file, ["a"], rows())
    assert file.read_text() == "a\n1\n"
    assert list(tmp_path.iterdir()) == [file]


def test_weights_are_never_unpickled(tmp_path):
    torch.save({"weight": argparse.Namespace(bad=print)}, tmp_path / "evil.pth")
    with pytest.raises(utils.UserError, match="not a readable weight file"):
        utils.load_weights(tmp_path / "evil.pth")
    (tmp_path / "torn.pth").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(utils.UserError):
        utils.load_weights(tmp_path / "torn.pth")


def test_experiments_are_found_by_id_and_by_path(tmp_path):
    experiment = utils.new_experiment(tmp_path / "exp")
    assert experiment.name.isdigit()
    with pytest.raises(utils.UserError, match="none yet"):
        utils.find_experiment("123", tmp_path / "exp")
    utils.write_json(experiment / "configuration.json", {})
    assert utils.find_experiment(experiment.name, tmp_path / "exp") == experiment
    assert utils.find_experiment(str(experiment), "elsewhere") == experiment
    with pytest.raises(utils.UserError, match=experiment.name):
        utils.find_experiment("123", tmp_path / "exp")


def test_cosine_schedule_against_the_formula():
    factors = [utils.cosine_schedule(step, 110, 10) for step in range(110)]
    assert factors[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert factors[10] == 1
    assert factors[60] == pytest.approx(0.5 * (1 + math.cos(math.pi / 2)))
    assert factors[-1] < 0.001


def test_every_epoch_has_its_own_chance():
    draws = []
    for seed, epoch in ((0, 0), (0, 1), (1, 0), (0, 0)):
        utils.set_seed(seed, epoch)
        draws.append(torch.rand(1).item())
    assert len(set(draws[:3])) == 3
    assert draws[3] == draws[0]


def test_auto_is_the_gpu_where_there_is_one(monkeypatch):
    for there, kind in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert utils.pick_device("auto").type == kind


def test_scripts_are_called_and_their_failure_is_told(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(utils, "__file__", str(tmp_path / "utils.py"))
    (tmp_path / "good.py").write_text("import sys; print('first'); print(sys.argv[1])")
    (tmp_path / "bad.py").write_text("import sys; print('x' * 200_000, file=sys.stderr); sys.exit('error: no disk')")
    assert utils.call("good.py", tmp_path / "made", show=True) == str(tmp_path / "made")
    assert "first" in capfd.readouterr().out
    assert utils.call("good.py", 5) == "5"
    assert not capfd.readouterr().out
    with pytest.raises(utils.UserError, match=r"bad\.py failed \(error: no disk\)"):
        utils.call("bad.py")
    with pytest.raises(utils.UserError, match=r"bad\.py failed \(see above\)"):
        utils.call("bad.py", show=True)


def test_a_folder_of_runs_has_one_choice_of_settings(tmp_path):
    utils.keep_settings(tmp_path / "settings.json", {"num_epochs": 1})
    utils.keep_settings(tmp_path / "settings.json", {"num_epochs": 1})
    with pytest.raises(utils.UserError, match="num_epochs 1 → 2"):
        utils.keep_settings(tmp_path / "settings.json", {"num_epochs": 2})


def test_arrays_are_loaded_one_at_a_time(tmp_path, monkeypatch):
    """In CPython 3.11, threads that read a header at the same time now and then end in a SystemError."""
    np.save(tmp_path / "x.npy", np.arange(6).reshape(2, 3))
    real, inside, most = np.lib.format.read_magic, [], []

    def slow(*args, **kwargs):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.002)
        inside.pop()
        return real(*args, **kwargs)

    monkeypatch.setattr(np.lib._format_impl, "read_magic", slow)
    with ThreadPool(8) as pool:
        modes = [None, "r"] * 20
        arrays = pool.map(lambda mode: utils.load_array(tmp_path / "x.npy", mode), modes)
    assert [isinstance(array, np.memmap) for array in arrays] == [mode == "r" for mode in modes]
    assert (len(most), max(most)) == (40, 1)
    assert all(array.tolist() == [[0, 1, 2], [3, 4, 5]] for array in arrays)
