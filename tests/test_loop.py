"""The schedule and the sum of losses that both training loops share."""

import copy
import math

import pytest
import torch
from torch import nn

import utils
from training.loop import MeanLoss, schedule


def groups(fixed=True):
    free, held = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    return torch.optim.SGD([{"params": [free], "lr": 0.4}, {"params": [held], "lr": 0.2, "fixed": fixed}])


def run(optimiser, rates, steps):
    seen = []
    for _ in range(steps):
        seen.append([group["lr"] for group in optimiser.param_groups])
        optimiser.step()
        rates.step()
    return seen


def test_warm_up_then_half_a_cosine_while_fixed_groups_stay():
    optimiser = groups()
    seen = run(optimiser, schedule(optimiser, 50, 10), 50)
    free, held = zip(*seen, strict=True)
    assert free[:10] == pytest.approx([0.4 * step / 10 for step in range(1, 11)])
    assert free[10] == pytest.approx(0.4)
    assert free[20] == pytest.approx(0.4 * 0.5 * (1 + math.cos(math.pi * 10 / 40)))
    assert free[30] == pytest.approx(0.2)
    assert free[49] == pytest.approx(0.4 * 0.5 * (1 + math.cos(math.pi * 39 / 40)))
    assert set(held) == {0.2}


def test_groups_that_are_not_fixed_all_decay():
    optimiser = groups(fixed=False)
    seen = run(optimiser, schedule(optimiser, 50, 0), 50)
    assert all(held == pytest.approx(free / 2) for free, held in seen)
    assert seen[25][1] == pytest.approx(0.1)


@pytest.mark.parametrize("stopped", [1, 5, 17, 49])
def test_resuming_in_mid_schedule_changes_no_rate(stopped):
    optimiser = groups()
    whole = run(optimiser, schedule(optimiser, 50, 10), 50)
    first = groups()
    before = run(first, schedule(first, 50, 10), stopped)
    again = groups()
    again.load_state_dict(copy.deepcopy(first.state_dict()))
    after = run(again, schedule(again, 50, 10, done=stopped), 50 - stopped)
    assert before + after == whole


def test_checkpoints_from_before_go_on():
    """They named a group's first rate ``base_lr``."""
    optimiser = groups()
    for group in optimiser.param_groups:
        group["base_lr"], group["lr"] = group["lr"], 0.007
    schedule(optimiser, 50, 0, done=25)
    assert [group["lr"] for group in optimiser.param_groups] == pytest.approx([0.2, 0.2])


def test_a_rate_of_nought_stays_nought():
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.0)
    assert {lr for (lr,) in run(optimiser, schedule(optimiser, 10, 2), 10)} == {0.0}


class Bar:
    def __init__(self):
        self.said = []

    def set_postfix(self, loss, refresh):
        self.said.append(loss)


def test_now_and_then_a_loss_is_shown_a_step_later_and_the_mean_is_of_all_steps():
    mean, bar = MeanLoss("cpu", epoch=3, every=2), Bar()
    shown = []
    for value in (1.0, 2.0, 6.0, 3.0):
        mean.add(torch.tensor(value, requires_grad=True), bar)
        shown.append(len(bar.said))
    assert shown == [0, 1, 1, 2]
    assert mean.value() == pytest.approx(3)
    assert bar.said == ["1.0000", "6.0000"]
    assert not mean.total.requires_grad


@pytest.mark.parametrize("losses", [[math.nan], [1.0, math.inf], [1.0, math.nan, 2.0]])
def test_a_loss_that_is_not_finite_stops_the_epoch(losses):
    mean = MeanLoss("cpu", epoch=3)

    def train():
        for loss in losses:
            mean.add(torch.tensor(loss), Bar())
        return mean.value()

    with pytest.raises(utils.UserError, match=r"not finite in epoch 3.*smaller --lr"):
        train()
