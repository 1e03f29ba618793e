"""SampleCNN: sample-level deep convolutional networks on raw waveforms (Lee et al., SMC 2017), the 3^9 model.

Axes: B batch, S sample.
"""

import itertools

from torch import nn

import utils

WINDOW = 3**10  # samples: 59049, 2.7 s at 22,050 Hz
CHANNELS = (128, 128, 256, 256, 256, 256, 256, 256, 512)  # of the nine convolutions that pooling by 3 follows


class SampleCNN(nn.Module):
    """Filters of three samples, eleven layers deep: (B, 1, 1, S) waveforms of at least 59049 samples → (B, 512).

    A strided convolution, nine convolutions each with max-pooling by 3, one of length 1 and dropout; every
    convolution has BatchNorm and ReLU (table 2 of the paper). Of more than one window, the mean.
    width: share of the paper's channels.
    """

    def __init__(self, width=1.0):
        super().__init__()
        channels = [round(width * n) for n in (128, *CHANNELS, CHANNELS[-1])]
        self.num_features = channels[-1]
        self.stem = block(1, channels[0], kernel_size=3, stride=3)
        self.layers = nn.Sequential(*(
            nn.Sequential(block(before, after, kernel_size=3, padding=1), nn.MaxPool1d(3))
            for before, after in itertools.pairwise(channels[:-1])
        ))  # fmt: skip
        self.top = nn.Sequential(block(channels[-2], channels[-1], kernel_size=1), nn.Dropout(0.5))

    def forward(self, x):
        check_length(x.shape[-1])
        return self.top(self.layers(self.stem(x.flatten(1, 2)))).mean(2)


def check_length(num_samples):
    """Raises :class:`utils.UserError` for waveforms that are too short."""
    if num_samples < WINDOW:
        raise utils.UserError(f"SampleCNN hears {WINDOW} samples, not {num_samples}: raise --crop_seconds")


def block(before, after, **options):
    convolution = nn.Conv1d(before, after, bias=False, **options)
    return nn.Sequential(convolution, nn.BatchNorm1d(after), nn.ReLU(inplace=True))
