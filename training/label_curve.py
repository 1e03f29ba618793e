"""The learning curve over labels: how a head does with more and more training tracks.

Axes: N tracks, C crops, D feature dimension.
"""

import dataclasses

import torch.nn.functional as F

import utils
from evaluation import metrics
from training.supervised import apply, batch_size_for, fit_head


def label_curve(task, frozen, sizes, seeds, options, recipe, batch_size=None):
    """A head for each training-set size and seed: the rows of label_curve.csv. The test tracks have no part in it.

    frozen: :class:`training.frozen.FrozenFeatures`; options: of the head.
    """
    validation, validation_labels = frozen.of(task.validation), task.labels[1]
    rows = []
    for size in utils.progress(sizes, desc="label curve"):
        for seed in seeds:
            tracks = task.subset(size, seed)
            features, labels = frozen.of(task.train, tracks), task.labels[0][tracks]
            utils.set_seed(seed)  # whatever was drawn by now, or was not, since it was kept
            one = dataclasses.replace(recipe, seed=seed, batch_size=batch_size_for(batch_size, size), quiet=True)
            head, _, _ = fit_head(features, labels, validation, validation_labels, len(task.genres), options, one)
            f1, loss = score(head, features, labels)
            validation_f1, validation_loss = score(head, validation, validation_labels)
            rows.append({
                "train_size": size, "seed": seed, "train_macro_f1": f1, "validation_macro_f1": validation_f1,
                "gap": f1 - validation_f1, "train_loss": loss, "validation_loss": validation_loss,
            })  # fmt: skip
    return rows


def check_sizes(sizes, least, most):
    """``--train_sizes``, each once, from small to large. Raises :class:`utils.UserError`."""
    for size in sizes:
        if not least <= size <= most:
            raise utils.UserError(f"--train_sizes {size} must be {least} (genres) to {most} (tracks)")
    return sorted(set(sizes))


def score(head, features, labels):
    """(macro F1, mean cross-entropy) of a head, in eval mode, on features (N, C, …) of tracks ``labels`` (N,)."""
    logits = apply(head, features).mean(1)
    matrix = metrics.confusion_matrix(logits.argmax(1).cpu(), labels.cpu(), logits.shape[1])
    return metrics.macro_f1(matrix), F.cross_entropy(logits, labels).item()
