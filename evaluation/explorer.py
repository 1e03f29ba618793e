"""A collection as one page to look through: a map of its tracks, and the nearest neighbours of each.

What the page is given is gathered here; explore.html.jinja, .css and .js show it. Tracks' names reach it as JSON in
which no ``<`` is left, and the script sets them as text, never as HTML.
Axes: N tracks, K neighbours, G genres, D feature dimension.
"""

import base64
import contextlib
from pathlib import Path

import jinja2
import numpy as np
from sklearn.neighbors import NearestNeighbors

from evaluation import plots
from utils import UserError, atomic_path

MARK = '<script type="application/json" id="data">'  # as in explore.html.jinja: by it a page is known
LEAST_FOR_TSNE = 10  # tracks
SPLITS = ("training", "validation", "test")  # in this order; after them others, which nothing learns from
FINE = 65_535  # steps of a place on the map, from 0 to 1
DISTANCES = 10_000  # steps of a distance from 0 to 1


class Space:
    """The features (N, D) of a collection, standardised over its tracks: two are as near as their cosine says.

    Raises :class:`utils.UserError` where they are not finite.
    """

    def __init__(self, features):
        spread = features.std(0)
        self.mean, self.spread = features.mean(0), np.where(spread > 0, spread, 1)
        self.index = NearestNeighbors(metric="cosine", algorithm="brute").fit(self._standardised(features))

    def _standardised(self, features):
        standardised = (features - self.mean) / self.spread
        if not np.isfinite(standardised).all():
            raise UserError("some features are no finite numbers: choose another experiment")
        return standardised

    def neighbours(self, count):
        """Of each track its ``count`` nearest others (all of them where there are fewer), nearest first.

        (N, K) indices and (N, K) cosine distances, from 0 to 2. Exact; computed in chunks.
        Raises :class:`utils.UserError` for a track alone.
        """
        others = self.index.n_samples_fit_ - 1
        if not others:
            raise UserError("a map needs at least 2 tracks")
        distances, nearest = self.index.kneighbors(n_neighbors=min(count, others))
        return nearest, distances

    def nearest_to(self, features, count):
        """The same of one more track (D,), which is not in the collection: (K,) indices and (K,) distances."""
        asked = self._standardised(features)[None]
        distances, nearest = self.index.kneighbors(asked, min(count, self.index.n_samples_fit_))
        return nearest[0], distances[0]


def place(features, seed=0):
    """(N, D) → (N, 2) from 0 to 1, the same for the same seed: t-SNE of 50 principal components."""
    flat = plots.flatten(features, "tsne" if len(features) >= LEAST_FOR_TSNE else "pca", seed)
    flat = flat - flat.min(0)
    return flat / max(flat.max(), 1e-12)


def packed(numbers):
    """Whole numbers of any shape, in the smallest type that holds them, as the page's script unpacks them."""
    numbers = np.asarray(numbers)
    kind = np.min_scalar_type(int(numbers.max(initial=0)))
    data = base64.b64encode(numbers.astype(kind.newbyteorder("<")).tobytes()).decode()
    return {"type": f"Uint{8 * kind.itemsize}Array", "data": data}


def page_data(tracks, features, neighbours, seed=0, genres=(), probabilities=None, sounds=None):
    """What the page is made of, as JSON can hold it.

    tracks: table with track_id, genre_top and split; neighbours: of :meth:`Space.neighbours`; genres: that
    ``probabilities`` (N, G) speak of; sounds: the address of each track's audio, or None.
    """
    names = sorted({*genres, *tracks["genre_top"]})
    there = set(tracks["split"])
    splits = [name for name in SPLITS if name in there] + sorted(there.difference(SPLITS))
    nearest, distances = neighbours
    data = {
        "ids": tracks["track_id"].tolist(),
        "genres": names,
        "splits": splits,
        "colours": [plots.GENRE_COLOURS[number % 20] for number in range(len(names))],
        "genre": packed([names.index(genre) for genre in tracks["genre_top"]]),
        "split": packed([splits.index(split) for split in tracks["split"]]),
        "place": packed(np.rint(place(features, seed) * FINE)),
        "nearest": packed(nearest),
        "distance": packed(np.rint(distances.clip(0) * DISTANCES)),
        "sounds": sounds or [],
    }
    if probabilities is not None:
        order = np.array([names.index(genre) for genre in genres])
        data["predicted"] = packed(order[probabilities.argmax(1)])
        data["percent"] = packed(np.rint(100 * probabilities.max(1)))
    return data


def is_page(path):
    """Whether a file is there that :func:`write_page` has written."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return MARK in path.read_text(encoding="utf-8")
    return False


def write_page(path, title, about, data, caution=""):
    """Write the page of :func:`page_data` under a ``title``; ``caution`` stands beside the share of right ones."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    page = templates.get_template("explore.html.jinja").render(title=title, about=about, data=data, caution=caution)
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
