"""Many processes that train as one, as torchrun begins them: who they are, what each does, and how they end.

Every process runs the same program from the same seed, on its own equal part of every batch; the first alone prints
and writes. One that torchrun did not begin is alone: the first, to which every batch belongs whole.

Axes: N tracks, B batch.
"""

import contextlib
import functools
import os
import signal
import threading
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

import utils
from models.gather import SyncBatchNorm, gather

LONGEST_PATH = 4096  # bytes


# ------------------------------------------------------------------ to begin and to end


def together(main):
    """``main(args)`` in each of the processes that torchrun began, or as it is where torchrun did not."""

    @functools.wraps(main)
    def run(args):
        with joined(args.device) if dist.is_torchelastic_launched() else contextlib.nullcontext():
            return main(args)

    return run


@contextlib.contextmanager
def joined(device):
    """While the block runs, this process is one of many, of which the first alone is heard.

    device: the flag. When one fails all end, and the first that did so says why, whichever it is: torchrun ends those
    that wait; and where torchrun itself is gone, they end, too. Raises :class:`utils.UserError`.
    """
    threading.Thread(target=end_with_parent, args=(os.getppid(),), daemon=True).start()
    store, rank, size = next(dist.rendezvous("env://"))
    try:
        backend = "cpu:gloo,cuda:nccl" if takes_gpu(device) else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size)
        with contextlib.nullcontext() if is_first() else silence():
            yield
        dist.destroy_process_group()
    except BaseException as error:
        stopped_elsewhere = rank > 0 and isinstance(error, KeyboardInterrupt)  # the first knows how to go on
        if stopped_elsewhere or not is_first_to_fail(store):
            raise SystemExit(1) from None
        if is_of_others(error):
            raise utils.UserError("another process of this run has ended, and could not say why") from None
        raise


def end_with_parent(parent):
    """Ends this process as ``kill`` does when ``parent`` is its parent no more: after kill -9 nobody else would."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


def takes_gpu(name):
    """Whether this process works on a GPU, by the flag --device: on its own one then. Raises UserError."""
    if utils.pick_device(name).type != "cuda":
        return False
    if ":" in name:
        raise utils.UserError(f"--device {name}: under torchrun each process has its own GPU: --device cuda")
    number, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if number >= there:
        raise utils.UserError(f"torch sees {there} GPUs here: torchrun --nproc_per_node {there}, or --device cpu")
    torch.cuda.set_device(number)
    return True


def is_first_to_fail(store):
    try:
        return store.add("failed", 1) == 1
    except (RuntimeError, ValueError):  # torchrun itself has gone, and the store with it
        return True


def is_of_others(error):
    """Whether an error only says that a message to or from another process got lost."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


@contextlib.contextmanager
def silence():
    """Nothing that is printed in the block is seen, nor a progress bar."""
    with open(os.devnull, "w") as none, contextlib.redirect_stdout(none), contextlib.redirect_stderr(none):
        yield


# ------------------------------------------------------------------ who does what


def is_first():
    return not dist.is_initialized() or dist.get_rank() == 0


def first_only(function):
    """What writes: the first process calls it, the others go on with None."""

    @functools.wraps(function)
    def run(*args, **options):
        return function(*args, **options) if is_first() else None

    return run


def from_first(path):
    """The path that the first process has, in all of them: what the others have does not matter."""
    if not dist.is_initialized():
        return path
    text = torch.zeros(LONGEST_PATH, dtype=torch.uint8)
    if is_first():
        letters = torch.tensor(list(os.fsencode(path)), dtype=torch.uint8)
        text[: len(letters)] = letters
    dist.broadcast(text, 0)
    return Path(os.fsdecode(bytes(text.tolist()).rstrip(b"\0")))


def number_from_first(number):
    """The number that the first process has, in all of them: what was measured may differ."""
    if not dist.is_initialized():
        return number
    told = torch.tensor([number], dtype=torch.float64)
    dist.broadcast(told, 0)
    return told.item()


def all_say(yes):
    """Whether every process says yes."""
    if not dist.is_initialized():
        return yes
    told = torch.tensor([float(yes)])
    dist.all_reduce(told, dist.ReduceOp.MIN)
    return bool(told.item())


def num_processes():
    return dist.get_world_size() if dist.is_initialized() else 1


def describe():
    return f", in {num_processes()} processes" if dist.is_initialized() else ""


def check_divides(batch_size):
    """Raises :class:`utils.UserError` for a batch that has no equal parts for all processes."""
    if batch_size % num_processes():
        parts = f"the {num_processes()} processes, which take equal parts of it"
        raise utils.UserError(f"--batch_size {batch_size} is not a multiple of {parts}")


def mine(batch):
    """This process's part (B / processes,) of what belongs to a batch (B,), such as its tracks."""
    return batch.chunk(num_processes())[dist.get_rank()] if dist.is_initialized() else batch


def equal_part(batch):
    """This process's part of a batch (B, …) where there are equal ones; else all of it, as every process has it."""
    return batch if len(batch) % num_processes() else mine(batch)


def own_chance():
    """From here on the first process draws what one alone would draw, and every other something else."""
    if not is_first():
        torch.manual_seed(int(torch.randint(2**62, ())) + dist.get_rank())


def shared_out(work, tracks):
    """``work(tracks)`` (N · n, …) of tracks (N,), n rows for each, of which every process does a part.

    The last part is filled up with tracks of the first: all parts are equal, and none is empty.
    """
    if not dist.is_initialized():
        return work(tracks)
    length = -(-len(tracks) // num_processes()) * num_processes()
    rows = gather(work(mine(tracks[torch.arange(length) % len(tracks)])))
    return rows[: len(rows) // length * len(tracks)]


# ------------------------------------------------------------------ networks


def synchronised(network):
    """The network, every BatchNorm of which takes its statistics over the batch of all processes."""
    if not dist.is_initialized():
        return network
    if next(network.parameters()).is_cuda:
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.__class__ = SyncBatchNorm  # the same weights and buffers, by the same names
    return network


def is_synchronised(norms):
    """Whether these BatchNorms take their statistics over the batch of all processes."""
    return any(isinstance(norm, (SyncBatchNorm, nn.SyncBatchNorm)) for norm in norms)


def parallel(network):
    """What to call in place of the network, so that every process gets the mean of all gradients.

    The network's weights become those of the first process.
    """
    if not dist.is_initialized():
        return network
    device = [torch.cuda.current_device()] if next(network.parameters()).is_cuda else None
    return nn.parallel.DistributedDataParallel(network, device, broadcast_buffers=False, static_graph=True)
