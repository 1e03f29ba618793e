"""Measure how long every script takes to explain itself, and to begin.

    python -m benchmarks.start    seconds of --help for each, the best of two; prints Markdown

And, of those that work for long, until their first progress bar, on a made-up folder of 512 tracks of 30 s.
"""

import os
import pty
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

import utils

ROOT = Path(__file__).parent.parent
TARGET, BAR_TARGET = 1.5, 6  # seconds
TRACKS = 512
LONG = (  # what works for long: its flags, behind those of the folder
    "train_simsiam.py --num_epochs 1",
    "train_simsiam.py --num_epochs 1 --backbone resnet18",
    "transfer.py --protocol linear --baseline random --backbone frames",
    "transfer.py --protocol linear --baseline kmeans",
    "transfer.py --protocol scratch --backbone frames --num_epochs 1",
)


def get_args_parser():
    parser = utils.script_parser(__doc__)
    parser.add_argument("--rounds", type=utils.count, default=2, help="times that each is started")
    return parser


if __name__ == "__main__":  # --help and wrong flags are answered before what takes seconds to import
    utils.answer_first(get_args_parser())

from benchmarks.made_up import write_folder


def main(args):
    best = f"best of {args.rounds}"
    print(f"| start | s of --help, {best} | target |\n|---|---:|---:|")
    for command in commands():
        seconds = min(seconds_of([*command, "--help"]) for _ in range(args.rounds))
        print(f"| `python {' '.join(command)}` | {seconds:.2f} | ≤ {TARGET:g} |", flush=True)
    print(f"\n| start | s until the first bar, {best} | target |\n|---|---:|---:|")
    with tempfile.TemporaryDirectory() as work:
        folder = write_folder(Path(work), 128, TRACKS)
        for command in LONG:
            flags = ["--data_dir", work, "--exp_dir", f"{work}/exp", "--dataset", folder.dataset]
            seconds = min(seconds_to_bar([*command.split(), *flags]) for _ in range(args.rounds))
            print(f"| `python {command}` | {seconds:.1f} | ≤ {BAR_TARGET:g} |", flush=True)


def commands():
    """What follows ``python`` for every script, and every module of ours that is run by ``-m``."""
    scripts = [[path.name] for path in sorted(ROOT.glob("*.py")) if has_parser(path)]
    rooms = [path for room in ("benchmarks", "data") for path in sorted((ROOT / room).glob("*.py"))]
    return scripts + [["-m", f"{path.parent.name}.{path.stem}"] for path in rooms if has_parser(path)]


def has_parser(path):
    return "\ndef get_args_parser(" in path.read_text(encoding="utf-8")


def seconds_of(command):
    """Of one start. Raises :class:`utils.UserError` where it fails."""
    begin = time.perf_counter()
    ended = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
    if ended.returncode:
        raise utils.UserError(f"{' '.join(command)} ends with {ended.returncode}: {ended.stderr.strip()[-200:]}")
    return time.perf_counter() - begin


def seconds_to_bar(command):
    """Until a bar moves on the terminal that the script believes to have; it is ended then.

    Raises :class:`utils.UserError` where none comes.
    """
    ours, its = pty.openpty()
    termios.tcsetwinsize(its, (24, 80))  # of none at all, a bar has no room
    begin = time.perf_counter()
    script = subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=its)
    os.close(its)
    seen = b""
    try:
        while b"%|" not in seen:
            seen += os.read(ours, 4096)  # ends with an OSError where the script has
        return time.perf_counter() - begin
    except OSError:
        last = seen.decode(errors="replace")[-200:]
        raise utils.UserError(f"{' '.join(command)} ends without a bar: {last}") from None
    finally:
        script.kill()
        script.wait()
        os.close(ours)


if __name__ == "__main__":
    utils.run(main, get_args_parser())
