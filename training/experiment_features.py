"""The extractor that makes embeddings of a pre-trained experiment: ``preprocessing.py --features exp:ID``.

Axes: D feature dimension.
"""

import threading

import torch

import utils
from data import crops
from data.collection import Collection, Extractor, Track, array_path
from data.settings import Embedding
from training.experiment import Experiment
from training.frozen import extract


class ExperimentFeatures(Extractor):
    """Track id of a spectrogram folder → (1, D) float32: the backbone's features, averaged over even crops.

    exp_path, exp_dir: the experiment; data_dir, dataset: the folder, by default the experiment's own.
    ``name`` is that of the folder to make, ``collection`` its tracks.
    """

    stays_here = True

    def __init__(self, exp_path, exp_dir, data_dir, dataset, num_crops):
        experiment = Experiment.open(exp_path, exp_dir)
        folder = experiment.spectrograms(data_dir, dataset)
        self.device, self.lock = utils.pick_device("auto"), threading.Lock()
        self.encoder = experiment.method(self.device).encoder()
        self.normalise = experiment.normalisation
        self.num_frames = folder.settings.frames_in(experiment.flags.crop_seconds)
        utils.check_memory(2 * 4 * num_crops * folder.settings.num_rows * self.num_frames, f"--num_crops {num_crops}")
        self.crops = crops.load(folder, folder.tracks, self.device)
        self.number = {track_id: number for number, track_id in enumerate(folder.tracks["track_id"])}
        self.num_crops = num_crops
        self.name = f"{folder.dataset}_{experiment.folder.name}"
        self.collection = Collection([
            Track(
                track_id=row.track_id,
                source=row.track_id,
                path=array_path(row.genre_top, row.track_id),
                genre_top=row.genre_top,
                split=row.split,
                artist=row.artist,
            )
            for row in folder.tracks.itertuples()
        ])  # fmt: skip
        weights = utils.digest(experiment.folder / "pre.pth")  # trained on since, they make other embeddings
        more = {"dataset": folder.dataset, "num_crops": num_crops, "weights": weights}
        features = f"exp:{experiment.folder.name}"
        super().__init__(Embedding(features, 1, self.encoder.num_features, more=more))

    def __call__(self, source):
        tracks = torch.full((self.num_crops,), self.number[source])
        starts = self.crops.even_starts(tracks[:1], self.num_frames, self.num_crops)[0]
        with self.lock:
            x = self.normalise(self.crops.crop(tracks, starts, self.num_frames))
            return extract(self.encoder, [x], len(x), self.device).mean(0, keepdim=True).cpu().numpy()
