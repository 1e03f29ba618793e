"""Frozen features. Axes: N crops, B batch, F mel band, T frame, D features."""

import torch

import utils


@torch.no_grad()
def extract(network, crops, device, bf16=False):
    """Run a network in eval mode over batches (B, 1, F, T) → (N, D) float32, on the device.

    Frozen means frozen: the network comes back in the mode it was in, with no buffer moved.
    """
    was_training = network.training
    network.eval()
    with utils.autocast(device, bf16):
        features = torch.cat([network(x).float() for x in crops])
    network.train(was_training)
    return features
