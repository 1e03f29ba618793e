"""Errors, files that are never half-written, experiment folders, the learning-rate schedule."""

import argparse
import csv
import io
import math
import os
import signal
import socket
import subprocess
import sys
import time
from multiprocessing.pool import ThreadPool
from types import SimpleNamespace

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


def test_garbage_is_looked_for_while_main_runs_neither_before_nor_at_the_end():
    run = """if True:
        import argparse, atexit, gc, utils
        parser, kept = argparse.ArgumentParser(), []
        say = lambda *args: print(gc.isenabled(), len(gc.get_objects()) > 2000)
        atexit.register(say)  # hears last
        utils.answer_first(parser)
        say()
        utils.run(lambda args: [say(), kept.extend([] for _ in range(3000))], parser)
    """
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False True", "True False", "True False"]


@pytest.mark.parametrize(("where", "status", "last"), [
    ("stop()", -signal.SIGINT, ""),
    ("utils.run(lambda args: stop(), parser)", 130, "stopped: run the same command again\n"),
])  # fmt: skip
def test_ctrl_c_has_no_traceback_among_the_imports_either(where, status, last):
    begin = "import argparse, os, signal, utils; signal.signal(signal.SIGINT, signal.default_int_handler)"
    begin += "; parser = argparse.ArgumentParser(); stop = lambda: os.kill(os.getpid(), signal.SIGINT)"
    run = f"{begin}; utils.answer_first(parser); {where}"
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (status, last)


@pytest.mark.parametrize("code", ["[print(n) for n in range(100_000)]", "print(1)"])
def test_who_reads_the_first_lines_only_is_told_of_no_error(code):
    main = f"lambda args: [time.sleep(1), {code}]"
    run = f"import argparse, time, utils; utils.run({main}, argparse.ArgumentParser(), [])"
    with subprocess.Popen([sys.executable, "-c", run], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 128 + signal.SIGPIPE


@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_what_is_closed_is_not_written_to(closed, tmp_path):
    main = f"lambda args: [list(utils.progress([1])), print(1), open({str(tmp_path / 'done')!r}, 'w').close()]"
    run = f"import argparse, utils; utils.run({main}, argparse.ArgumentParser(), [])"
    assert subprocess.run(f'{sys.executable} -c "{run}" {closed}', shell=True, check=False).returncode == 0
    assert (tmp_path / "done").exists()


def test_the_root_is_no_folder_to_write_into():
    with pytest.raises(utils.UserError, match="name one inside it"), utils.locked("/"):
        pass


def test_another_broken_pipe_is_named(capsys):
    def main(args):
        raise BrokenPipeError("the worker has gone")

    with pytest.raises(SystemExit) as exit_info:
        utils.run(main, argparse.ArgumentParser(), [])
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == "error: the worker has gone\n"


def test_flags_are_written_out(capsys):
    parser = utils.script_parser("One job.")
    parser.add_argument("--timeline")
    with pytest.raises(SystemExit):
        parser.parse_args(["--timelin", "x.png"])
    assert "did you mean --timeline?" in capsys.readouterr().err


def test_a_folder_inside_an_experiment_is_none(tmp_path):
    utils.write_json(tmp_path / "exp" / "111111" / "configuration.json", {})
    (tmp_path / "exp" / "111111" / "tiny_linear").mkdir()
    with pytest.raises(utils.UserError, match=r"is a folder inside the experiment .*111111: name that one"):
        utils.find_experiment(str(tmp_path / "exp" / "111111" / "tiny_linear"))


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


def test_sigterm_ends_a_run_as_ctrl_c_does(capsys):
    tidied = []

    def main(args):
        try:
            os.kill(os.getpid(), args)
            time.sleep(5)
        finally:
            tidied.append(args)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs do not hear
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            parser = argparse.Namespace(parse_args=lambda argv, number=number: number)
            with pytest.raises(SystemExit) as exit_info:
                utils.run(main, parser)
            assert exit_info.value.code == 128 + number
            assert capsys.readouterr().err == "stopped: run the same command again\n"
        assert tidied == [signal.SIGTERM, signal.SIGINT]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_one_process_at_a_time_writes_what_is_locked(tmp_path):
    with utils.locked(tmp_path / "data" / "own_npy"):
        message = rf"^process {os.getpid()} on .*\.own_npy\.lock\): wait until it has ended$"
        with pytest.raises(utils.UserError, match=message), utils.locked(tmp_path / "data" / "own_npy"):
            pytest.fail("it is locked")
        with utils.locked(tmp_path / "data" / "other_npy"):
            pass
    (tmp_path / "data" / ".own_npy.lock").write_text("process 1 on a host that is gone, killed with a long name")
    with utils.locked(tmp_path / "data" / "own_npy"):
        assert (tmp_path / "data" / ".own_npy.lock").read_text().startswith(f"process {os.getpid()} on ")
    assert not list((tmp_path / "data").iterdir())


def test_what_is_no_lock_is_neither_written_nor_removed(tmp_path):
    lock, precious = tmp_path / ".own_npy.lock", tmp_path / "precious.txt"
    precious.write_text("precious")
    for make in (
        lambda: lock.symlink_to(precious),
        lambda: lock.symlink_to(tmp_path / "nowhere"),
        lambda: lock.hardlink_to(precious),
        lambda: os.mkfifo(lock),
    ):
        make()
        with pytest.raises(utils.UserError, match="is none: move it away"), utils.locked(tmp_path / "own_npy"):
            pytest.fail("it is no lock")
        assert precious.read_text() == "precious"
        assert sorted(tmp_path.iterdir()) == [lock, precious]
        lock.unlink()


def test_an_unknown_flag_is_one_sentence_that_names_the_flag_that_was_meant(capsys):
    parser = utils.script_parser("Does this.")
    parser.add_argument("--num_epochs", type=utils.count, default=1, help="passes")
    for flags, said in ((["--epochs", "3"], "did you mean --num_epochs?"), (["--num_epochs", "0"], "'0' is not a")):
        with pytest.raises(SystemExit) as exit_info:
            parser.parse_args(flags)
        assert exit_info.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert said in line


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


def test_what_killed_processes_left_is_swept_and_what_is_another_hosts_is_named(tmp_path, capsys):
    with subprocess.Popen(["true"]) as process:
        gone = process.pid
    with utils.atomic_path(tmp_path / "a" / "x.npy") as ours:
        ours.touch()
        assert ours.suffix == ".npy"
        dead = ours.with_name(ours.name.replace(f".{os.getpid()}.", f".{gone}."))
        elsewhere = dead.with_name(dead.name.replace(socket.gethostname(), "elsewhere"))
        for file in (dead, elsewhere):
            file.touch()
        utils.sweep(tmp_path)
        assert set(tmp_path.rglob("*.npy")) == {ours, elsewhere}
        assert capsys.readouterr().out.startswith("2 unfinished files, such as ")
    elsewhere.unlink()
    utils.sweep(tmp_path)
    assert not capsys.readouterr().out
    assert (tmp_path / "a" / "x.npy").exists()


def test_sigterm_is_heard_while_main_runs_and_ends_what_has_ended():
    before, heard = signal.getsignal(signal.SIGTERM), []
    utils.run(lambda args: heard.append(signal.getsignal(signal.SIGTERM)), argparse.ArgumentParser(), [])
    assert heard == [utils._terminate]
    assert signal.getsignal(signal.SIGTERM) == before


def test_what_is_stopped_while_it_writes_weights_is_stopped(tmp_path, monkeypatch):
    class File(io.FileIO):
        writes = 0

        def write(self, data):
            self.writes += 1
            if self.writes == 3:  # once, as a signal does: torch goes on to close its archive
                raise utils.Terminated
            return super().write(data)

    monkeypatch.setattr("builtins.open", lambda path, mode: File(path, "w"))
    with pytest.raises(utils.Terminated):
        utils.save_weights(tmp_path / "a.pth", {"a": torch.zeros(10)})


def test_a_row_is_a_line_whatever_its_names(tmp_path):
    names = ["a\rb", "a\nb", "a\0b", "caf\udce9", "a,b", 'a"b', "é × 木", "a\\b"]
    utils.write_csv(tmp_path / "x.csv", ["name", "n"], [(name, 1.5) for name in names])
    assert len((tmp_path / "x.csv").read_bytes().splitlines()) == 9
    read = [row[0] for row in csv.reader((tmp_path / "x.csv").open(encoding="utf-8", newline=""))][1:]
    assert read == ["a\\rb", "a\\nb", "a\\x00b", "caf\\udce9", "a,b", 'a"b', "é × 木", "a\\b"]


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x")
    for read in (utils.read_json, utils.load_array, utils.digest):
        with pytest.raises(OSError, match="is not a file"):
            read(tmp_path / "x")
    with pytest.raises(utils.UserError, match="is not a readable weight file"):
        utils.load_weights(tmp_path / "x")


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 10_000, '{"a"', "\xff"])
def test_what_is_no_json_is_one_sentence(tmp_path, text):
    (tmp_path / "x.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(utils.UserError, match="is not readable JSON"):
        utils.read_json(tmp_path / "x.json")


def test_weights_are_never_unpickled(tmp_path):
    torch.save({"weight": argparse.Namespace(bad=print)}, tmp_path / "evil.pth")
    with pytest.raises(utils.UserError, match="not a readable weight file"):
        utils.load_weights(tmp_path / "evil.pth")
    (tmp_path / "torn.pth").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(utils.UserError):
        utils.load_weights(tmp_path / "torn.pth")


def test_mapped_weights_are_the_same_and_outlive_their_file(tmp_path):
    weights = {"a": torch.rand(300, 500), "b": torch.arange(7)}
    utils.save_weights(tmp_path / "a.pth", weights)
    mapped = utils.load_weights(tmp_path / "a.pth", mapped=True)
    utils.save_weights(tmp_path / "a.pth", {"a": torch.zeros(300, 500)})
    (tmp_path / "a.pth").unlink()
    assert all(torch.equal(mapped[name], tensor) for name, tensor in weights.items())


@pytest.mark.parametrize("mapped", [False, True])
def test_damaged_weights_are_refused(tmp_path, mapped):
    utils.save_weights(tmp_path / "a.pth", {"a": torch.ones(1000)})
    content = bytearray((tmp_path / "a.pth").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(utils.UserError, match="damaged"):
        utils.load_weights(tmp_path / "a.pth", mapped=mapped)


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


class Stored:
    """What a tensor in memory is asked for on its way to a device."""

    is_cuda = False

    def __init__(self):
        self.asked = []

    def pin_memory(self):
        self.asked.append("pin")
        return self

    def to(self, device, non_blocking=False):
        self.asked.append((device.type, non_blocking))
        return self


def test_a_copy_to_a_gpu_is_waited_for_by_nobody():
    """It has to come from pinned memory for that."""
    for device, expected in (("cuda", ["pin", ("cuda", True)]), ("cpu", [("cpu", False)])):
        assert utils.to_device(Stored(), torch.device(device)).asked == expected


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


def test_a_script_that_is_called_ends_with_the_one_that_calls_it(tmp_path, monkeypatch):
    monkeypatch.setattr(utils, "__file__", str(tmp_path / "utils.py"))
    (tmp_path / "long.py").write_text("import time; print('begun', flush=True); time.sleep(60)")
    monkeypatch.setattr("builtins.print", lambda *args, **options: "begun\n" in args and utils._terminate(15, None))
    begin = time.monotonic()
    with pytest.raises(utils.Terminated):
        utils.call("long.py", show=True)
    assert time.monotonic() - begin < 30


def test_a_script_ends_when_the_one_that_calls_it_is_killed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(utils, "__file__", str(tmp_path / "utils.py"))
    asks = "import os, select; print(os.environ['SIAMUSIC_CALLED'], select.select([0], [], [], 0)[0])"
    (tmp_path / "called.py").write_text(asks)
    assert utils.call("called.py") == "1 []"  # its standard input is open, and says nothing
    monkeypatch.setenv("SIAMUSIC_CALLED", "1")
    before, stdin, (read, write) = signal.getsignal(signal.SIGTERM), os.dup(0), os.pipe()
    os.dup2(read, 0)
    try:
        with pytest.raises(SystemExit) as exit_info:
            utils.run(lambda args: [os.close(write), time.sleep(5)], argparse.ArgumentParser(), [])
        assert exit_info.value.code == 128 + signal.SIGTERM
    finally:
        os.dup2(stdin, 0)
        signal.signal(signal.SIGTERM, before)
        os.close(stdin)
        os.close(read)


def test_a_folder_of_runs_has_one_choice_of_settings(tmp_path):
    utils.keep_settings(tmp_path / "settings.json", {"num_epochs": 1})
    (tmp_path / "runs.csv").touch()
    utils.keep_settings(tmp_path / "settings.json", {"num_epochs": 1})
    with pytest.raises(utils.UserError, match="num_epochs 1 → 2"):
        utils.keep_settings(tmp_path / "settings.json", {"num_epochs": 2})
    utils.write_json(tmp_path / "settings.json", [])
    with pytest.raises(utils.UserError, match="does not hold the settings of runs"):
        utils.keep_settings(tmp_path / "settings.json", {"num_epochs": 2})
    (tmp_path / "settings.json").unlink()
    with pytest.raises(utils.UserError, match=r"has a table, and no settings\.json that says of which flags"):
        utils.keep_settings(tmp_path / "settings.json", {"num_epochs": 2})
    somebody = tmp_path / "vs" / "settings.json"
    utils.write_json(somebody, {"fontSize": 12})
    with pytest.raises(utils.UserError, match="does not hold the settings of runs"):
        utils.keep_settings(somebody, {"num_epochs": 2})
    assert utils.read_json(somebody) == {"fontSize": 12}


def test_room_is_asked_for_before_it_is_needed(tmp_path, monkeypatch):
    utils.check_writable(tmp_path / "not" / "yet" / "there", 1000)
    assert not (tmp_path / "not").exists()
    monkeypatch.setattr(utils.shutil, "disk_usage", lambda folder: SimpleNamespace(free=2e6))
    utils.check_writable(tmp_path, 1000)
    with pytest.raises(utils.UserError, match=r"room for 2\.0 MB, 3\.0 are needed"):
        utils.check_writable(tmp_path, 3_000_000)


def test_flags_as_one_text_can_be_taken_apart():
    assert utils.flags("--lr 0.1 --note 'a b'") == "--lr 0.1 --note 'a b'"
    with pytest.raises(argparse.ArgumentTypeError, match="is no text of flags: no closing quotation"):
        utils.flags('"')


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (utils.flags, "--resume 123456"), (utils.flags, "--lr 1 --exp_path=1"), (utils.flags, "--exp_dir x"),
        (utils.flags, "--resu 1"), (utils.genre_flags, "--labels genres_all"), (utils.genre_flags, "--labels=t.csv"),
        (utils.genre_flags, "--resume 1"), (utils.validation_flags, "--test_split test"),
        (utils.validation_flags, "--labels t.csv"), (utils.validation_flags, "--test_s test"),
        (utils.validation_flags, "--refit"), (utils.validation_flags, "--train_split validation"),
        (utils.flags, "--seed 3"), (utils.flags, "--dataset=other"), (utils.genre_flags, "--data_dir there"),
    ],
)  # fmt: skip
def test_flags_of_other_scripts_leave_out_what_the_command_decides(read, text):
    assert read("--label_fraction 0.1 --num_epochs 3") == "--label_fraction 0.1 --num_epochs 3"
    with pytest.raises(argparse.ArgumentTypeError, match="leave out --"):
        read(text)


@pytest.mark.parametrize("name", ["", ".", "folder", "pipe"])
def test_what_is_no_file_is_not_replaced(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    before = {path.name: path.lstat().st_mode for path in tmp_path.iterdir()}
    with pytest.raises(utils.UserError, match="cannot be written as a file"), utils.atomic_path(name):
        pass
    assert {path.name: path.lstat().st_mode for path in tmp_path.iterdir()} == before


def test_settings_of_runs_that_never_began_are_replaced(tmp_path):
    utils.keep_settings(tmp_path / "settings.json", {"backbone": "resnet81"})
    (tmp_path / ".lock").touch()
    utils.keep_settings(tmp_path / "settings.json", {"backbone": "frames"})
    assert utils.read_json(tmp_path / "settings.json") == {"backbone": "frames"}


def test_a_file_holds_a_state_when_every_tensor_is_there_and_equal(tmp_path):
    state, file = {"a": torch.arange(3.0), "b": torch.ones(2, 2)}, tmp_path / "w.pth"
    assert not utils.holds(file, state)
    utils.save_weights(file, state)
    assert utils.holds(file, state)
    for other in ({"a": state["a"]}, {**state, "b": torch.zeros(2, 2)}, {**state, "a": state["a"].double()}):
        assert not utils.holds(file, other)
    file.write_bytes(b"PK")
    assert not utils.holds(file, state)


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


def test_a_mistyped_choice_is_answered_with_the_likeliest(capsys):
    parser = utils.script_parser("x")
    parser.add_argument("--protocol", choices=["finetune", "linear", "mlp", "scratch"])
    for typed, said in (("liner", "did you mean linear?"), ("zzz", "(--help explains every flag)")):
        with pytest.raises(SystemExit):
            parser.parse_args(["--protocol", typed])
        error = capsys.readouterr().err
        assert said in error
        assert ("did you mean" in error) == (typed == "liner")
