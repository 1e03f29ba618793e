"""Made-up embeddings of genres, one layer of which knows them."""

import numpy as np


def vectors(num_genres=3, per_genre=30, num_layers=4, num_features=12, good_layer=2, spread=1.5, seed=0):
    """(track_id, genre_top, embeddings (N, L, D)); only ``good_layer`` knows the genre, and scales differ."""
    chance = np.random.default_rng(seed)
    labels = np.repeat(np.arange(num_genres), per_genre)
    array = chance.normal(0, 1, (len(labels), num_layers, num_features))
    array[:, good_layer] += chance.normal(0, 1, (num_genres, num_features))[labels] * 3 / spread
    array = 5 + array * (10.0 ** np.arange(num_layers))[:, None]
    genres = np.array([f"genre {label:02d}" for label in labels])
    return np.array([f"t{number:04d}" for number in range(len(labels))]), genres, array.astype(np.float32)


def write_npz(path, **more):
    ids, genres, array = vectors(**more)
    np.savez(path, track_id=ids, genre_top=genres, embeddings=array)
    return path
