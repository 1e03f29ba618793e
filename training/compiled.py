"""``--compile``: torch.compile of a network's forward and backward, where there is a compiler for it."""

import torch
import torch.distributed as dist

from models.gather import leave_out_of_graphs


def compile_in_place(network, device):
    """Calling ``network`` runs compiled code from now on; where nothing can compile, a line says so.

    Only the call is another: parameters, modules and the names in ``state_dict`` stay, so that weights and
    checkpoints are the same with and without. A part that is called by itself, as by the monitor, is not compiled.
    """
    missing = missing_for(device)
    if missing:
        print(f"note: --compile needs a C++ compiler, and Triton on a GPU ({missing}): it runs uncompiled")
        return
    if dist.is_initialized():
        leave_out_of_graphs()
    print("compiling: the first step takes about a minute")
    # Fused kernels, but no CUDA graphs ("reduce-overhead"): a graph writes its outputs to the same memory at every
    # step, and the loop keeps projections of earlier ones for the monitors, as it may keep anything. A compiled
    # forward reads the weights where they lie, so BYOL's target, which moves between steps, needs nothing more;
    # detach and no_grad are part of what is compiled. Sizes are those of one batch: none is left open (dynamic).
    network.compile(dynamic=False)


def missing_for(device):
    """What the attempt to compile a sum says, None if it went well: what it takes differs, so it is tried."""
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(2, device=device))
    except Exception as error:  # each backend has its own
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:100]}"
    return None
