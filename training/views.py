"""What a training loop iterates over: batches of views, cut, augmented and normalised on the device.

Axes: B batch, F mel band, T frame, N tracks, C crops, D feature dimension.
"""

import torch

import utils
from training.distributed import mine, own_chance

LEAST_STEPS = 20  # of a supervised epoch
LEAST_MIXUP = 1e-6  # below it Beta(α, α) draws 0 and 1 only, and at last fails


class Views:
    """How a view is made of stored crops: cut with the context that the augmentation reads, augmented, normalised."""

    def __init__(self, crops, augmentation, normalise, num_frames):
        self.crops, self.augmentation, self.normalise, self.num_frames = crops, augmentation, normalise, num_frames
        self.num_input = round(num_frames * augmentation.context)

    def random_starts(self, tracks):
        return self.crops.random_starts(tracks, self.num_input)

    def starts(self, tracks, pair, num_views):
        """First frames of the crops of each track, (num_views, …): see :class:`TrackViews`."""
        if pair == "disjoint":
            return self.crops.disjoint_starts(tracks, self.num_input, num_views)
        if pair == "same":
            return self.random_starts(tracks).expand(num_views, *tracks.shape)
        return torch.stack([self.random_starts(tracks) for _ in range(num_views)])

    def batches(self, requests):
        """For each tuple of (tracks, starts), a tuple of views (B, 1, F, T)."""
        for batch in self.crops.batches(requests, self.num_input):
            yield tuple(self.normalise(self.augmentation(x, self.num_frames)) for x in batch)


class TrackViews:
    """One epoch of pre-training at each iteration: two or more views (B, 1, F, T) of every track, in random order.

    views: :class:`Views`; pair: "disjoint" crops of a track, "different" ones, which may overlap, or the "same" crop
    augmented anew for each view. The incomplete last batch is left out.
    """

    def __init__(self, views, batch_size, pair="disjoint", num_views=2):
        self.views, self.batch_size, self.pair, self.num_views = views, batch_size, pair, num_views
        self.num_tracks = len(views.crops)

    def __len__(self):
        return self.num_tracks // self.batch_size

    def __iter__(self):
        return self.after(0)

    def after(self, steps):
        """The batches of an epoch that come after so many: all are drawn at once, so they are those of the whole.

        Of every batch the part that is this process's.
        """
        return self.views.batches(self.requests(steps))

    def requests(self, steps=0):
        """What :meth:`Views.batches` is asked for. Drawn here; one batch's tuples are made when it is its turn."""
        order = torch.randperm(self.num_tracks)[: len(self) * self.batch_size].view(len(self), self.batch_size)
        starts = self.views.starts(order, self.pair, self.num_views)  # (num_views, batches, B)
        return ([(mine(order[step]), mine(one[step])) for one in starts] for step in range(steps, len(self)))


class LabelledViews:
    """One supervised epoch at each iteration: (view (B, 1, F, T), labels (B, G)) of ``tracks`` (N,) in random order.

    Of every batch the part that is this process's.

    labels: of all tracks, one-hot (N, G); mixup: see :func:`mixed`. An epoch of few tracks goes through them several
    times, so that it has ``LEAST_STEPS``: training is made of steps, and few labels would have hardly any.
    """

    def __init__(self, views, labels, tracks, batch_size, mixup=0.0):
        self.views, self.labels, self.tracks, self.batch_size = views, labels, tracks, batch_size
        self.mixup = mixup
        self.passes = -(-LEAST_STEPS // (len(tracks) // batch_size))

    def __len__(self):
        return self.passes * (len(self.tracks) // self.batch_size)

    def __iter__(self):
        order = [batch for _ in range(self.passes) for batch in shuffled(self.tracks, self.batch_size)]
        requests = [((mine(tracks), mine(self.views.random_starts(tracks))),) for tracks in order]
        own_chance()
        for ((tracks, _),), (x,) in zip(requests, self.views.batches(requests), strict=True):
            yield mixed(x, self.labels[utils.to_device(tracks, self.labels.device)], self.mixup)


class LabelledFeatures:
    """One supervised epoch on frozen features (N, C, D): one random crop of each track, and its label."""

    def __init__(self, features, labels, batch_size):
        self.features, self.labels, self.batch_size = features, labels, batch_size

    def __len__(self):
        return len(self.features) // self.batch_size

    def __iter__(self):
        for tracks in shuffled(torch.arange(len(self.features)), self.batch_size):
            chosen = torch.stack([tracks, torch.randint(self.features.shape[1], tracks.shape)])
            tracks, crops = utils.to_device(chosen, self.features.device)
            yield self.features[tracks, crops], self.labels[tracks]


def mixed(x, y, alpha):
    """mixup (Zhang et al. 2018): each of x (B, 1, F, T) blended with another of the batch, and y (B, G) just so.

    The share of the sample itself is drawn from Beta(alpha, alpha), the larger half of it; alpha 0 blends nothing.
    It is the network's input that is blended, as in the paper, not the power of two recordings as in a view.
    """
    if alpha < LEAST_MIXUP:
        return x, y
    share = torch.distributions.Beta(alpha, alpha).sample((len(x),))
    share = utils.to_device(torch.maximum(share, 1 - share), x.device)
    other = utils.to_device(torch.randperm(len(x)), x.device)
    shares = share[:, None, None, None], share[:, None]
    return tuple(part * one + (1 - part) * one[other] for part, one in zip(shares, (x, y), strict=True))


def shuffled(tracks, batch_size):
    """Random batches of ``tracks`` (N,), without the incomplete last one."""
    return tracks[torch.randperm(len(tracks))].split(batch_size)[: len(tracks) // batch_size]


def check_batch(batch_size, num_tracks):
    """Raises :class:`utils.UserError` for a batch that cannot be filled, or in which BatchNorm has nothing to do."""
    if not 2 <= batch_size <= num_tracks:
        raise utils.UserError(f"--batch_size {batch_size} must be between 2 and the {num_tracks} training tracks")
