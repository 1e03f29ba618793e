"""What a pre-training run must show besides its loss: a collapsed network has the lowest loss of all.

Everything returns tensors of no dimension on the device of its input, so nothing waits for the device until
the caller reads a value. Axes: B batch, N tracks, D feature dimension, k neighbours.
"""

import torch
import torch.nn.functional as F

# Below either bound a run counts as collapsed. BatchNorm at a projector's output holds the std up even in a network
# whose stop-gradient was taken away; there the rank is what falls, far below that of a good run.
MIN_STD_SHARE = 0.5  # of the healthy 1/√D
MIN_RANK = 10.0  # directions, or a quarter of D where that is less


@torch.no_grad()
def normalised_std(z):
    """Mean over dimensions of the std, over the batch, of the l2-normalised rows of z (B, D).

    1/√D when the rows point everywhere (its largest value), 0 when all rows are the same
    (Chen & He 2021, section 4.1).
    """
    return F.normalize(z.float(), dim=1).std(dim=0, correction=0).mean()


@torch.no_grad()
def effective_rank(z):
    """exp of the entropy of the normalised singular values of the centred z (B, D) (Roy & Vetterli 2007).

    The number of directions that the rows use: 1 when they lie on a line or are all the same, at most
    min(B − 1, D). Directions no longer than what rounding to z's own dtype makes are not counted: it errs by about
    eps/5 of a number, and σ(√B + √D) is the longest direction of B × D independent errors of size σ.
    """
    error = torch.finfo(z.dtype).eps / 5 * z.float().square().mean().sqrt()
    rounding = error * (len(z) ** 0.5 + z.shape[1] ** 0.5)
    singular = torch.linalg.svdvals(z.float() - z.float().mean(dim=0))
    singular = torch.where(singular > rounding, singular, 0)  # rounding noise has full rank
    share = singular / singular.sum().clamp_min(torch.finfo(torch.float32).tiny)
    return torch.special.entr(share).sum().exp()


@torch.no_grad()
def knn_accuracy(train_features, train_labels, features, labels, k=20, temperature=0.07, chunk=1024):
    """Share of ``features`` (N, D) whose label a vote of the k nearest ``train_features`` finds.

    Neighbours by cosine; a neighbour of similarity s votes with weight exp(s / temperature)
    (Wu et al. 2018, section 3.4). Labels are integer tensors; k is at most the number of training tracks.
    """
    train = F.normalize(train_features.float(), dim=1)
    k = min(k, len(train))
    hits = []
    for rows, truth in zip(features.split(chunk), labels.split(chunk), strict=True):
        similarity, nearest = (F.normalize(rows.float(), dim=1) @ train.T).topk(k, dim=1)  # (B, k)
        neighbour = train_labels[nearest]
        weight = (similarity / temperature).exp()
        agree = neighbour[:, :, None] == neighbour[:, None, :]  # (B, k, k)
        vote = (agree * weight[:, None, :]).sum(2)  # what the genre of each neighbour gets in all
        hits.append(neighbour.gather(1, vote.argmax(1, keepdim=True)).squeeze(1) == truth)
    return torch.cat(hits).float().mean()


@torch.no_grad()
def ridge_accuracy(train_features, train_labels, features, labels):
    """Share of ``features`` (N, D) whose label a ridge regression on one-hot labels finds: a quick linear probe.

    Features are standardised; the penalty is as large as the mean eigenvalue of their Gram matrix, so that there is
    nothing to choose. Labels are integer tensors.
    """
    std, mean = torch.std_mean(train_features.float(), dim=0, correction=0)
    x, y = ((part.float() - mean) / std.clamp_min(1e-6) for part in (train_features, features))
    target = F.one_hot(train_labels).float()
    gram = x @ x.T  # (N, N)
    penalty = gram.diagonal().mean() * torch.eye(len(x), device=x.device)
    weights = torch.linalg.solve(gram + penalty, target - target.mean(0))
    return ((y @ x.T @ weights + target.mean(0)).argmax(1) == labels).float().mean()


def collapse_warning(std, rank, dim, num_rows):
    """A plain sentence when the representation has collapsed, else None.

    std: :func:`normalised_std`, rank: :func:`effective_rank`, both of the same (``num_rows``, ``dim``) output.
    Warns when std is below ``MIN_STD_SHARE`` of 1/√dim (all tracks look the same), when the rank is below
    ``MIN_RANK`` (all tracks lie in a few directions), or when either is not a number. Of few rows the rank cannot be
    high: then half of what it can be is asked, which says nothing of three rows or less.
    """
    std, rank = float(std), float(rank)
    min_std, min_rank = MIN_STD_SHARE * dim**-0.5, min(MIN_RANK, dim / 4, (num_rows - 1) / 2)
    if std >= min_std and rank >= min_rank:
        return None
    return (
        f"the representation is collapsing: std {std:.4f} (healthy {dim**-0.5:.4f}, collapsed below {min_std:.4f}), "
        f"effective rank {rank:.1f} (collapsed below {min_rank:g}). "
        "Try a lower --lr, gentler augmentations, a larger --batch_size, or --method simclr; "
        "a falling loss is no comfort, a collapsed network has the lowest."
    )
