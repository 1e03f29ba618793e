"""The batches that the loops iterate over: which tracks, which crops, which labels."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from conftest import write_folder

import augment
import utils
from data import crops
from data.folder import open_folder
from training.views import LEAST_STEPS, LabelledFeatures, LabelledViews, TrackViews, Views, check_batch, mixed

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return open_folder(write_folder(tmp_path_factory.mktemp("views"), "tiny"), "tiny")


def views_of(folder, aug="none", num_frames=40):
    held = crops.load(folder, folder.split("training"), CPU)
    return Views(held, augment.build(aug, folder.settings), lambda x: x / 80, num_frames)


def test_different_crops_differ_and_the_same_crop_is_the_same(folder):
    torch.manual_seed(0)
    for x1, x2 in TrackViews(views_of(folder), 8, "same"):
        assert torch.equal(x1, x2)
    differing = [(x1 != x2).flatten(1).any(1) for x1, x2 in TrackViews(views_of(folder), 8)]
    assert torch.cat(differing).sum() > 20  # of 24; now and then both begin at the same frame


def test_the_same_crop_is_augmented_twice(folder):
    torch.manual_seed(0)
    for x1, x2 in TrackViews(views_of(folder, "mask"), 8, "same"):
        assert x1.shape == x2.shape == (8, 1, 32, 40)
        assert not torch.equal(x1, x2)


def test_an_epoch_has_every_track_once_in_another_order():
    seen = []

    class Spy:
        crops = range(10)

        def starts(self, tracks, pair, num_views):
            return torch.zeros(num_views, *tracks.shape)

        def batches(self, requests):
            seen.append([tracks.tolist() for (tracks, _), _ in requests])
            return iter(())

    torch.manual_seed(0)
    two = TrackViews(Spy(), 4)
    for _ in range(2):
        iter(two)
    assert len(two) == 2
    for batches in seen:
        tracks = [track for batch in batches for track in batch]
        assert len(tracks) == len(set(tracks)) == 8  # the incomplete last batch is left out
    assert seen[0] != seen[1]


def test_views_are_cut_with_the_context_that_the_augmentation_reads(folder):
    views = views_of(folder, "image")
    assert views.num_input >= views.num_frames
    tracks = torch.arange(4)
    ((x,),) = views.batches([((tracks, views.random_starts(tracks)),)])
    assert x.shape == (4, 1, 32, 40)


def test_views_carry_their_own_labels(folder):
    views = views_of(folder, num_frames=60)
    genres = sorted(set(views.crops.rows["genre_top"]))
    labels = torch.tensor([genres.index(genre) for genre in views.crops.rows["genre_top"]])
    torch.manual_seed(0)
    tracks = torch.arange(0, 24, 2)
    batches = list(LabelledViews(views, F.one_hot(labels), tracks, 5))
    assert len(batches) == len(LabelledViews(views, F.one_hot(labels), tracks, 5)) == 2
    for x, y in batches:
        bands = x.mean((1, 3))[:, :30].unflatten(1, (3, 10)).mean(2)  # each genre has its own bright bands
        assert torch.equal(bands.argmax(1), y.argmax(1))


@pytest.mark.parametrize(("num_tracks", "passes"), [(40, 10), (399, 2), (400, 1), (5000, 1)])
def test_an_epoch_of_few_labels_goes_through_them_again(num_tracks, passes, monkeypatch):
    monkeypatch.setattr("training.views.LEAST_STEPS", LEAST_STEPS)
    epoch = LabelledViews(SimpleNamespace(random_starts=torch.zeros_like, batches=lambda requests: [
        (tracks,) for ((tracks, _),) in requests
    ]), torch.eye(num_tracks), torch.arange(num_tracks), 20)  # fmt: skip
    torch.manual_seed(0)
    seen = torch.cat([x for x, _ in epoch])
    assert len(seen) == len(epoch) * 20 == passes * (num_tracks // 20) * 20
    assert seen.bincount().max() == passes
    if passes > 1:
        assert not torch.equal(seen[: num_tracks // 20 * 20], seen[num_tracks // 20 * 20 :][: num_tracks // 20 * 20])


def test_mixup_blends_labels_by_the_share_of_the_views():
    torch.manual_seed(0)
    y = torch.eye(64)
    x = y[:, None, None, :].clone()  # each view holds its own label
    blended, labels = mixed(x, y, 0.4)
    torch.testing.assert_close(blended[:, 0, 0], labels)
    torch.testing.assert_close(labels.sum(1), torch.ones(64))
    own = labels.diagonal()
    assert ((own >= 0.5 - 1e-6) & (own <= 1)).all()
    assert 0.7 < own.mean() < 0.95
    assert (labels > 1e-6).sum(1).max() == 2
    assert mixed(x, y, 0) == (x, y)


def test_features_come_as_one_random_crop_with_its_label():
    torch.manual_seed(0)
    features = torch.arange(6 * 3).float().view(6, 3, 1)  # value = 3 · track + crop
    batches = LabelledFeatures(features, torch.arange(6), 2)
    drawn = [(int(x) // 3, int(x) % 3, int(y)) for _ in range(10) for xs, ys in batches
             for x, y in zip(xs, ys, strict=True)]  # fmt: skip
    assert all(track == label for track, _, label in drawn)
    assert {crop for _, crop, _ in drawn} == {0, 1, 2}
    assert sorted(track for track, _, _ in drawn[:6]) == [0, 1, 2, 3, 4, 5]


def test_a_batch_that_cannot_be_filled_is_refused():
    check_batch(2, 2)
    for size in (0, 1, 9):
        with pytest.raises(utils.UserError, match=f"{size} must be between 2 and the 8 training tracks"):
            check_batch(size, 8)
