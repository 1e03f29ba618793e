"""The learning curve over labels: its numbers are scikit-learn's, and the test tracks have no part in it."""

import pytest
import torch
from conftest import write_folder
from sklearn.metrics import f1_score, log_loss

import utils
from data.folder import open_folder
from models import heads
from training.label_curve import check_sizes, label_curve, score
from training.options import LINEAR
from training.supervised import Recipe, apply
from training.task import Task


def test_sizes_are_sorted_and_between_the_genres_and_the_tracks():
    assert check_sizes([48, 24, 96, 24], 3, 96) == [24, 48, 96]
    for sizes in ([2, 24], [24, 97]):
        with pytest.raises(utils.UserError, match=r"3 \(genres\) to 96"):
            check_sizes(sizes, 3, 96)


def test_the_score_is_scikit_learns():
    torch.manual_seed(0)
    head = heads.genre_head(5, 4)
    features, labels = torch.randn(40, 3, 5), torch.randint(3, (40,))  # of the fourth genre there is none
    logits = apply(head, features).mean(1)
    f1, loss = score(head, features, labels)
    assert f1 == pytest.approx(f1_score(labels, logits.argmax(1), labels=[0, 1, 2], average="macro"))
    assert loss == pytest.approx(log_loss(labels, logits.double().softmax(1), labels=range(4)), rel=1e-5)


class Frozen:
    """Noisy band means; remembers which tracks of which split it was asked for."""

    def __init__(self, task):
        self.task, self.asked = task, []

    def of(self, part, tracks=None):
        assert part is not self.task.test
        tracks = torch.arange(len(part)) if tracks is None else tracks
        self.asked.append(("training" if part is self.task.train else "validation", tracks.tolist()))
        labels = self.task.labels[0 if part is self.task.train else 1][tracks]
        noise = torch.randn(len(tracks), 1, 3, generator=torch.Generator().manual_seed(1))
        return torch.nn.functional.one_hot(labels, 3)[:, None] + 0.8 * noise


MLP = {"hidden": [4], "dropout": [0.1], "batch_norm": True}


@pytest.mark.parametrize("options", [LINEAR, MLP], ids=["linear", "mlp"])
def test_every_size_and_seed_has_a_row_of_its_own_tracks(tmp_path, options):
    task = Task(open_folder(write_folder(tmp_path, "tiny"), "tiny"), torch.device("cpu"))
    frozen = Frozen(task)
    recipe = Recipe(num_epochs=2, batch_size=8, lr=0.01, weight_decay=0.01)
    rows = label_curve(task, frozen, [6, 24], range(3, 5), options, recipe)
    assert [(row["train_size"], row["seed"]) for row in rows] == [(6, 3), (6, 4), (24, 3), (24, 4)]
    wanted = [task.subset(size, seed).tolist() for size in (6, 24) for seed in (3, 4)]
    assert [tracks for split, tracks in frozen.asked if split == "training"] == wanted
    for row in rows:
        assert row["gap"] == pytest.approx(row["train_macro_f1"] - row["validation_macro_f1"])
        assert row["train_loss"] > 0
    again = label_curve(task, Frozen(task), [24], [4], options, recipe)
    assert again == [rows[-1]]  # whatever was trained before


def test_logistic_regression_needs_no_batch(tmp_path):
    task = Task(open_folder(write_folder(tmp_path, "tiny"), "tiny"), torch.device("cpu"))
    recipe = Recipe(num_epochs=2, batch_size=16, lr=0.01, weight_decay=0.01)
    assert len(label_curve(task, Frozen(task), [6], [0], LINEAR, recipe, batch_size=16)) == 1
