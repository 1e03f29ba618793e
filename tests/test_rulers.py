"""models/rulers.py, models/readout.py and models/layers.py beside plain NumPy, librosa and scikit-learn."""

import librosa
import numpy as np
import pytest
import torch

import models
import utils
from models import layers, readout, rulers


def spectrograms(number=8, bands=32, frames=60):
    return torch.randn(number, 1, bands, frames, generator=torch.manual_seed(0))


def test_the_cepstral_coefficients_are_librosas():
    x = spectrograms()
    theirs = librosa.feature.mfcc(S=x[0, 0].numpy(), n_mfcc=20)
    ours = rulers.MFCCStatistics(32)(x)[0].numpy()
    change = np.diff(theirs)
    expected = [theirs.mean(1), theirs.std(1, ddof=1), change.mean(1), change.std(1, ddof=1)]
    np.testing.assert_allclose(ours, np.concatenate(expected), atol=1e-4)


def test_the_dictionary_is_coates_and_ngs():
    x = spectrograms()
    dictionary = rulers.KMeansDictionary(32, num_centroids=16)
    dictionary.fit([x[:4], x[4:]], seed=0)
    columns = x[0, 0].numpy().T
    whitened = (columns - dictionary.mean.numpy()) @ dictionary.whitening.numpy()
    distance = np.linalg.norm(whitened[:, None] - dictionary.centroids.numpy(), axis=2)
    answer = np.maximum(0, distance.mean(1, keepdims=True) - distance)
    expected = np.concatenate([answer.mean(0), np.sqrt(answer.var(0) + 1e-4), answer.max(0)])
    np.testing.assert_allclose(dictionary(x)[0].numpy(), expected, atol=1e-4)
    assert dictionary.num_features == len(expected)


def test_whitening_leaves_unit_variances():
    mix = torch.randn(32, 32, generator=torch.manual_seed(1))
    x = torch.einsum("fg,bcgt->bcft", mix, spectrograms(64))
    dictionary = rulers.KMeansDictionary(32, num_centroids=4, floor=1e-6)
    dictionary.fit([x])
    columns = (x.squeeze(1).transpose(1, 2).flatten(0, 1) - dictionary.mean) @ dictionary.whitening
    torch.testing.assert_close(torch.cov(columns.T), torch.eye(32), atol=0.02, rtol=0)


def test_the_same_seed_finds_the_same_centroids():
    centroids = []
    for seed in (0, 0, 1):
        dictionary = rulers.KMeansDictionary(32, num_centroids=8)
        dictionary.fit([spectrograms()], seed)
        centroids.append(dictionary.centroids)
    assert torch.equal(centroids[0], centroids[1])
    assert not torch.equal(centroids[0], centroids[2])


def test_maps_are_averaged_or_keep_their_frequencies():
    x = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(readout.read_out(x, "average"), x.mean((2, 3)))
    rows = x.flatten(1, 2)
    ours = readout.read_out(x, "mean_std_max")
    expected = torch.cat([rows.mean(2), (rows.var(2, correction=0) + 1e-4).sqrt(), rows.amax(2)], 1)
    torch.testing.assert_close(ours, expected)
    assert ours.shape[1] == readout.num_features(3, 4, "mean_std_max") == 36
    assert readout.num_features(3, 4, "average") == 3


def test_a_map_that_never_changes_has_a_finite_gradient():
    x = torch.ones(1, 2, 3, 4, requires_grad=True)
    readout.read_out(x, "mean_std_max").sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("backbone", ["frames", "resnet18"])
@pytest.mark.parametrize("pool", ["mean_std_max", "average"])
def test_stages_are_read_out_as_the_last_one_is(backbone, pool):
    method = models.build({"method": "simsiam", "backbone": backbone, "pool": pool}, num_mels=64).eval()
    x = spectrograms(2, 64, 70)
    last = len(method.backbone.stage_features)
    with torch.no_grad():
        chosen = layers.Layers(method.backbone, method.projector, f"stage1+backbone+stage{last}+projector+stats", 64)
        parts = chosen(x).split(chosen.widths, dim=1)
        torch.testing.assert_close(parts[1], method.backbone(x))
        torch.testing.assert_close(parts[2], parts[1])
        torch.testing.assert_close(parts[3], method.projector(method.backbone(x)))
        torch.testing.assert_close(parts[4], rulers.BandStatistics(64)(x))
    assert chosen.num_features == sum(part.shape[1] for part in parts)
    assert parts[0].shape[1] == method.backbone.stage_features[0]


def test_a_layer_that_there_is_not_is_named():
    method = models.build({"method": "simsiam", "backbone": "frames"}, num_mels=64)
    with pytest.raises(utils.UserError, match="there is no 'stage4', only backbone, projector, stage1"):
        layers.Layers(method.backbone, method.projector, "stage4+stats", 64)
