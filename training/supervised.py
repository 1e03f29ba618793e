"""The supervised loop, and the heads that are trained by it or in closed form.

Axes: N tracks, B batch, C crops, D feature dimension, L layer, G genres.
"""

import copy
import functools
from dataclasses import dataclass, field

import torch

import utils
from models import heads
from models.gather import average
from training import distributed
from training.labels import Genres
from training.loop import MeanLoss, schedule
from training.views import LabelledFeatures, check_batch


@dataclass(frozen=True)
class Recipe:
    """How a head or a network is trained.

    patience: epochs without a better validation after which it stops, 0 never. on_validation: whether the validation
    labels choose the epoch or the penalty; else the last epoch is kept, and labels given for training choose the
    penalty. average: judge and keep the running average of the weights, see :func:`average_into`. kind: what the
    labels say, see :mod:`training.labels`.
    """

    num_epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    patience: int = 0
    seed: int = 0
    on_validation: bool = True
    average: bool = False
    bf16: bool = False
    quiet: bool = False
    kind: object = field(default_factory=Genres)


def fit(network, groups, batches, judge, labels, recipe, after_epoch=None, keep_start=False):
    """Train by AdamW, keep the epoch with the highest validation figure (of equals, the lowest loss), or the last.

    batches: an epoch of (input, labels) at each iteration, with a length; judge(network) returns validation logits
    (N, C, G) for ``labels`` (N,); after_epoch(network) sets what is measured and not learned; with
    ``keep_start`` what it starts with is epoch 0, which may be kept. The figure is that of the recipe's kind.
    Returns the log (list of dicts) and {"epoch", "by", "validation_accuracy"}.
    """
    optimiser = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)
    judged = copy.deepcopy(network) if recipe.average else network
    forward = distributed.parallel(network)
    kind, figure = recipe.kind, f"validation_{recipe.kind.figure}"
    num_steps = recipe.num_epochs * len(batches)
    rates = schedule(optimiser, num_steps, num_steps // 20)
    log, best, by = [], None, "validation" if recipe.on_validation else "the last epoch"
    for epoch in range(0 if keep_start else 1, recipe.num_epochs + 1):
        train_loss = None
        if epoch:
            utils.set_seed(recipe.seed, epoch)
            args = (forward, network, judged, batches, optimiser, rates, epoch, recipe.bf16, kind.loss)
            train_loss = train_one_epoch(*args)
            if after_epoch:
                after_epoch(judged)
        logits = judge(judged).mean(1)
        loss, score = kind.loss(logits, labels).item(), kind.score(logits, labels)
        log.append({"epoch": epoch, "train_loss": train_loss, "validation_loss": loss, figure: score})
        if not recipe.quiet:
            print(describe_epoch(log[-1], recipe.num_epochs, kind.figure))
        if best is None or not recipe.on_validation or (score, -loss) > best:
            best, best_state = (score, -loss), copy.deepcopy(judged.state_dict())
            chosen = {"epoch": epoch, "by": by, figure: score}
        if recipe.patience and epoch - chosen["epoch"] >= recipe.patience:
            break
    if keep_start and chosen["epoch"] == 0 and not recipe.quiet:
        print("no epoch was better on validation tracks than the linear probe at its start: epoch 0 is kept")
    network.load_state_dict(best_state)
    return log, chosen


def train_one_epoch(forward, network, judged, batches, optimiser, rates, epoch, bf16, loss_of):
    """The mean loss of the epoch.

    ``forward`` is the network, or what :func:`training.distributed.parallel` makes of it; ``judged`` is the network
    itself or its running average.
    """
    network.train()
    bar = utils.progress(batches, desc=f"epoch {epoch}")
    mean_loss = MeanLoss(next(network.parameters()).device, epoch)
    for x, y in bar:
        with utils.autocast(x.device, bf16):
            loss = average(loss_of(forward(x), y))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        rates.step()
        if judged is not network:
            average_into(judged, network, rates.last_epoch)
        mean_loss.add(loss, bar)
    return mean_loss.value()


@torch.no_grad()
def average_into(averaged, network, step, decay=0.99):
    """Exponential moving average of parameters (Polyak & Juditsky 1992), of a tenth of the steps while they are few.

    On small collections single steps wander by more than an epoch improves.
    """
    share = max(1 - decay, 10 / (10 + step))
    for mean, new in zip(averaged.parameters(), network.parameters(), strict=True):
        mean.lerp_(new, share)
    for mine, new in zip(averaged.buffers(), network.buffers(), strict=True):  # of which some are infinite
        mine.copy_(new)


def describe_epoch(row, num_epochs, figure):
    training = "" if row["train_loss"] is None else f"  loss {row['train_loss']:.3f}"
    return (
        f"epoch {row['epoch']:3}/{num_epochs}{training}  validation loss {row['validation_loss']:.3f}  "
        f"{figure} {row[f'validation_{figure}']:.3f}"
    )


def fit_head(features, labels, validation, validation_labels, num_genres, options, recipe):
    """A head for frozen features (N, C, D) or (N, C, L, D), trained on ``labels`` (N,) and chosen as the recipe says.

    Logistic regression where it can be; all else by :func:`fit`. options: of :func:`models.heads.genre_head`.
    Returns (head, log, chosen).
    """
    build = functools.partial(heads.genre_head, features.shape[-1], num_genres, **options)
    utils.check_weights(build, f"training a head with --hidden {','.join(map(str, options['hidden']))}")
    head = build().to(features.device)
    if not options["hidden"] and features.ndim == 3:
        means = features.mean(1), validation.mean(1)
        known = means[0], labels, means[1], validation_labels
        return head, [], recipe.kind.probe(head, *known, recipe.on_validation)
    check_batch(recipe.batch_size, len(features))
    head[0].measure(features.flatten(0, 1))
    batches = LabelledFeatures(features, labels, recipe.batch_size)
    groups = [{"params": list(head.parameters()), "lr": recipe.lr}]
    judge = functools.partial(apply, features=validation)
    return head, *fit(head, groups, batches, judge, validation_labels, recipe)


@torch.no_grad()
def apply(head, features):
    """What ``head`` makes, in eval mode, of the features (N, C, …) of every crop: (N, C, G)."""
    head.eval()
    return head(features.flatten(0, 1)).view(*features.shape[:2], -1)


def layer_wise(network, lr, layer_decay):
    """Parameter groups: the head at ``lr``, each stage below at ``layer_decay`` of the rate of the one above.

    A stage is a top-level module of the network; norms belong to the stage of the convolution before them.
    """
    stages = []
    for name, module in [*top_level(network.backbone), ("head", network.head)]:
        parameters = list(module.parameters())
        if parameters and name.startswith(("bn", "norm")) and stages:
            stages[-1] += parameters
        elif parameters:
            stages.append(parameters)
    return [{"params": stage, "lr": lr * layer_decay**height} for height, stage in enumerate(reversed(stages))]


def top_level(backbone):
    """(name, module) of the stages of a backbone, with the projector behind it where that is used."""
    if hasattr(backbone, "pretrained"):
        projector = [("projector", backbone.pretrained["projector"])] if "projector" in backbone.pretrained else []
        return [*backbone.pretrained["backbone"].named_children(), *projector]
    if hasattr(backbone, "num_features"):
        return list(backbone.named_children())
    return [*backbone[0].named_children(), ("projector", backbone[1])]


def norms_of(module):
    """Every BatchNorm in it, whatever its dimensions."""
    return [one for one in module.modules() if isinstance(one, torch.nn.modules.batchnorm._BatchNorm)]


def batch_size_for(asked, num_train):
    """``--batch_size``, by default one that leaves small collections a few steps, and each process as many tracks."""
    if asked is not None:
        return asked
    processes = distributed.num_processes()
    size = max(2, min(64, num_train // 4))
    return max(processes, size - size % processes)
