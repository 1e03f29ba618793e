"""Kill the scripts, fill their disk, break their files: is anything lost, or wrong without a word?

    python -m benchmarks.stress                                        all of it
    python -m benchmarks.stress --kills 6 --full 4 --mutations 100     a taste, in a minute

On a made-up corpus: preprocessing, training and transfer are killed at random moments, or find the disk full at a
write, and are run again; in the end everything must be as an uninterrupted run leaves it. Then files of every kind
are damaged and given to the scripts that read them: an answer, or one sentence, and never another answer of damaged
weights. Writes <out>/stress.md, line by line. Exit status 1 where anything failed, named with its seed. Linux only.
"""

import builtins
import collections
import contextlib
import errno
import io
import itertools
import json
import mmap
import os
import re
import resource
import runpy
import shlex
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import NamedTuple

import utils

ROOT = Path(__file__).parents[1]
SECONDS = 60  # that reading a damaged file, or stopping, may take
MEMORY = 2 * 2**30  # bytes that reading a damaged file may take
TIMES = {"versions", "seconds", "clips_per_second"}  # what differs between two runs of the same
PREPROCESS = "preprocessing.py --size small --n_mels 32 --hop_length 2205 --min_seconds 0.5"
ALONE = f"{PREPROCESS} --workers 1"  # in one process
TRAIN = (
    "train_simsiam.py --size small --backbone conv8 --dim 32 --pred_dim 8 --batch_size 8 --num_epochs 3 "
    "--checkpoint_minutes 1e-9 --device cpu"
)
LINEAR = "transfer.py --size small --protocol linear --device cpu --exp_path ID"


class Job(NamedTuple):
    """What is interrupted: a command line (ID: the experiment's), after those that make what it begins with."""

    name: str
    before: tuple
    command: str


JOBS = (
    Job("preprocessing", (), ALONE),
    Job("preprocessing, two workers", (), f"{PREPROCESS} --workers 2"),
    Job("preprocessing --overwrite", (f"{ALONE} --f_min 500",), f"{ALONE} --overwrite"),
    Job("training, --resume", (ALONE,), TRAIN),
    Job("transfer, linear", (ALONE, TRAIN), LINEAR),
    Job("transfer, mlp", (ALONE, TRAIN), f"{LINEAR} --protocol mlp --num_epochs 3"),
)


class Row(NamedTuple):
    """A line of the table; ``faults`` are sentences."""

    what: str
    count: int
    faults: list
    lost: int | None = None
    seconds: float = 0.0
    memory: int | None = None


def get_args_parser():
    parser = utils.script_parser(__doc__)
    parser.add_argument("--kills", type=utils.whole, default=60, help="runs that are killed, one in four by SIGTERM")
    parser.add_argument("--full", type=utils.whole, default=48, help="runs that find the disk full at a write")
    parser.add_argument("--mutations", type=utils.whole, default=2500, help="files that are damaged, of all kinds")
    parser.add_argument("--seed", type=utils.whole, default=0, help="of the moments and of the damage")
    parser.add_argument("--out", default="exp/stress", help="folder to work in, and of stress.md")
    return parser


if __name__ == "__main__":  # --help and wrong flags are answered before what takes seconds to import
    utils.answer_first(get_args_parser())

import numpy as np
import pandas as pd
import soundfile
import torch

from data import synthetic
from evaluation import report, tables  # noqa: F401  some are imported for the processes to come alone
from training import given, layer_sweep  # noqa: F401


def main(args):
    out = Path(args.out).resolve()
    torch.set_num_threads(1)  # no other thread may be running when a process is forked
    make_room(out)
    synthetic.write_corpus(out / "corpus" / "data", num_tracks=48, seconds=2)
    rows = []
    with utils.progress(total=args.kills + args.full + args.mutations, desc="stress") as bar:
        for row in itertools.chain(interrupt_all(out, args, bar), damage_all(out, args, bar)):
            rows.append(row)
            utils.write_text(out / "stress.md", table(rows))
    faults = [f"{row.what}: {fault}" for row in rows for fault in row.faults]
    print(table(rows), *(f"FAILED, --seed {args.seed}: {fault}" for fault in faults), out / "stress.md", sep="\n")
    if faults:
        sys.exit(1)


def make_room(out):
    """Remove what an earlier call has left in ``out``. Raises :class:`utils.UserError` where it is another folder."""
    if out.exists() and any(out.iterdir()) and not (out / "stress.md").is_file():
        raise utils.UserError(f"--out {out} holds something else: choose a folder that can be emptied")
    for name in ("corpus", "jobs", "files"):
        shutil.rmtree(out / name, ignore_errors=True)
    utils.write_text(out / "stress.md", "")


def table(rows):
    head = ("what", "how many", "survived", "bytes lost", "worst time (s)", "worst memory (MB)")
    cells = [
        [row.what, f"{row.count:,}", f"{row.count - len(row.faults):,}", "" if row.lost is None else str(row.lost),
         f"{row.seconds:.1f}", "" if row.memory is None else f"{row.memory / 1e6:.0f}"]
        for row in rows if row.count
    ]  # fmt: skip
    return tables.markdown(head, cells, "lrrrrr") + "\n"


# ------------------------------------------------------------------ a script in a process of its own


def run_script(command):
    """Run a command line of ours in this process, as ``python`` would; returns its exit status."""
    script, *flags = shlex.split(command)
    sys.argv = [str(ROOT / script), *flags]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        return end.code or 0
    return 0


def start(command, work, full=None):
    """The number of a new process that runs ``command`` in the folder ``work``, and leads a group of its own.

    It is forked, so that everything is imported. ``full``: see :class:`Disk`. What it says goes to ``<work>.log``.
    """
    sys.stdout.flush()
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a script that has not begun is ended by it as any other
    process = os.fork()
    if process:
        signal.signal(signal.SIGTERM, before)
        return process
    status = 1
    try:
        os.setsid()
        os.chdir(work)
        sys.stdout = sys.stderr = open(f"{work}.log", "w", buffering=1)  # noqa: SIM115
        os.dup2(sys.stdout.fileno(), 1)
        os.dup2(sys.stdout.fileno(), 2)
        if full:
            full.install(work)
        status = run_script(command)
    except BaseException:
        traceback.print_exc()
    os._exit(status)


def end_of(process, seconds=10 * SECONDS):
    """The exit status, negative for a signal, of a process and of those it has started; None if one goes on."""
    end, status = time.monotonic() + seconds, None
    while time.monotonic() < end:
        if status is None:
            there, code = os.waitpid(process, os.WNOHANG)
            status = os.waitstatus_to_exitcode(code) if there else None
        if status is not None and not members(process):
            return status
        time.sleep(0.01)
    os.killpg(process, signal.SIGKILL)
    return None


def members(group):
    """Processes of a group that are alive, by Linux's /proc."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, leader = file.read_text().rpartition(")")[2].split()[:3]
            found += [file.parent.name] if int(leader) == group and state != "Z" else []
    return found


class Disk:
    """A disk that is full from the ``last``-th write on, for all that Python writes to files below a folder."""

    def __init__(self, last=None):
        self.last = last
        self.writes = memoryview(mmap.mmap(-1, 8)).cast("q")  # how many there were; shared with the process to come

    def install(self, folder):
        """In the process that is to write: what opens a file opens one of ours."""
        real, disk = io.open, self

        class File(io.FileIO):
            def write(self, data):
                disk.writes[0] += 1
                if disk.last and disk.writes[0] >= disk.last:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return super().write(data)

            def fileno(self):  # else numpy and PIL write past this
                raise io.UnsupportedOperation("fileno")

        def opened(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, **more):
            writes = isinstance(mode, str) and set("wax+") & set(mode)
            ours = writes and isinstance(file, (str, Path)) and Path(file).resolve().is_relative_to(folder)
            if not ours:
                return real(file, mode, buffering, encoding, errors, newline, **more)
            raw = File(str(file), mode.replace("b", "").replace("t", ""))
            buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

        builtins.open = io.open = opened


# ------------------------------------------------------------------ what is interrupted


def interrupt_all(out, args, bar):
    """A row for each job that is killed, and for each that finds the disk full."""
    jobs = []
    for job in JOBS if args.kills or args.full else ():
        jobs.append((job, *uninterrupted(job, out / "jobs" / re.sub(r"\W+", "_", job.name), out / "corpus")))
    shares = [len(part) for part in np.array_split(np.arange(args.kills), len(JOBS))]
    for number, ((job, folder, seconds, _), kills) in enumerate(zip(jobs, shares, strict=False)):
        yield kill(job, folder, seconds, kills, np.random.default_rng([args.seed, number]), bar)
    one_process = [each for each in jobs if "two workers" not in each[0].name]
    shares = [len(part) for part in np.array_split(np.arange(args.full), len(one_process) or 1)]
    for (job, folder, _, writes), runs in zip(one_process, shares, strict=False):
        yield fill(job, folder, writes, runs, bar)


def uninterrupted(job, folder, corpus):
    """Make ``folder``/before and ``folder``/after. Returns (folder, seconds it takes, how often it writes)."""
    work = folder / "work"
    shutil.copytree(corpus, work)
    for command in job.before:
        run_to_end(command, work)
    work.rename(folder / "before")
    disk, work = Disk(), fresh(folder)
    begin = time.monotonic()
    run_to_end(job.command, work, disk)
    seconds = time.monotonic() - begin
    work.rename(folder / "after")
    return folder, seconds, disk.writes[0]


def fresh(folder):
    """``folder``/work as it was before."""
    shutil.rmtree(folder / "work", ignore_errors=True)
    return shutil.copytree(folder / "before", folder / "work")


def run_to_end(command, work, disk=None):
    """Raises :class:`utils.UserError` where the script does not end well."""
    status = end_of(start(next_command(command, work), work, disk))
    if status != 0:
        raise utils.UserError(f"{command} ends with {status}: see {work}.log")


def next_command(command, work):
    """What a person would type next: training goes on where there is something to go on from."""
    experiments = sorted(work.glob("exp/*/checkpoint.pth"))
    name = experiments[-1].parent.name if experiments else "ID"
    if "train_simsiam" in command and experiments:
        return f"train_simsiam.py --resume {name} --device cpu"
    return command.replace("ID", name)


def kill(job, folder, seconds, kills, chance, bar):
    """Up to three kills in a row at moments of the run, then a run to the end, until there were so many kills."""
    done, faults, lost, slowest = 0, [], 0, 0.0
    while done < kills:
        work, said = fresh(folder), []
        for _ in range(min(kills - done, chance.integers(1, 4))):
            sent = signal.SIGTERM if chance.random() < 0.25 else signal.SIGKILL
            process = start(next_command(job.command, work), work)
            time.sleep(chance.uniform(0, seconds))
            begin, _ = time.monotonic(), os.kill(process, sent)
            status = end_of(process, SECONDS)
            slowest = max(slowest, time.monotonic() - begin)
            hit = status != 0  # it had not ended by itself
            done += hit
            bar.update(hit)
            if status not in (0, 143, -signal.SIGTERM, -signal.SIGKILL):
                said.append(f"{sent.name} ends it with {status}")
            said += [f"{file} is broken" for file in unreadable(work)]
        said, gone = finish(job, folder, said)
        lost += gone
        faults += [f"kill {done}: {each}" for each in said]
    return Row(f"{job.name}: killed, run again", kills, faults, lost, slowest)


def fill(job, folder, writes, runs, bar):
    """The same with a disk that is full from a write on, spread evenly over all writes of the run."""
    faults, lost, slowest = [], 0, 0.0
    for last in np.linspace(1, writes, runs).astype(int):
        work, begin = fresh(folder), time.monotonic()
        status = end_of(start(next_command(job.command, work), work, Disk(last)))
        slowest = max(slowest, time.monotonic() - begin)
        lines = Path(f"{work}.log").read_text().splitlines() or [""]
        drawn = status == 0 and any(line.startswith("WARNING: ") for line in lines)  # a picture is not worth a result
        fine = drawn or (status == 2 and lines[-1].startswith("error: "))
        said = [] if fine else [f"it ends with {status} and {lines[-1]!r}"]
        said, gone = finish(job, folder, said + [f"{file} is broken" for file in unreadable(work)])
        lost += gone
        faults += [f"write {last} of {writes}: {each}" for each in said]
        bar.update()
    return Row(f"{job.name}: disk full, run again", runs, faults, lost, slowest)


def finish(job, folder, said):
    """Run the job in ``folder``/work to its end. Returns (what is wrong, as one sentence or none, bytes lost).

    Where something is wrong, the work is kept.
    """
    work = folder / "work"
    try:
        run_to_end(job.command, work)
    except utils.UserError as error:
        said = [*said, str(error)]
    left = [*work.rglob(".*.tmp*"), *work.rglob(".*.replaced"), *work.rglob(".*.lock")]
    gone = differences(work, folder / "after")
    said += [f"{file.relative_to(work)} is left" for file in left]
    said += [f"{name} is not that of an uninterrupted run" for name in gone]
    if not said:
        return [], 0
    place = next(place for n in itertools.count() if not (place := folder / f"failed_{n}").exists())
    shutil.copytree(work, place)
    shutil.copy(f"{work}.log", f"{place}.log")
    return [f"{'; '.join(said)} (see {place})"], sum(gone.values())


def unreadable(work):
    """Files that have their own name, and so must be whole, but cannot be read."""
    readers = {".npy": utils.load_array, ".json": utils.read_json, ".pth": utils.load_weights, ".csv": pd.read_csv}
    for file in work.rglob("*.*"):
        if file.suffix in readers and not file.name.startswith(".") and "fma_metadata" not in file.parts:
            try:
                readers[file.suffix](file)
            except Exception:
                yield file.relative_to(work)


def differences(work, after):
    """{name: bytes} of what an uninterrupted run has left and is missing here, or is another here."""
    kept, found = contents(after), contents(work)
    lost = {name: len(next(iter(values))) for name, values in kept.items() if found.get(name) != values}
    return {**lost, **dict.fromkeys(found.keys() - kept.keys(), 0)}


def contents(folder):
    """{name: set of bytes} of what must be the same in two runs; the number of a run is no part of a name."""
    found = collections.defaultdict(set)
    for file in sorted(folder.rglob("*.*")):
        kept = file.parent.parent.name == "features"  # which may be missing, and are named by the times of arrays
        if file.suffix in (".npy", ".json", ".csv", ".pth", ".mp3") and not file.name.startswith(".") and not kept:
            name = re.sub(r"^exp/\d{6}/", "exp/ID/", file.relative_to(folder).as_posix())
            found[re.sub(r"(linear|mlp)_\d+/", r"\1/", name)].add(comparable(file))
    return dict(found)


def comparable(file):
    """The bytes of a file without times; of a checkpoint its networks."""
    if file.name == "checkpoint.pth":
        buffer = io.BytesIO()
        state = utils.load_weights(file)
        torch.save([state["method"], state["optimiser"]], buffer)
        return buffer.getvalue()
    if file.name in ("configuration.json", "result.json"):
        content = {name: value for name, value in utils.read_json(file).items() if name not in TIMES}
        return json.dumps(content).encode()
    if file.name in ("train_log.csv", "transfer_log.csv"):
        table = tables.read(file, dtype=str)
        return table.drop(columns=[name for name in table if name in TIMES]).to_csv().encode()
    return file.read_bytes()


# ------------------------------------------------------------------ what is damaged


def mutated(content, chance):
    """The bytes of a file with bits flipped, parts cut out or put in, cut off, or a value of JSON exchanged."""
    if content.startswith(b"{") and chance.random() < 0.5:
        return exchanged(content, chance)
    changed = bytearray(content)
    for _ in range(chance.integers(1, 4)):
        place, kind = int(chance.integers(len(changed) + 1)), int(chance.integers(4))
        if kind == 0 and place < len(changed):
            changed[place] ^= 1 << int(chance.integers(8))
        elif kind == 1:
            del changed[place : place + int(chance.integers(1, 30))]
        elif kind == 2:
            del changed[place:]
        else:
            put = [b"\0", b"-", b"9", b"9" * 30, b",", b"\n", b'"', b"[" * 2000, b"NaN", b"\xff,"]
            changed[place:place] = put[int(chance.integers(len(put)))]
    return bytes(changed)


def exchanged(content, chance):
    """JSON with one value, at any depth, exchanged for another kind of value."""
    tree = json.loads(content)
    branch, key = tree, None
    while key is None or (isinstance(branch[key], (dict, list)) and branch[key] and chance.random() < 0.8):
        branch = tree if key is None else branch[key]
        key = list(branch)[chance.integers(len(branch))] if isinstance(branch, dict) else chance.integers(len(branch))
    branch[key] = [None, "x", -1, 0, [], {}, True, 1e308, [1], {"a": 1}][chance.integers(10)]
    return json.dumps(tree).encode()


def reweighted(content, chance):
    """A weight file that is whole and right in itself, with one bit of one weight flipped."""
    state = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    names = [name for name, value in state.items() if value.dtype == torch.float32 and value.numel()]
    weights = state[names[chance.integers(len(names))]].view(torch.int32)  # in place, however it lies in memory
    weights[np.unravel_index(chance.integers(weights.numel()), weights.shape)] ^= 1 << int(chance.integers(31))
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


class Kind(NamedTuple):
    """A file, the scripts that read it, and what damages it; ``wrong``: which answers of damaged files are faults."""

    name: str
    file: str
    commands: tuple
    damage: object = mutated
    wrong: str = "none"


def make_files(folder, corpus):
    """A folder with a file of every kind that is read. Returns the :class:`Kind`\\ s."""
    shutil.copytree(corpus, folder)
    for command in (ALONE, TRAIN, f"{LINEAR} --protocol mlp --num_epochs 2"):
        run_to_end(command, folder)
    songs, arrays = sorted(folder.glob("data/fma_small/*/*.mp3"))[:3], sorted(folder.glob("data/*_npy/*/*.npy"))
    sound, rate = soundfile.read(songs[0])
    for suffix in ("wav", "flac", "mp3"):
        (folder / suffix / "rock").mkdir(parents=True)
        soundfile.write(folder / suffix / "rock" / f"a.{suffix}", sound[: rate // 2], rate)
    (folder / "songs" / "rock").mkdir(parents=True)
    for song in songs:
        shutil.copy(song, folder / "songs" / song.name)
        shutil.copy(song, folder / "songs" / "rock")
    names = [song.stem for song in songs]
    np.savez(folder / "v.npz", track_id=names, genre_top=["a", "b", "b"], embeddings=np.ones((3, 4), np.float32))
    for name, columns in (("splits", "track_id,split"), ("metadata", "track_id,track_genre")):
        values = zip(names, ("training", "validation", "test"), strict=True)
        utils.write_text(folder / f"{name}.csv", "\n".join([columns, *(",".join(each) for each in values), ""]))
    shutil.copy(folder / "data/fma_small_npy/tracks.csv", folder / "truth.csv")
    return kinds_of(next(folder.glob("exp/*")).name, arrays[0].relative_to(folder))


def kinds_of(name, array):
    check, index = "preprocessing.py --check --size small", ("tracks.csv", "made_from.csv", "failed.csv")
    own = "preprocessing.py --dataset own --n_mels 32 --hop_length 2205 --min_seconds 0.1 --workers 1 --source"
    predict = f"predict.py --exp_path {name} --device cpu {array}"
    resume = f"train_simsiam.py --resume {name} --device cpu"
    compare, made, exp = f"compare.py {name} --html", "data/fma_small_npy", f"exp/{name}"
    return [
        *(Kind(kind, f"{kind}/rock/a.{kind}", (f"{own} {kind}",)) for kind in ("wav", "flac", "mp3")),
        Kind("npy", str(array), (predict, check, ALONE)),
        Kind("npz", "v.npz", ("preprocessing.py --dataset v --features embeddings --source v.npz --overwrite",)),
        *(Kind(file, f"{made}/{file}", (check, ALONE)) for file in (*index, "spectrogram.json")),
        Kind("--splits", "splits.csv", (f"{own} songs --splits splits.csv",)),
        Kind("--metadata", "metadata.csv", (f"{own} songs --metadata metadata.csv",)),
        Kind("--truth", "truth.csv", (f"{predict} --truth truth.csv",)),
        Kind("configuration.json", f"{exp}/configuration.json", (predict, compare)),
        Kind("train_log.csv", f"{exp}/train_log.csv", (compare,)),
        Kind("result.json", f"{exp}/fma_small_mlp/result.json", (predict, compare)),
        Kind("predictions.csv", f"{exp}/fma_small_mlp/predictions.csv", (compare,)),
        Kind("pre.pth", f"{exp}/pre.pth", (predict,), wrong="other"),
        Kind("transfer.pth", f"{exp}/fma_small_mlp/transfer.pth", (predict,), wrong="other"),
        Kind("checkpoint.pth", f"{exp}/checkpoint.pth", (resume, predict), wrong="other"),
        Kind("pre.pth, saved again", f"{exp}/pre.pth", (predict,), reweighted, "any"),
        Kind("transfer.pth, saved again", f"{exp}/fma_small_mlp/transfer.pth", (predict,), reweighted, "any"),
    ]  # fmt: skip


def damage_all(out, args, bar):
    """A row for each kind of file."""
    if not args.mutations:
        return
    kinds = make_files(out / "files", out / "corpus")
    shares = [len(part) for part in np.array_split(np.arange(args.mutations), len(kinds))]
    for number, (kind, count) in enumerate(zip(kinds, shares, strict=True)):
        yield damage(kind, out / "files", [[args.seed, number, case] for case in range(count)], bar)


def damage(kind, folder, seeds, bar):
    """Damage a file once for each seed, in processes of their own: one that is ended takes no other case with it."""
    faults, slowest, most, todo = [], 0.0, 0, collections.deque(seeds)
    while todo:
        end, other = os.pipe()
        sys.stdout.flush()
        process = os.fork()
        if not process:
            os.close(end)
            attack(kind, folder, list(todo), other)
        os.close(other)
        with open(end) as pipe:
            for said, seconds, memory in map(json.loads, pipe):
                seed, slowest, most = todo.popleft(), max(slowest, seconds), max(most, memory)
                faults += [f"case {seed}: {said}"] if said else []
                bar.update()
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        if todo:
            faults.append(f"case {todo.popleft()}: the process ended with {status} (-14: after {SECONDS} s)")
            bar.update()
    return Row(f"{kind.name}: damaged, read", len(seeds), faults, None, slowest, most)


def attack(kind, folder, seeds, pipe):
    """In a process of its own: what is wrong with each case, its seconds and bytes, as lines of JSON to a pipe."""
    try:
        os.chdir(folder)
        for number in (1, 2):  # libraries in C talk there
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
        kept = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
        whole = [answer(command) for command in kind.commands]
        usual = memory_used()
        for seed in seeds:
            restore(kept)
            signal.alarm(SECONDS)
            Path(kind.file).write_bytes(kind.damage(kept[Path(kind.file)], np.random.default_rng(seed)))
            begin = time.monotonic()
            pairs = zip(map(answer, kind.commands), whole, strict=True)
            said = [what_is_wrong(found, right, kind.wrong) for found, right in pairs]
            signal.alarm(0)
            line = [next(filter(None, said), None), time.monotonic() - begin, memory_used() - usual]
            os.write(pipe, (json.dumps(line) + "\n").encode())
        restore(kept)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def memory_used():
    """The most bytes that this process has used until now."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def restore(kept):
    for path, content in kept.items():
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)


def answer(command):
    """(exit status or the name of an exception, stdout, stderr) of a script, run here."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = run_script(command)
        except BaseException as error:
            status = f"{type(error).__name__}: {str(error)[:200]}"
    return status, out.getvalue(), err.getvalue()


def what_is_wrong(found, right, wrong):
    """A sentence, or None: an answer is fine, and so is one line that says what is wrong with the file."""
    status, out, err = found
    if status == 2:
        fine = err.startswith("error: ") and err.count("\n") == 1 and "out of memory" not in err
        return None if fine else f"it says {err[-200:]!r}"
    if status != 0:
        return f"it ends with {status}"
    if wrong == "any" or (wrong == "other" and out != right[1]):
        return "it answers, with weights that are not those of the result"
    return None


if __name__ == "__main__":
    utils.run(main, get_args_parser())
