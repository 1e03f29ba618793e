"""Features that nobody pre-trained: what every network has to beat. Axes: B batch, F mel band, T frame, K centroid.

Each is a module from normalised spectrograms (B, 1, F, T) to features (B, num_features) with nothing to train by
gradients. ``fit`` shows it training spectrograms, without labels, before it is used.
"""

import numpy as np
import torch
import torchaudio
from torch import nn

from models.readout import over_time

NUM_MFCC = 20


class Ruler(nn.Module):
    """What the rulers share: most of them have nothing to fit.

    seeded: whether its features depend on ``fit``, and so on the seed; per_band: whether it wants bands that are
    normalised each for itself, or all alike, as where differences between bands are what it measures.
    """

    seeded, per_band = False, True

    def fit(self, batches, seed=0):
        """batches: spectrograms (B, 1, F, T) of training tracks."""

    def __call__(self, *args):
        """In float32 also where a network beside it computes in bfloat16: the same ruler everywhere."""
        with torch.autocast(args[0].device.type, enabled=False):
            return super().__call__(*args)


class BandStatistics(Ruler):
    """Mean and deviation of every mel band and of its change from frame to frame: (B, 1, F, T) → (B, 4F)."""

    def __init__(self, num_mels):
        super().__init__()
        self.num_features = 4 * num_mels

    def forward(self, x):
        x = x.squeeze(1).float()
        change = x.diff(dim=2).abs()
        return torch.cat([x.mean(2), x.std(2), change.mean(2), change.std(2)], dim=1)


class MFCCStatistics(Ruler):
    """Mean and deviation of 20 cepstral coefficients and of their change: (B, 1, F, T) → (B, 80).

    The coefficients are the orthonormal DCT-II of the log-mel spectrum, as in librosa (Davis & Mermelstein 1980).
    """

    per_band = False

    def __init__(self, num_mels):
        super().__init__()
        number = min(NUM_MFCC, num_mels)
        self.num_features = 4 * number
        self.register_buffer("dct", torchaudio.functional.create_dct(number, num_mels, norm="ortho"))  # (F, number)

    def forward(self, x):
        x = self.dct.T @ x.squeeze(1).float()
        change = x.diff(dim=2)
        return torch.cat([x.mean(2), x.std(2), change.mean(2), change.std(2)], dim=1)


class KMeansDictionary(Ruler):
    """Which of K typical spectrogram columns a track is made of: (B, 1, F, T) → (B, 3K).

    Columns are whitened (ZCA, with ``floor`` added to the variances); a column answers centroid k by
    max(0, mean distance − distance to k), the "triangle" of Coates & Ng 2012, section 3; the answers are summarised
    over time by mean, deviation and maximum.
    """

    seeded = True

    def __init__(self, num_mels, num_centroids=512, floor=0.1, columns=100_000):
        super().__init__()
        self.num_features, self.floor, self.columns = 3 * num_centroids, floor, columns
        self.register_buffer("mean", torch.zeros(num_mels))
        self.register_buffer("whitening", torch.eye(num_mels))
        self.register_buffer("centroids", torch.zeros(num_centroids, num_mels))

    @torch.no_grad()
    def fit(self, batches, seed=0):
        """Whitening from, and centroids of, so many columns, evenly drawn from the tracks."""
        from sklearn.cluster import MiniBatchKMeans  # slow to import

        rng = np.random.default_rng(seed)
        columns = np.concatenate([x.squeeze(1).transpose(1, 2).flatten(0, 1).cpu().numpy() for x in batches])
        if len(columns) > self.columns:
            columns = columns[rng.choice(len(columns), self.columns, replace=False)]
        mean = columns.mean(0)
        variances, axes = np.linalg.eigh(np.cov(columns.T))
        whitening = (axes / np.sqrt(variances + self.floor)) @ axes.T
        means = MiniBatchKMeans(
            min(len(self.centroids), len(columns)), batch_size=4096, n_init=1, max_iter=20, random_state=seed
        ).fit((columns - mean) @ whitening)
        self.mean.copy_(torch.from_numpy(mean))
        self.whitening.copy_(torch.from_numpy(whitening))
        self.centroids.zero_()[: len(means.cluster_centers_)] = torch.from_numpy(means.cluster_centers_)

    def forward(self, x):
        columns = (x.squeeze(1).float().transpose(1, 2) - self.mean) @ self.whitening  # (B, T, F)
        distance = torch.cdist(columns, self.centroids)  # (B, T, K)
        answer = (distance.mean(2, keepdim=True) - distance).relu()
        return over_time(answer.transpose(1, 2), ("mean", "std", "max"))


RULERS = {"stats": BandStatistics, "mfcc": MFCCStatistics, "kmeans": KMeansDictionary}
