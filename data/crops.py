"""Fast batches of crops from a folder of spectrograms or waveforms, and the vectors of a folder of embeddings.

Axes: N tracks, B batch, F mel band (row 0 = lowest), T frame, L layer, D feature dimension.
"""

import concurrent.futures
import functools
from dataclasses import dataclass

import numpy as np
import torch

import utils
from data.folder import check_finite, open_array, read_array

LEAST_STD = 0.1  # of a band, beside the mean over the bands


def load(folder, rows, device, cache="auto"):
    """The spectrograms of ``rows``, held where ``cache`` says.

    "device" or "ram": as one tensor; "disk": read as they are needed; "auto": where there is room, in this order.
    Raises :class:`utils.UserError` where they are asked into memory that they do not fit in.
    """
    num_bytes = int(rows["frames"].sum()) * folder.settings.bytes_per_frame
    if cache == "auto":
        cache = choose_cache(num_bytes, device)
    if cache == "disk":
        return OnDisk(folder, rows, device)
    utils.check_memory(num_bytes, f"--cache {cache}")
    return InMemory(folder, rows, device, device if cache == "device" else torch.device("cpu"))


def choose_cache(num_bytes, device):
    """Where so many bytes are held best. Those for a device pass through memory, and must fit there, too."""
    if num_bytes >= 0.4 * utils.free_memory():
        return "disk"
    fits_on_device = device.type == "cuda" and num_bytes < 0.4 * torch.cuda.mem_get_info(device)[0]
    return "device" if fits_on_device else "ram"


class Unread:
    """The spectrograms of ``rows``, which are loaded when they are first asked for more than their number."""

    def __init__(self, folder, rows, device, cache="auto"):
        self.folder, self.rows, self.device, self.cache = folder, rows, device, cache

    def __len__(self):
        return len(self.rows)

    @functools.cached_property
    def held(self):
        return load(self.folder, self.rows, self.device, self.cache)

    def __getattr__(self, name):
        return getattr(self.held, name)


class _Crops:
    """What the two ways of holding spectrograms share."""

    def __init__(self, folder, rows, device):
        self.folder, self.rows, self.device = folder, rows, device
        self.settings = folder.settings
        self.lengths = torch.tensor(rows["frames"].to_numpy(), dtype=torch.int64)

    def __len__(self):
        return len(self.rows)

    def random_starts(self, tracks, num_frames):
        """A first frame for each of ``tracks`` (any shape), uniform over the crops that lie inside the track."""
        room = (self.lengths[tracks] - num_frames + 1).clamp_min(1)
        return (torch.rand(tracks.shape) * room).long()

    def disjoint_starts(self, tracks, num_frames, num_crops=2):
        """First frames of ``num_crops`` crops, in random order, for each of ``tracks`` (any shape): (num_crops, …).

        They do not overlap where a track is long enough; where it is not, each is anywhere.
        """
        room = (self.lengths[tracks] - num_frames).clamp_min(0)  # for the last crop to begin in
        fits = room >= num_frames * (num_crops - 1)
        apart = torch.where(fits, num_frames, 0)
        slack = room - apart * (num_crops - 1)
        starts = (torch.rand(num_crops, *tracks.shape) * (slack + 1)).long().sort(0).values
        number = torch.arange(num_crops).view(-1, *[1] * tracks.ndim)
        return (starts + number * apart).gather(0, torch.rand(num_crops, *tracks.shape).argsort(0))

    def even_starts(self, tracks, num_frames, num_crops):
        """First frames of ``num_crops`` crops spread evenly from a track's begin to its end: (N, num_crops)."""
        return even_starts(self.lengths[tracks], num_frames, num_crops)

    def batches(self, requests, num_frames):
        """For each request, a tuple of ``(tracks, starts)`` pairs of shape (B,), a tuple of crops (B, 1, F, T).

        A track shorter than the crop is repeated. dB, float32, on the device.
        """
        for request in requests:
            yield tuple(self.crop(tracks, starts, num_frames) for tracks, starts in request)

    def every_crop(self, num_frames, num_crops, batch_size, tracks=None):
        """Batches (B, 1, F, T) of ``num_crops`` even crops of ``tracks`` (default: all), track after track."""
        tracks = torch.arange(len(self)) if tracks is None else tracks
        starts = self.even_starts(tracks, num_frames, num_crops).flatten()
        pairs = zip(tracks.repeat_interleave(num_crops).split(batch_size), starts.split(batch_size), strict=True)
        for (x,) in self.batches(((pair,) for pair in pairs), num_frames):
            yield x

    def _to_decibels(self, stored):
        """(B, F, T) as stored → (B, 1, F, T) dB."""
        return self.settings.decode(utils.to_device(stored, self.device).unsqueeze(1))


class InMemory(_Crops):
    """All spectrograms end to end in one (frames, F) tensor, so that a batch of crops is one gather of rows."""

    def __init__(self, folder, rows, device, storage_device):
        super().__init__(folder, rows, device)
        dtype = getattr(torch, self.settings.dtype)
        self.frames = torch.empty(int(self.lengths.sum()), self.settings.n_mels, dtype=dtype)
        self.offsets = torch.cumsum(self.lengths, 0) - self.lengths
        for offset, row in zip(self.offsets.tolist(), rows.itertuples(), strict=True):
            self.frames[offset : offset + row.frames] = torch.from_numpy(read_array(folder, row).T)
        self.frames = self.frames.to(storage_device)
        self.storage_device = storage_device

    def crop(self, tracks, starts, num_frames):
        """Crops of ``num_frames`` from ``starts``: (B, 1, F, T) dB."""
        where = torch.stack([self.offsets[tracks], starts, self.lengths[tracks]])
        offsets, starts, lengths = utils.to_device(where, self.storage_device).unsqueeze(-1)
        inside = (starts + torch.arange(num_frames, device=self.storage_device)) % lengths
        return self._to_decibels(self.frames[offsets + inside].transpose(1, 2))


class OnDisk(_Crops):
    """Memory-mapped files, read by threads that stay a few batches ahead of the training."""

    threads, batches_ahead = 8, 4

    def __init__(self, folder, rows, device):
        super().__init__(folder, rows, device)
        self.paths = rows["path"].to_numpy()  # looked up when they are read: an epoch begins at once, of any size

    def crop(self, tracks, starts, num_frames):
        """Crops of ``num_frames`` from ``starts``: (B, 1, F, T) dB."""
        return self._to_decibels(self._read(tracks, starts, num_frames))

    def _read(self, tracks, starts, num_frames):
        places = zip(tracks.tolist(), starts.tolist(), strict=True)
        crops = [self._read_one(track, start, num_frames) for track, start in places]
        return torch.from_numpy(np.stack(crops))

    def _read_one(self, track, start, num_frames):
        file = self.folder.file_at(self.paths[track])
        array = open_array(file, self.settings, int(self.lengths[track]), mmap_mode="r")
        crop = array.take(range(start, start + num_frames), axis=1, mode="wrap")
        check_finite(crop, file)
        return crop

    def batches(self, requests, num_frames):
        """As :meth:`_Crops.batches`, read ahead."""
        with concurrent.futures.ThreadPoolExecutor(self.threads) as pool:
            waiting = []
            for request in requests:
                waiting.append([pool.submit(self._read, *pair, num_frames) for pair in request])
                if len(waiting) > self.batches_ahead:
                    yield self._arrived(waiting.pop(0))
            for batch in waiting:
                yield self._arrived(batch)

    def _arrived(self, batch):
        return tuple(self._to_decibels(crop.result()) for crop in batch)


def even_starts(lengths, num_frames, num_crops):
    """lengths (N,) → first frames (N, num_crops) from begin to end of a track; one crop is the central one."""
    places = torch.linspace(0, 1, num_crops) if num_crops > 1 else torch.tensor([0.5])
    return ((lengths - num_frames).clamp_min(0)[:, None] * places).round().long()


def cut_evenly(x, num_frames, num_crops):
    """One whole spectrogram (F, T) → (num_crops, 1, F, num_frames); a shorter one is repeated."""
    length = torch.tensor([x.shape[1]])
    starts = even_starts(length, num_frames, num_crops)[0]
    frames = (starts[:, None] + torch.arange(num_frames)) % length
    return x[:, frames.to(x.device)].transpose(0, 1).unsqueeze(1)


def crops_of_file(pieces, num_frames, num_crops, normalise, settings, known):
    """``num_crops`` normalised crops (·, 1, F, T) of each of the pieces (F, T) dB of a file, evenly spread.

    known: how many rows, from the lowest, the file tells anything of; the others of a spectrogram are continued.
    """
    x = normalise(torch.cat([cut_evenly(piece, num_frames, num_crops) for piece in pieces]))
    return normalise.continued(x, known, settings.db_min) if settings.kind == "spectrogram" else x


# ------------------------------------------------------------------ normalisation


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation in dB, measured on training tracks only: of each band, tuples (F,), or of all."""

    mean: float | tuple
    std: float | tuple

    def __call__(self, x):
        """(…, F, T) → the same, normalised."""
        mean, std = _on_device(self, x.device) if isinstance(self.mean, tuple) else (self.mean, self.std)
        return (x - mean) / std

    def continued(self, x, known, lowest):
        """x (…, F, T), normalised, whose bands from ``known`` upwards are missing → the same with a guess at them.

        Each is as far from its mean as the highest known band is at that moment, but no lower than ``lowest`` dB.
        Where all bands have one mean, nothing is guessed.
        """
        if not isinstance(self.mean, tuple) or known >= x.shape[-2]:
            return x
        floor = self(torch.full((x.shape[-2], 1), lowest, device=x.device))[known:]
        return torch.cat([x[..., :known, :], torch.maximum(x[..., known - 1 : known, :], floor)], dim=-2)

    @classmethod
    def of(cls, content):
        """What configuration.json holds. Raises KeyError, TypeError or ValueError for what it cannot be."""
        mean, std = content["mean"], content["std"]
        if isinstance(mean, list):
            return cls(tuple(map(float, mean)), tuple(map(float, std)))
        return cls(float(mean), float(std))


@functools.lru_cache(maxsize=16)
def _on_device(normalisation, device):
    return [torch.tensor(part, device=device)[:, None] for part in (normalisation.mean, normalisation.std)]


def measure_normalisation(spectrograms, per_band=False, num_tracks=1000, num_frames=None):
    """The :class:`Normalisation` of evenly chosen tracks, one central crop of 1 s (at least 128 frames) each."""
    num_frames = num_frames or max(128, spectrograms.settings.frames_in(1.0))
    tracks = torch.linspace(0, len(spectrograms) - 1, min(num_tracks, len(spectrograms))).long()
    starts = spectrograms.even_starts(tracks, num_frames, 1)[:, 0]
    x = spectrograms.crop(tracks, starts, num_frames)
    if not per_band:
        return Normalisation(mean=round(x.mean().item(), 4), std=round(x.std().clamp_min(1e-3).item(), 4))
    std, mean = torch.std_mean(x, dim=(0, 1, 3))
    std = std.clamp_min(max(1e-3, LEAST_STD * std.mean().item()))  # of a band that is nearly always silent
    return Normalisation(*(tuple(round(v, 4) for v in part.tolist()) for part in (mean, std)))


# ------------------------------------------------------------------ embeddings


class Vectors:
    """The embeddings of some rows of a folder: ``array`` (N, L, D) float32, on the device."""

    def __init__(self, folder, rows, device):
        self.rows = rows
        shape = folder.settings.num_layers, folder.settings.num_features
        read_array(folder, rows.iloc[0])  # has it not this shape, nobody knows how much memory the shape asks for
        array = np.empty((len(rows), *shape), dtype=np.float32)
        for number, row in enumerate(rows.itertuples()):
            array[number] = read_array(folder, row)
        self.array = torch.from_numpy(array).to(device)

    def __len__(self):
        return len(self.rows)
