"""Small things every script needs: errors, flags, seeds, devices, files that are never half-written, experiments.

Imports nothing of ours.
"""

import argparse
import atexit
import contextlib
import csv
import difflib
import gc
import hashlib
import importlib.util
import json
import math
import os
import random
import re
import secrets
import select
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
from tqdm import tqdm


def lazily(name):
    """The module ``name``, imported when something of it is first asked for.

    ``--help`` must not wait for torch: what stands above the parsers says so in place of ``import torch``.
    """
    if name not in sys.modules:
        spec = importlib.util.find_spec(name)
        spec.loader = importlib.util.LazyLoader(spec.loader)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


torch = lazily("torch")

MOST = 1_000_000_000  # of anything that a flag counts: above it, products of two overflow 64 bits
HOUR = 3600
DATA_DIR = "data"  # where --data_dir is when nobody says it
SHIPPED = Path(__file__).parent / "pretrained" / "fma_small_coarse"  # an experiment folder; its CARD.md says more
_ONE_AT_A_TIME = threading.Lock()
OF_EXPERIMENTS = ("--resume", "--exp_path", "--exp_dir")
UNWRITABLE = r"[\x00-\x1f\x7f\ud800-\udfff]"  # in a name: line breaks and their like, and bytes that are no UTF-8
CALLED = "SIAMUSIC_CALLED"  # in the environment of a script that another one runs
OWNER = r"process (\d+) on (.*)"  # what a lock holds


class UserError(Exception):
    """Something the person at the keyboard can put right; the message is the one sentence that says how."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, as ``kill`` and batch systems send it: it ends a run as Ctrl-C does."""


class Flags:
    """The flags of a run with every default filled in, once: nothing changes them any more. ``vars`` gives a dict."""

    def __init__(self, **values):
        self.__dict__.update(values)

    def but(self, **changes):
        """The same flags with some changed: what depends on the data is resolved when that is known."""
        return Flags(**{**vars(self), **changes})

    def __setattr__(self, name, value):
        raise AttributeError(f"{name} is resolved: flags do not change")

    def __delattr__(self, name):
        raise AttributeError(f"{name} is resolved: flags do not change")


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the layout of the description and shows every default that is worth showing."""

    def __init__(self, prog):
        super().__init__(prog, max_help_position=28, width=min(110, shutil.get_terminal_size().columns))

    def _get_help_string(self, action):
        if action.default is None or action.default is False or action.default == []:
            return action.help
        return super()._get_help_string(action)


class ScriptParser(argparse.ArgumentParser):
    """It says what is wrong in one sentence, as everything here does, without the usage of all flags."""

    def error(self, message):
        known = [flag for action in self._actions for flag in action.option_strings]
        for word in re.findall(r"(--\w+)", message) if message.startswith("unrecognized") else ():
            near = difflib.get_close_matches(word, known, 1) or [flag for flag in known if flag.endswith(word[2:])]
            message += f"; did you mean {near[0]}?" if near else ""
        if wrong := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message):
            near = difflib.get_close_matches(wrong[1], re.findall(r"[\w.-]+", wrong[2]), 1)
            message += f"; did you mean {near[0]}?" if near else ""
        self.exit(2, f"error: {message} (--help explains every flag)\n")


def script_parser(doc):
    """An ArgumentParser whose description is the script's docstring."""
    return ScriptParser(description=textwrap.dedent(doc).strip(), formatter_class=HelpFormatter, allow_abbrev=False)


def answer_first(parser):
    """Answers --help and wrong flags. What is imported next makes a million objects that stay to the end: nobody
    looks among them for garbage, neither while there are more of them every moment nor when the program ends. Ctrl-C
    among the imports just ends it. :func:`run` puts both back."""
    parser.parse_args()
    gc.disable()
    atexit.register(gc.freeze)
    _if_handled_by(signal.default_int_handler, signal.SIG_DFL)


def _if_handled_by(one, other):
    """Ctrl-C is handled by ``other`` from now on, if by ``one`` until now: a background job may not hear it."""
    main_thread = threading.current_thread() is threading.main_thread()  # no other may say so
    if main_thread and signal.getsignal(signal.SIGINT) is one:
        signal.signal(signal.SIGINT, other)


def run(main, parser, argv=None):
    """Parse, run, and turn a :class:`UserError` or a lack of memory into one line and the exit status 2; Ctrl-C and
    SIGTERM, which end a run alike, into 130 and 143."""
    args = parser.parse_args(argv)
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
    _if_handled_by(signal.SIG_DFL, signal.default_int_handler)
    if os.environ.pop(CALLED, None):
        threading.Thread(target=_end_with_caller, daemon=True).start()
    try:
        with _terminable():
            done = main(args)
            if sys.stdout:  # it may be closed
                sys.stdout.flush()
            return done
    except UserError as error:
        line, status = f"error: {error}", 2
    except OSError as error:  # disk full, no permission …
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            sys.exit(128 + signal.SIGPIPE)
        line, status = f"error: {error}", 2
    except (MemoryError, RuntimeError) as error:
        if not _is_of_memory(error):
            raise
        line, status = "error: out of memory: ask for less, such as a smaller --batch_size", 2
    except KeyboardInterrupt as stop:
        number = signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT
        advice = " ".join(getattr(stop, "__notes__", [])) or "run the same command again"
        line, status = f"stopped: {advice}", 128 + number
    sys.exit(_say(line, status))  # out here, where the error has gone and a progress bar with it


@contextlib.contextmanager
def _terminable():
    """SIGTERM raises :class:`Terminated` while the block runs; after it there is nothing to tidy."""
    if threading.current_thread() is not threading.main_thread():  # which may not say what a signal does
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _terminate(number, frame):
    raise Terminated


def _end_with_caller():
    """The standard input of a script that was begun by :func:`call` ends when the caller does, however that ends."""
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _nobody_reads():
    """Whether who read what is printed has gone, as head does; then there is no need to say that it has."""
    try:
        number, asked = sys.stdout.fileno(), select.poll()
    except (AttributeError, OSError):  # it is closed, or no file, as in a notebook; or a system without poll
        return False
    asked.register(number, select.POLLOUT)
    gone = any(event & (select.POLLERR | select.POLLHUP) for _, event in asked.poll(0))
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)  # or Python complains of what is left to print
    return gone


def _is_of_memory(error):
    out = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    return out or "can't allocate memory" in str(error)  # as torch says it of the CPU's


def _say(line, status):
    with contextlib.suppress(BrokenPipeError):
        print(line, file=sys.stderr)
    return status


# ------------------------------------------------------------------ what a flag can be: the ``type`` of an argument


def count(text):
    """A whole number of at least 1. All of these raise argparse.ArgumentTypeError for what is out of range."""
    return _number(text, int, lambda n: 1 <= n <= MOST, f"a whole number from 1 to {MOST}")


def whole(text):
    """A whole number of at least 0."""
    return _number(text, int, lambda n: 0 <= n <= MOST, f"a whole number from 0 to {MOST}")


def positive(text):
    """A number above 0, such as a rate; with all that scales it, it fits into float32."""
    return _number(text, float, lambda x: 0 < x <= 1e30, "a number above 0 and at most 1e30")


def not_negative(text):
    """A number of at least 0, such as a weight; a rate times it still fits into float32."""
    return _number(text, float, lambda x: 0 <= x <= 1e6, "a number from 0 to 1000000")


def share(text):
    """A number from 0 to 1."""
    return _number(text, float, lambda x: 0 <= x <= 1, "a number from 0 to 1")


def part(text):
    """A share that leaves something: from 0 to below 1."""
    return _number(text, float, lambda x: 0 <= x < 1, "a number from 0 to below 1")


def fraction(text):
    """A share that is something: above 0 and at most 1."""
    return _number(text, float, lambda x: 0 < x <= 1, "a number above 0 and at most 1")


def seconds(text):
    """A length of audio."""
    return _number(text, float, lambda x: 0 < x <= HOUR, f"a number of seconds above 0 and at most {HOUR}")


def counts(text):
    """A comma list of whole numbers of at least 1, as a list."""
    return [count(one) for one in text.split(",")]


def parts(text):
    """A comma list of numbers from 0 to below 1, as a list."""
    return [part(one) for one in text.split(",")]


def fractions(text):
    """A comma list of numbers above 0 and at most 1, as a list."""
    return [fraction(one) for one in text.split(",")]


def precision_flags(group):
    """``--precision``, and its older forms, which experiments made before it hold."""
    either = group.add_mutually_exclusive_group()
    either.add_argument(
        "--precision", choices=["auto", "fp32", "bf16"], default="auto",
        help="auto: bfloat16 on a GPU, and on a CPU that has it where it is right and faster, for which a second is "
        "measured",
    )  # fmt: skip
    either.add_argument("--bf16", action=argparse.BooleanOptionalAction, help="short for --precision bf16 (or fp32)")


def flags(text):
    """Flags of another script as one text, which ``shlex.split`` takes apart; not those that the caller gives."""
    given = dict.fromkeys(("--dataset", "--data_dir", "--seed"), "this command has such a flag itself")
    return without(text, {**dict.fromkeys(OF_EXPERIMENTS, "this command makes the experiments itself"), **given})


def genre_flags(text):
    """:func:`flags` of transfer.py where its accuracy is wanted, which results of tags have none of."""
    return without(flags(text), {"--labels": "it judges by tags, which have no accuracy"})


def row_flags(text):
    """:func:`genre_flags` of a table whose rows are protocols, shares of the labels and seeds."""
    own = ("--protocol", "--baseline", "--label_fraction", "--train_split", "--test_split", "--refit", "--num_seeds")
    return without(genre_flags(text), dict.fromkeys((*own, "--device"), "the table's rows and flags say it"))


def validation_flags(text):
    """:func:`genre_flags` where validation tracks are to judge."""
    why = "runs are compared on validation tracks"
    return without(genre_flags(text), dict.fromkeys(("--test_split", "--train_split", "--refit"), why))


def without(text, refused):
    """``text``, unless a word of it is one of the flags {refused: why}, or short for it."""
    try:
        words = [word.split("=")[0] for word in shlex.split(text)]
    except ValueError as error:  # a quotation mark without the other
        raise argparse.ArgumentTypeError(f"{text!r} is no text of flags: {str(error).lower()}") from None
    for flag, why in refused.items():
        if any(len(word) > 4 and flag.startswith(word) for word in words):
            raise argparse.ArgumentTypeError(f"leave out {flag}: {why}")
    return text


def device(name):
    """``auto``, ``cpu``, or an accelerator that torch sees, such as ``cuda`` or ``cuda:1``: its name."""
    if name in ("auto", "cpu"):  # the default, too, of which torch need not be asked
        return name
    try:
        wanted = pick_device(name)
    except RuntimeError:
        raise argparse.ArgumentTypeError(f"{name!r} is not a device: use auto, cpu or cuda") from None
    there = torch.accelerator.current_accelerator(check_available=True)
    seen = there is not None and there.type == wanted.type and (wanted.index or 0) < torch.accelerator.device_count()
    if not seen:
        raise argparse.ArgumentTypeError(f"torch sees no {name!r} here: use cpu or auto")
    return name


def _number(text, kind, fits, what):
    try:
        number = kind(text)
    except ValueError:
        number = None
    if number is None or not fits(number):
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
    return number


# ------------------------------------------------------------------ chance and devices


def set_seed(seed, epoch=0):
    """Seed torch, CPU and GPU, the only source of chance in training.

    Each epoch draws from its own seed, so a resumed run repeats an uninterrupted one exactly.
    """
    torch.manual_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0]))


def chance_state():
    """Where torch's generators stand, as tensors: the CPU's, and each GPU's."""
    return [torch.get_rng_state(), *torch.cuda.get_rng_state_all()]


def restore_chance(states):
    """Put the generators back to :func:`chance_state`; GPUs that are not here are left out."""
    torch.set_rng_state(states[0].cpu())
    for number, state in enumerate(states[1 : 1 + torch.cuda.device_count()]):
        torch.cuda.set_rng_state(state.cpu(), number)


def pick_device(name):
    """``auto`` → the GPU when there is one, else the CPU; else that, which :func:`device` has found to be there.

    float32 means float32 from then on: cuDNN would round it to TensorFloat-32's ten bits. bfloat16 is for speed.
    """
    torch.backends.cudnn.allow_tf32 = False
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def autocast(device, bf16):
    """bfloat16 autocast if ``bf16``."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16)


def to_device(x, device):
    """``x`` on ``device``, without waiting: a copy from pageable memory to a GPU waits for all that it has to do."""
    if device.type == "cuda" and not x.is_cuda:
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)


def cosine_schedule(step, num_steps, warmup_steps=0):
    """Factor on the base learning rate: linear warm-up, then half a cosine (Loshchilov & Hutter 2017)."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, num_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * progress))


def progress(iterable=None, **options):
    """A tqdm bar; in a log file, where a bar cannot move, a line every half minute."""
    seen = sys.stderr is not None and sys.stderr.isatty()
    every = 0.1 if seen else 30
    options["disable"] = options.get("disable", False) or sys.stderr is None  # closed
    options |= {"mininterval": every, "maxinterval": max(10, every), "delay": 0 if seen else every}
    return tqdm(iterable, leave=False, **options)


def check_name(flag, name):
    """Raises :class:`UserError` where a name that becomes part of a folder's is a path."""
    if name.startswith(".") or {"/", "\\", "\0"} & set(name):
        raise UserError(f"{flag} {name} is a name, not a path")


# ------------------------------------------------------------------ memory


def free_memory():
    """Bytes that can still be had, roughly: on Linux what is available, elsewhere all there is, or 4 GB.

    The processes that torchrun began on this machine share it equally.
    """
    sharing = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) * 1024 // sharing
    except (OSError, StopIteration):  # not Linux
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // sharing
    except (AttributeError, ValueError, OSError):  # not told on this system
        return 4 * 2**30 // sharing


def check_memory(num_bytes, what):
    """Raises :class:`UserError` before ``what`` is made, where its ``num_bytes`` cannot fit."""
    free = free_memory()
    if num_bytes > free:
        raise UserError(f"{what} would need about {num_bytes / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free")


def check_weights(build, what):
    """The same before a network is trained; ``build()`` makes it, here without its weights.

    Each weight needs three others: its gradient, and the two averages of AdamW.
    """
    with torch.device("meta"):
        weights = sum(parameter.nbytes for parameter in build().parameters())
    check_memory(4 * weights, what)


# ------------------------------------------------------------------ files


@contextlib.contextmanager
def atomic_path(path):
    """A temporary path beside ``path`` that becomes ``path`` when the block ends well, or vanishes.

    Its name holds the host and the process, for :func:`sweep`. A link is replaced, not what it leads to. Raises
    :class:`UserError` where ``path`` is there and no file: a folder, or a device as /dev/null.
    """
    path = Path(path)
    if not path.name or (path.exists() and not path.is_file()):
        raise UserError(f"'{path}' cannot be written as a file: name another one")
    path.parent.mkdir(parents=True, exist_ok=True)
    owner = f"{socket.gethostname()}.{os.getpid()}"
    temporary = path.with_name(f".{owner}.{secrets.token_hex(4)}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(folder, size=0):
    """Raises :class:`UserError` where no file of ``size`` bytes can be written into ``folder``, there or to come."""
    folder = Path(folder)
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        raise UserError(f"nothing can be written into {folder}: {error.strerror}") from None
    if free < size:
        raise UserError(f"{folder} has room for {free / 1e6:.1f} MB, {size / 1e6:.1f} are needed: make room")


def sweep(folder):
    """Remove the temporary files that killed processes of this host have left below ``folder``; name all others."""
    left = []
    for file in sorted(Path(folder).rglob(".*.tmp*")):
        found = re.match(r"\.(.+)\.(\d+)\.[0-9a-f]{8}\.tmp", file.name)
        if found and found[1] == socket.gethostname() and not _is_running(int(found[2])):
            file.unlink(missing_ok=True)
        else:
            left.append(file)
    if left:
        print(f"{len(left)} unfinished files, such as {left[0]}: remove them if nobody is writing them")


def _is_running(process):
    if os.name != "posix":  # where signal 0 is no question
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


@contextlib.contextmanager
def locked(path):
    """While the block runs, ``path`` (a folder or a file, there or not) is written by this process alone.

    The lock is on the file ``.<name>.lock`` beside it, which names the process. The operating system takes it back
    when the process ends, however it ends: one that is left is stale, and is taken over.
    Raises :class:`UserError` where another process has it, or something else has its name.
    """
    file = _lock_of(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = _lock(file)
    try:
        os.ftruncate(lock, 0)
        os.lseek(lock, 0, os.SEEK_SET)
        os.write(lock, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        with contextlib.suppress(OSError):
            if os.path.samestat(os.lstat(file), os.fstat(lock)):
                file.unlink()  # while it is still locked
        os.close(lock)


def _lock_of(path):
    path = Path(path).resolve()
    if not path.name:
        raise UserError(f"{path} is no folder to write into: name one inside it")
    return path.with_name(f".{path.name}.lock")


def _lock(file):
    """An open descriptor of ``file``, which it makes and locks. Raises :class:`UserError` where that is taken."""
    while True:
        lock, owner = _open_lock(file)
        try:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            owner = owner or "another process"
            raise UserError(f"{owner} works on the same ({file}): wait until it has ended") from None
        except (ImportError, OSError):  # a system without locks, or a file system
            return lock
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.lstat(file), os.fstat(lock)):
                return lock
        os.close(lock)  # of a file that its process has just removed: make a new one


def _open_lock(file):
    """An open descriptor of ``file``, made where there is none, and the text in it.

    Raises :class:`UserError` for what is no lock, which must not be written: a link, a pipe, a file of other text.
    """
    none = UserError(f"{file} has the name of a lock, but is none: move it away")
    if file.is_symlink() or (file.exists() and not file.is_file()):
        raise none
    lock = os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    text = os.read(lock, 1000).decode(errors="replace")
    if text and not re.fullmatch(OWNER, text):
        os.close(lock)
        raise none
    return lock, text


def is_locked(path):
    """Whether another process works on ``path``, as far as its lock says."""
    return _lock_of(path).exists() and not was_killed(path)


def was_killed(path):
    """Whether the process that had ``path`` :func:`locked` is certainly gone: its lock alone is left."""
    file = _lock_of(path)
    owner = re.fullmatch(OWNER, file.read_text(errors="replace")) if file.is_file() else None
    if not owner or owner[2] != socket.gethostname() or _is_running(int(owner[1])):
        return False
    with contextlib.suppress(UserError):  # where it is one of a container, whose processes have other numbers
        os.close(_lock(file))
        return True
    return False


def remove_killed(folder, *results):
    """:func:`remove_without` for what :func:`was_killed`: nothing else is certain to be wanted by nobody."""
    if not was_killed(folder):
        return False
    with locked(folder):
        return remove_without(folder, *results)


def remove_without(folder, *results):
    """Remove a folder that holds none of ``results`` (patterns of files). Returns whether it is gone."""
    if not any(any(folder.glob(result)) for result in results):
        shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def write_text(path, text):
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path, content):
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path):
    """Raises :class:`UserError` when the file is missing or is not JSON."""
    try:
        check_file(path)
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except (ValueError, RecursionError) as error:  # brackets in brackets in brackets …
        raise UserError(f"{path} is not readable JSON ({error})") from None


def check_file(path):
    """Raises OSError for what is no file: to read a pipe may take forever."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(f"{path} is not a file")


def write_csv(path, columns, rows):
    """One line for each row, whatever the names in it: see :func:`printable`."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([printable(v) if isinstance(v, (str, Path)) else v for v in row] for row in rows)


def printable(name):
    """A name as text of one line: what is ``UNWRITABLE`` becomes an escape, as in ``a\\nb``."""
    return re.sub(UNWRITABLE, lambda found: found[0].encode("unicode_escape").decode(), str(name))


def load_array(path, mmap_mode=None):
    """The array in a .npy file. Raises OSError, ValueError or EOFError on what is none; unpickles nothing.

    One thread at a time: numpy reads headers by ``ast``, whose count of nested nodes CPython 3.11 shares between
    threads, and now and then it raises "SystemError: AST constructor recursion depth mismatch".
    """
    try:
        check_file(path)
        with _ONE_AT_A_TIME:
            if mmap_mode:
                return np.lib.format.open_memmap(path, mode=mmap_mode)
            with open(path, "rb") as file:  # np.load would open archives and pickles, too
                return np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise
    except Exception as error:  # a header is Python's own syntax: SyntaxError, TokenError, TypeError, MemoryError …
        raise ValueError(f"not an array: {type(error).__name__}") from None


def save_array(path, array):
    with atomic_path(path) as temporary:
        np.save(temporary, array, allow_pickle=False)


def digest(path):
    """The first 16 hexadecimal digits of a file's SHA-256. Raises :class:`UserError` when it is missing."""
    try:
        check_file(path)
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None


def save_weights(path, state):
    """The same state makes the same bytes. Raises :class:`UserError` where they cannot be written."""
    try:
        with atomic_path(path) as temporary, open(temporary, "wb") as file:  # torch.save writes a path's name into it
            torch.save(state, file)
    except RuntimeError as error:  # how torch says that a write came up short, or that it was stopped in one
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None
        raise UserError(f"{path} could not be written: is the disk full?") from None


def holds(path, state):
    """Whether a file is there that has just the tensors of a state dict in it."""
    try:
        there = load_weights(path) if Path(path).exists() else None
    except UserError:
        return False
    return (
        isinstance(there, dict) and there.keys() == state.keys()
        and all(_is_same(there[name], tensor) for name, tensor in state.items())
    )  # fmt: skip


def _is_same(a, b):
    return isinstance(a, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b.cpu())


def load_weights(path, device="cpu", mapped=False):
    """Tensors and plain containers only: nothing is unpickled. Raises :class:`UserError`.

    ``mapped`` tensors stay in the file until they are needed, where no copy of them has to be made.
    """
    try:
        check_file(path)
        with zipfile.ZipFile(path) as archive:  # torch writes check sums, but does not look at them
            damaged = archive.testzip()
        if not damaged:
            return torch.load(path, map_location=device, weights_only=True, mmap=mapped)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except Exception as error:
        raise UserError(f"{path} is not a readable weight file ({type(error).__name__})") from None
    raise UserError(f"{path} is damaged: its check sum is wrong")


# ------------------------------------------------------------------ experiments


def call(script, *flags, show=False):
    """Run another of our scripts and return its last line; ``show`` lets its output be seen. It ends with this one.

    Raises :class:`UserError` with the script's own last word.
    """
    command = [sys.executable, str(Path(__file__).parent / script), *map(str, flags)]
    lines = [""]
    if show:
        print(shlex.join(command[1:]), flush=True)
    with tempfile.TemporaryFile("w+") as errors, _leash() as leash:
        pipes = {"stdin": leash, "stdout": subprocess.PIPE, "stderr": None if show else errors}
        with subprocess.Popen(command, **pipes, env={**os.environ, CALLED: "1"}, text=True) as process:
            try:
                for line in process.stdout:
                    lines.append(line.rstrip("\r\n"))
                    if show:
                        print("   ", line, end="", flush=True)
            except KeyboardInterrupt:  # Ctrl-C in a terminal stops both; kill stops only this one
                process.terminate()
                raise
        errors.seek(0)
        said = errors.read().strip().splitlines() or ["see above"]
    if process.returncode:
        raise UserError(f"{script} failed ({said[-1]}); run again to go on from there")
    return lines[-1]


@contextlib.contextmanager
def _leash():
    """The end of a pipe in which nothing comes, and whose other end closes when this process ends."""
    read, write = os.pipe()
    try:
        yield read
    finally:
        os.close(read)
        os.close(write)


def keep_settings(path, settings, later=()):
    """Write the settings that the runs of a folder share, or raise :class:`UserError` if others are there already.

    Where there are no runs, because the first could not begin, there is nothing to keep; a table of runs whose
    settings are gone is of nobody knows what. ``later``: names that older files may lack.
    """
    begun = any(not file.name.startswith(".") for file in path.parent.glob("*") if file != path)
    if not path.exists() and any(path.parent.glob("*.csv")):
        what = f"has a table, and no {path.name} that says of which flags"
        raise UserError(f"{path.parent} {what}: choose another --out")
    there = read_json(path) if path.exists() else settings
    if not isinstance(there, dict) or not set(there) <= set(settings):
        raise UserError(f"{path} does not hold the settings of runs: choose another --out")
    there = {**{name: settings[name] for name in later}, **there} if begun else settings
    differing = [name for name in settings if there.get(name) != settings[name]]
    if differing:
        changes = ", ".join(f"{name} {there.get(name)} → {settings[name]}" for name in differing)
        raise UserError(f"{path.parent} holds runs with other flags ({changes}): choose another --out")
    write_json(path, settings)


def new_experiment(exp_dir):
    """Make and return ``exp_dir/<six digits>``, an id that nobody has."""
    digits = random.SystemRandom()
    while True:
        folder = Path(exp_dir) / f"{digits.randrange(100_000, 1_000_000)}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder


def find_experiment(exp_path, exp_dir="exp"):
    """The folder of an experiment given by its id (under ``exp_dir``) or by its path.

    Raises :class:`UserError` naming the experiments that exist.
    """
    for folder in (Path(exp_dir) / exp_path, Path(exp_path)):
        if (folder / "configuration.json").is_file():
            return folder
    if (Path(exp_path).parent / "configuration.json").is_file() and Path(exp_path).is_dir():
        raise UserError(f"{exp_path} is a folder inside the experiment {Path(exp_path).parent}: name that one")
    known = sorted((f.parent.name for f in Path(exp_dir).glob("*/configuration.json")), reverse=True)
    there = ", ".join(known[:20]) + (" …" if len(known) > 20 else "") if known else "none yet"
    raise UserError(f"no experiment '{exp_path}' under {Path(exp_dir).absolute()}; there are: {there}")


def read_configuration(folder):
    """The content of an experiment's configuration.json, a dict of dicts. Raises :class:`UserError`."""
    file = Path(folder) / "configuration.json"
    content = read_json(file)
    parts = ("flags", "spectrogram", "versions")
    if not isinstance(content, dict) or not all(isinstance(content.get(part, {}), dict) for part in parts):
        raise UserError(f"{file} is not the configuration of an experiment")
    return content


def is_experiment(exp_path, exp_dir="exp"):
    """Whether there is an experiment of this id or at this path."""
    return any((folder / "configuration.json").is_file() for folder in (Path(exp_dir) / exp_path, Path(exp_path)))


def versions():
    """What a result depends on: the command, the versions, the git commit of this suite."""
    import importlib.metadata
    import platform

    root = Path(__file__).parent
    git = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = None
    return {
        "command": " ".join(sys.argv),
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "git_commit": commit,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": importlib.metadata.version("torchvision"),  # to import it takes seconds
        "numpy": np.__version__,
    }
