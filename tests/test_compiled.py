"""--compile: the same numbers within float noise, the same files, and a line where nothing can compile."""

import copy

import pytest
import torch
from torch import nn

from models.byol import BYOL
from training import compiled

CPU = torch.device("cpu")


class Backbone(nn.Sequential):
    """As few kernels as can be: compiling them is all the time that this takes."""

    num_features = 16

    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(12, 16), nn.BatchNorm1d(16))


def built():
    """BYOL has all that could go wrong: a target that moves between steps, a stop-gradient, running statistics."""
    torch.manual_seed(0)
    return BYOL(Backbone(), dim=8, pred_dim=16, ema=0.99)


def trained(method, steps=3):
    """The losses of a few steps on noise."""
    optimiser = torch.optim.SGD(method.parameters(), lr=0.1)
    chance = torch.Generator().manual_seed(1)
    losses = []
    for step in range(steps):
        loss, _ = method(*torch.randn(2, 8, 1, 4, 3, generator=chance))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        method.after_step(step / steps)
        losses.append(loss.item())
    return losses


def test_compiled_is_the_same_within_float_noise(capsys):
    """And its weights have the names they always had."""
    if compiled.missing_for(CPU):
        pytest.skip("no C++ compiler here, which torch.compile needs")
    plain = built()
    fused = copy.deepcopy(plain)
    compiled.compile_in_place(fused, CPU)
    assert "compiling" in capsys.readouterr().out
    assert fused._compiled_call_impl is not None
    torch.testing.assert_close(trained(fused), trained(plain), rtol=1e-4, atol=1e-5)
    assert fused.state_dict().keys() == plain.state_dict().keys()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(fused.state_dict()[name], value, rtol=1e-3, atol=1e-4, msg=name)
    assert copy.deepcopy(fused)._compiled_call_impl is None  # a running average of it, or a pickle, is plain


def test_without_a_compiler_it_says_so_and_runs(monkeypatch, capsys):
    def compile(function):
        raise RuntimeError("no g++\nand more")

    monkeypatch.setattr(torch, "compile", compile)
    method = built()
    compiled.compile_in_place(method, CPU)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("note: --compile needs a C++ compiler")
    assert "RuntimeError: no g++)" in line
    assert len(trained(method)) == 3
