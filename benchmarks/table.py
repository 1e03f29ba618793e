"""Every benchmark of speed and memory, in one table: ``make benchmark``.

    python -m benchmarks.table                      all of them, in under ten minutes on two cores
    python -m benchmarks.table --only steps start   some of them

Prints Markdown, and writes it to exp/benchmark.md. The others that measure (``python -m benchmarks.NAME --help``) are
run one after the other; one that fails is named, and the rest go on.
"""

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import utils

ROOT = Path(__file__).parent.parent
BLOCKS = {  # name → its flags; the last one where there is a GPU, which the others leave alone
    "steps": ["--device", "cpu"], "probe": ["--device", "cpu"],
    "preprocess": [], "memory": [], "start": [], "gpu": [],
}  # fmt: skip
TITLE = "# Benchmarks"
SECONDS = 330  # of one of them: something is wrong with one that takes longer
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")  # that decide how fast a CPU trains


def get_args_parser():
    parser = utils.script_parser(__doc__)
    parser.add_argument("--only", nargs="+", choices=list(BLOCKS), help="these alone")
    parser.add_argument("--out", default="exp/benchmark.md", help="the file that the table is written to")
    return parser


if __name__ == "__main__":  # --help and wrong flags are answered before what takes seconds to import
    utils.answer_first(get_args_parser())

import torch


def main(args):
    out = Path(args.out)
    if out.exists() and not is_table(out):
        raise utils.UserError(f"--out {out} is there, and no table of this command: name a new file")
    utils.check_writable(out.parent)
    parts, failed = [f"{TITLE}\n\n{machine()}"], []
    print(parts[0], flush=True)
    for name in args.only or BLOCKS:
        if name == "gpu" and not args.only and not torch.cuda.is_available():
            parts.append("The GPU's table is not run: there is no GPU here.")
        else:
            try:
                parts.append(block(name))
            except utils.UserError as error:
                parts.append(str(error))
                failed.append(name)
        print(f"\n{parts[-1]}", flush=True)
        utils.write_text(out, "\n\n".join(parts) + "\n")
    if failed:
        raise utils.UserError(f"{' and '.join(failed)} failed: {out} says how")


def is_table(path):
    """Whether an earlier call has written this file."""
    if not path.is_file():
        return False
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.readline().strip() == TITLE


def machine():
    """A line on what the figures were measured with, and when."""
    versions = utils.versions()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"{time.strftime('%Y-%m-%d')}, commit {versions['git_commit']}, {cores()} cores of {processor()}, {gpu}, "
        f"Python {versions['python']}, torch {versions['torch']}"
    )


def cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def processor():
    """Its name, and on Linux those of its instructions that decide."""
    try:
        pairs = [line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line]
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    told = {name.strip(): value.strip() for name, value in pairs}
    has = [one for one in INSTRUCTIONS if one in told.get("flags", "").split()]
    return f"{told.get('model name', platform.machine())} ({' '.join(has) or 'no AVX'})"


def block(name):
    """What ``python -m benchmarks.NAME`` prints. Raises :class:`utils.UserError` where it fails."""
    print(f"benchmarks.{name} …", file=sys.stderr, flush=True)
    if not (ROOT / "benchmarks" / f"{name}.py").exists():
        raise utils.UserError(f"benchmarks.{name}: missing")
    command = [sys.executable, "-m", f"benchmarks.{name}", *BLOCKS.get(name, [])]
    try:
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=SECONDS)
    except subprocess.TimeoutExpired as error:
        why = f"benchmarks.{name}: stopped after {SECONDS} s"
        raise utils.UserError(f"{text_of(error.stdout)}\n\n{why}".strip()) from None
    if ended.returncode:
        said = text_of(ended.stderr).splitlines() or [""]
        why = f"benchmarks.{name}: failed with {ended.returncode} ({said[-1][-200:]})"
        raise utils.UserError(f"{text_of(ended.stdout)}\n\n{why}".strip())
    return text_of(ended.stdout)


def text_of(output):
    """What a process has said, as far as it came (None: nothing)."""
    return (output or b"").decode(errors="replace").strip()


if __name__ == "__main__":
    utils.run(main, get_args_parser())
