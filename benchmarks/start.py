"""Measure how long every script takes to explain itself.

    python -m benchmarks.start    seconds of --help for each, the best of two; prints Markdown
"""

import subprocess
import sys
import time
from pathlib import Path

import utils

ROOT = Path(__file__).parent.parent
TARGET = 1.5  # seconds


def get_args_parser():
    parser = utils.script_parser(__doc__)
    parser.add_argument("--rounds", type=utils.count, default=2, help="times that each is started")
    return parser


def main(args):
    print("| start | s of --help | target |\n|---|---:|---:|")
    for command in commands():
        seconds = min(seconds_of([*command, "--help"]) for _ in range(args.rounds))
        print(f"| `python {' '.join(command)}` | {seconds:.2f} | ≤ {TARGET:g} |", flush=True)


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


if __name__ == "__main__":
    utils.run(main, get_args_parser())
