"""--precision: what is asked for, what is right, and what is faster."""

from types import SimpleNamespace

import pytest
import torch

import train_simsiam
import transfer
from training import precision

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def flags_of(script, text):
    return script.get_args_parser().parse_args(text.split())


def choose(text="", device=CPU, backbone="frames", num_frames=64, training=True):
    flags = SimpleNamespace(**{**vars(flags_of(train_simsiam, text)), "backbone": backbone})
    return precision.choose(flags, 64, num_frames, device, training)


@pytest.fixture
def rate(monkeypatch):
    """(rate): a CPU that has bfloat16, of this rate."""

    def set_(rate, has=True):
        monkeypatch.setattr(precision, "has_bf16", lambda device: has and device.type == "cpu")
        monkeypatch.setattr(precision, "speed_up", lambda *args: rate)

    set_(None)
    return set_


@pytest.mark.parametrize("script", [train_simsiam, transfer])
def test_the_older_flags_are_short_for_the_newer(script, rate, capsys):
    cases = {"--bf16": True, "--no-bf16": False, "--precision bf16": True, "--precision fp32": False}
    for text, bf16 in cases.items():
        flags = SimpleNamespace(**{**vars(flags_of(script, text)), "backbone": "frames"})
        assert precision.choose(flags, 64, 64, CPU, True) is bf16
        assert precision.choose(flags, 64, 64, CUDA, True) is bf16
    with pytest.raises(SystemExit):
        flags_of(script, "--bf16 --precision fp32")
    assert "precision:" not in capsys.readouterr().out


@pytest.mark.parametrize(("faster", "bf16", "line"), [
    (2.13, True, "precision: bf16 (2.13 x fp32's rate here)"), (1.04, False, "precision: fp32, not bf16 (1.04 x"),
    (0.4, False, "precision: fp32, not bf16 (0.40 x fp32's rate here, taken from 1.1 x on)"),
])  # fmt: skip
def test_auto_takes_the_faster_one_and_says_so(rate, capsys, faster, bf16, line):
    rate(faster)
    assert choose() is bf16
    assert line in capsys.readouterr().out


def test_auto_measures_only_where_there_is_a_choice(rate, capsys):
    """``speed_up`` would return None here, which nothing can be compared with."""
    assert choose(device=CUDA)
    assert not choose(device=torch.device("mps"))
    assert not choose(backbone="conv8")  # wrong gradients in oneDNN
    assert not choose(backbone="resnet18", num_frames=32)
    rate(9.0, has=False)
    assert not choose()
    assert not capsys.readouterr().out


def test_what_cannot_be_right_is_refused_aloud(rate, capsys):
    assert not choose("--bf16", backbone="conv8")
    assert capsys.readouterr().out == "note: conv8 cannot be trained in bfloat16 on this cpu: float32 it is\n"


@pytest.mark.parametrize("training", [True, False])
def test_the_rate_is_of_steps_that_take_long_enough(monkeypatch, training):
    """bfloat16 has a slow first step here, and is four times as fast after it."""
    steps = []

    def seconds_of(network, x, bf16):
        steps.append((len(x), bf16, network.training))
        first = bf16 not in [step[1] for step in steps[:-1]]
        return (1.0 if first else 0.005 * len(x)) if bf16 else 0.02 * len(x)

    monkeypatch.setattr(precision, "seconds_of", seconds_of)
    monkeypatch.setattr(precision, "SECONDS", 0)
    assert precision.speed_up("frames", "mean_std_max", 32, 20, training) == pytest.approx(4)
    assert [step[0] for step in steps] == [2, 4, 8, 8, 8, 8]
    assert {step[2] for step in steps} == {training}


@pytest.mark.parametrize("training", [True, False])
def test_measuring_draws_nothing_by_chance(monkeypatch, training):
    monkeypatch.setattr(precision, "SECONDS", 0)
    monkeypatch.setattr(precision, "LEAST_SECONDS", 0)
    before = torch.get_rng_state()
    assert precision.speed_up("frames", "mean_std_max", 32, 20, training) > 0
    assert torch.equal(torch.get_rng_state(), before)


def test_a_cpu_tells_of_bfloat16():
    assert not precision.has_bf16(CUDA)
    assert precision.has_bf16(CPU) in (True, False)


def test_a_deep_network_is_timed_by_one_of_the_same_blocks(monkeypatch):
    built, build = [], precision.backbones.build
    monkeypatch.setattr(precision, "seconds_of", lambda *args: 1.0)
    monkeypatch.setattr(
        precision.backbones, "build", lambda name, *args: [built.append(name), build("resnet18", *args)][1]
    )
    for name in ("resnet152", "resnet101", "resnet34", "resnet50", "resnet18"):
        monkeypatch.setattr(precision, "SECONDS", 0)
        precision.speed_up(name, "average", 64, 64, training=False)
    assert built == ["resnet50", "resnet50", "resnet18", "resnet50", "resnet18"]
