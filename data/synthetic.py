"""Write a small corpus of synthetic music in the shape of FMA (Defferrard et al. 2017), real mp3 files and all.

It serves the demo and the tests: folder tree, tracks.csv, genres.csv, checksums and README.txt are as in FMA, so that
every script takes it for the real one. A genre is a rhythm and a row of numbers, from which its tracks stray so far
that genres overlap; an artist has an instrument and a drum kit of their own. A track is also of a sub-genre, bright
or dark as the instrument is, and of the genre whose rhythm it borrows. It says nothing about real music.
"""

import collections
import csv
import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

import utils

SAMPLE_RATE = 22050  # mono at half of FMA's rate: encoding is much of the work
NUM_TRACKS = {"small": 480, "medium": 960}
MARKER = "This is a synthetic corpus written by data/synthetic.py; it is not the Free Music Archive."

# ------------------------------------------------------------------ genres

# Name and FMA's id; a bar of 16 steps for kick, snare, hat and chords, x a hit, o a soft one; then TRAITS: beats a
# minute; by how much of a step every second one comes late; loudness of drums, bass and hiss against chords at 1; the
# dB by which a harmonic is weaker for each kHz; 0 all harmonics, 1 odd ones only; seconds in which a note fades to a
# third; gain into the clipping. The first eight genres are FMA-small's.
TABLE = """\
Electronic    15 x...x...x...x... ....x.......x... ..x...x...x...x. ..x...x...x...x. 126 .05 1.4 1.0 .01  7 .4  .25 2
Experimental  38 x......o..x..... .....x........o. o..x......o...x. x.........x.....  90 .20  .6  .5 .08 10 .5  .8  3
Folk          17 x............... ........o....... ....o.......o... x...x.x...x.x.x. 102 .10  .3  .3 .01 12 .2  .4  1
Hip-Hop       21 x......x..x..... ....x.......x..o x.x.x.x.x.x.x.x. x.......x.......  88 .30 1.3 1.5 .02 14 .3  .5  2
Instrumental  18 x............... ............o... x...x...x...x... xxxxxxxxxxxxxxxx  84 .05  .3  .5 .01 16 .3 1.0  1
International  2 x.....x.....x... ...x..o...x...o. o.oxo.oxo.oxo.ox ..x...x...x...x. 110 .15  .8  .7 .01 10 .7  .25 2
Pop           10 x...x.x.x...x... ....x.......x... x.o.x.o.x.o.x.o. x.x.x.x.x.x.x.x. 112 .10  .9  .8 .01 10 .3  .6  2
Rock          12 x.......x.x..... ....x.......x... x.x.x.x.x.x.x.x. x.x.x.x.x.x.x.x. 132 .05 1.1  .8 .02  7 .2  .8  6
Classical      5 x............... ................ ................ x.......x.......  84 .05  .1  .7 .01 14 .2 1.0  1
Jazz           4 o.......o....... ......o.......o. x...x..xx...x..x ..x......x...... 130 .40  .6 1.0 .01 13 .4  .4  1
"""
GENRES = {name: row for name, *row in map(str.split, TABLE.splitlines())}
SMALL_GENRES = list(GENRES)[:8]
TRAITS = ("tempo", "swing", "drums", "bass", "hiss", "fall", "hollow", "ring", "drive")
SPREAD = (0.15, 1, 0.6, 0.6, 1.5, 0.4, 0.8, 0.8, 1)  # in octaves: how far tracks stray, so how much genres overlap
BORROW = 0.2  # probability of another genre's rhythm
SUBGENRES = {"Bright": 2000, "Dark": 3000}  # what stands before the genre's name, and is added to its id
INSTRUMENT = ("hiss", "fall", "hollow", "ring", "drive")  # an artist's own; a track draws the others


def draw_traits(genre, rng):
    """{trait: the genre's number times a log-normal factor}, and ``rhythm``, the genre whose bars are played."""
    centre = np.array(GENRES[genre][5:], float)
    traits = dict(zip(TRAITS, centre * 2 ** (SPREAD * rng.standard_normal(len(centre))), strict=True))
    traits["rhythm"] = str(rng.choice(list(GENRES))) if rng.random() < BORROW else genre
    return traits


def draw_track(genre, artist_seed, track_seed):
    """The traits of a track, its artist's instrument among them, and both generators as that leaves them."""
    artist, rng = np.random.default_rng(artist_seed), np.random.default_rng(track_seed)
    instrument, traits = draw_traits(genre, artist), draw_traits(genre, rng)
    return traits | {trait: instrument[trait] for trait in INSTRUMENT}, artist, rng


def genres_of(genre, traits):
    """The ids of all its genres as FMA has them: the top genre, its sub-genre, and that of a borrowed rhythm."""
    top, fall = int(GENRES[genre][0]), float(GENRES[genre][5 + TRAITS.index("fall")])
    kind = "Dark" if traits["fall"] > fall else "Bright"
    return tuple(dict.fromkeys([top, SUBGENRES[kind] + top, int(GENRES[traits["rhythm"]][0])]))


# ------------------------------------------------------------------ sound


def voice(onsets, pitches, length, fall, hollow, ring):
    """A line of notes (length,), each ringing until the next: begun at sample ``onsets``, at MIDI ``pitches``.

    A sum of all harmonics in closed form: Σ r^k sin kθ = r sin θ / (1 − 2 r cos θ + r²), k ≥ 1 (Moorer 1976).
    At θ + π the odd ones have changed sign, so that subtracting it takes the even ones away.
    """
    spans = np.diff([*onsets, length])
    frequency = np.repeat(440 * 2 ** ((pitches - 69) / 12), spans)
    age = (np.arange(onsets[0], length) - np.repeat(onsets, spans)) / SAMPLE_RATE
    r = 10 ** (-fall * (1 + age / ring) * frequency / 20_000)  # a note grows darker as it fades
    theta = 2 * np.pi * np.cumsum(frequency) / SAMPLE_RATE
    sine, cosine = np.sqrt(1 - r**2) * np.sin(theta), 2 * r * np.cos(theta)  # the root: bright is not loud
    tone = sine / (1 - cosine + r**2) + min(hollow, 1) * sine / (1 + cosine + r**2)
    return np.pad(tone * np.exp(-age / ring) * np.minimum(age / 0.004, 1), (onsets[0], 0))


def drum_kit(rng):
    """Kick, snare and hat of one artist, (3, 0.3 s): a falling sine, a tone in noise, bright noise."""
    age = np.arange(int(0.3 * SAMPLE_RATE)) / SAMPLE_RATE
    noise = rng.standard_normal(len(age))
    kick = np.sin(2 * np.pi * (rng.uniform(42, 65) * age - rng.uniform(2, 6) * np.exp(-age / 0.03)))
    snare = np.sin(2 * np.pi * rng.uniform(160, 260) * age) + rng.uniform(0.5, 1.5) * noise
    hat = rng.uniform(0.3, 0.8) * np.diff(noise, prepend=0)
    fade = rng.uniform((0.06, 0.03, 0.01), (0.2, 0.11, 0.06))  # seconds
    return np.array([kick, snare, hat]) * np.exp(-age / fade[:, None])


def step_onsets(tempo, swing, seconds, rng):
    """Sample number of every sixteenth note (steps,), swung and a little uneven."""
    step = 60 / tempo / 4
    number = np.arange(1 + int(seconds / step))
    times = (number + min(swing, 0.6) * (number % 2)) * step + rng.uniform(0, 0.008, len(number))
    return (times[times < seconds] * SAMPLE_RATE).astype(int)


def bars_of(genre):
    """How hard kick, snare, hat and chords are struck at each step of a bar, (4, 16) in [0, 1]."""
    return np.array([[{"x": 1, "o": 0.4, ".": 0}[sign] for sign in bar] for bar in GENRES[genre][1:5]])


def level(sound, loudness):
    """``sound`` with this root mean square."""
    return sound * (loudness / np.sqrt(np.mean(sound**2) + 1e-9))


def render(genre, artist_seed, track_seed, seconds):
    """A track of ``genre``, (seconds × SAMPLE_RATE,) float32 in (-1, 1).

    The artist's instrument and drum kit come from ``artist_seed``, everything else from ``track_seed``.
    """
    traits, artist, rng = draw_track(genre, artist_seed, track_seed)
    onsets, length = step_onsets(traits["tempo"], traits["swing"], seconds, rng), round(seconds * SAMPLE_RATE)
    steps = np.arange(len(onsets))
    kick, snare, hat, strum = bars_of(traits["rhythm"])[:, steps % 16]
    root = rng.integers(50, 62) + rng.choice([0, 3, 5, 7, 10], 4)[steps // 16 % 4]  # a chord a bar; MIDI pitch
    melody = root + rng.choice([12, 15, 17, 19, 22], len(steps))

    def play(when, pitches):
        when = (when > 0) | (steps == 0)
        return voice(onsets[when], pitches[when], length, traits["fall"], traits["hollow"], traits["ring"])

    from scipy.signal import oaconvolve  # a second to import

    mix = level(sum(play(strum, root + i) for i in (0, rng.choice([3, 4]), 7)), 1)
    mix += level(play(kick, root - 24), traits["bass"])
    mix += level(play(rng.random(len(steps)) < rng.uniform(0.05, 0.6), melody), rng.uniform(0.4, 1.4))
    drums = np.zeros(length)
    for hits, sound in zip((kick, snare, hat), drum_kit(artist), strict=True):
        struck = np.zeros(length)
        struck[onsets] = hits * rng.uniform(0.7, 1, len(steps))
        drums += oaconvolve(struck, sound)[:length]
    mix += level(drums, traits["drums"]) + level(rng.standard_normal(length), traits["hiss"])
    mix = np.tanh(level(mix, traits["drive"] / 4))
    return (mix / np.abs(mix).max() * rng.uniform(0.2, 0.6)).astype(np.float32)  # mp3 overshoots, up to twofold


# ------------------------------------------------------------------ the corpus


class Track(NamedTuple):
    track_id: int
    artist_id: int
    split: str
    subset: str
    genre: str
    genres: tuple = ()  # the ids of all of them, see :func:`genres_of`

    def seeds(self, seed):
        """Of the artist, and of the track."""
        return [seed, 2, self.artist_id], [seed, 3, self.track_id]


def make_catalogue(num_small, seed):
    """All tracks of FMA-medium, twice ``num_small``, of which half are FMA-small; sorted by track_id.

    FMA-small is balanced over 8 genres; the rest also has other genres, and more of Electronic and Rock, as in FMA.
    A sixth of each genre is for validation and a sixth for the test: with FMA's tenth of so few tracks, the intervals
    would hide everything. An artist has up to two tracks, of one genre and one split.
    """
    genres = {"small": SMALL_GENRES, "medium": [*GENRES, "Electronic", "Rock"]}
    ids = 2 + np.random.default_rng([seed, 1]).choice(155_000, 2 * num_small, replace=False)  # FMA's range
    tracks, artist_id = [], 0
    for subset, names in genres.items():
        for genre, number in zip(*np.unique(np.resize(names, num_small), return_counts=True), strict=True):
            sixth = max(1, round(number / 6))
            for split, size in (("training", number - 2 * sixth), ("validation", sixth), ("test", sixth)):
                for i in range(size):
                    artist_id += i % 2 == 0
                    tracks.append(Track(int(ids[len(tracks)]), artist_id, split, subset, str(genre)))
    return [t._replace(genres=genres_of(t.genre, draw_track(t.genre, *t.seeds(seed))[0])) for t in sorted(tracks)]


def tracks_csv(tracks):
    """FMA's tracks.csv as text: two header lines of a two-level column index, then the index's name.

    ``genres`` are those that an artist names, ``genres_all`` also the parents of sub-genres.
    """
    head = [",artist,set,set,track,track,track", ",id,split,subset,genre_top,genres,genres_all", "track_id,,,,,,"]
    rows = [[*t[:5], [*t.genres[1:]], [*t.genres]] for t in tracks]
    return as_csv([*(line.split(",") for line in head), *rows])


def genres_csv(tracks):
    """FMA's genres.csv as text: every genre, on how many tracks it is, what it is a sub-genre of (0: of none)."""
    number = collections.Counter(genre for t in tracks for genre in t.genres)
    rows = []
    for title, (top, *_) in GENRES.items():
        top = int(top)
        rows.append([top, number[top], 0, title, top])
        rows += [[top + more, number[top + more], top, f"{kind} {title}", top] for kind, more in SUBGENRES.items()]
    return as_csv([["genre_id", "#tracks", "parent", "title", "top_level"], *sorted(rows)])


def as_csv(rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def write_track(folder, track, seconds, seed):
    """Write one mp3 unless it is there already; returns its line in `checksums`."""
    name = f"{track.track_id:06d}"
    path = folder / name[:3] / f"{name}.mp3"
    if not path.exists():
        sound = render(track.genre, *track.seeds(seed), seconds)
        with utils.atomic_path(path) as temporary:
            soundfile.write(temporary, sound, SAMPLE_RATE, format="MP3")
    return f"{hashlib.sha1(path.read_bytes()).hexdigest()}  {name[:3]}/{name}.mp3\n"


def write_corpus(data_dir, size="small", num_tracks=None, seconds=30.0, seed=0):
    """Write ``data_dir/fma_<size>``, and tracks.csv and genres.csv in ``data_dir/fma_metadata``; returns the first.

    The tables describe small and medium alike, as FMA's do. Only what is missing is written. Raises
    :class:`utils.UserError` when something else is there already, or for impossible numbers.
    """
    num_tracks = NUM_TRACKS[size] if num_tracks is None else num_tracks
    num_small = num_tracks if size == "small" else num_tracks // 2
    if not (24 <= num_small <= 50_000 and 1 <= seconds <= 600 and seed >= 0):
        raise utils.UserError("--num_tracks takes 24 to 50000 (medium: twice), --seconds 1 to 600, --seed 0 or more")
    catalogue = make_catalogue(num_small, seed)
    folder, metadata = Path(data_dir) / f"fma_{size}", Path(data_dir) / "fma_metadata"
    readme = f"{MARKER}\nMade with --size {size} --num_tracks {num_tracks} --seconds {seconds:g} --seed {seed}\n"
    files = {
        folder / "README.txt": readme,
        metadata / "tracks.csv": tracks_csv(catalogue),
        metadata / "genres.csv": genres_csv(catalogue),
    }
    check_free(files)
    for path, text in files.items():
        with utils.atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
    if (folder / "checksums").exists():
        print(f"{folder} is there already, with these options")
        return folder

    tracks = [t for t in catalogue if size == "medium" or t.subset == "small"]
    write = partial(write_track, folder, seconds=seconds, seed=seed)
    with ThreadPoolExecutor() as pool:  # NumPy and the encoder, nearly all of the work, run beside each other
        lines = list(utils.progress(pool.map(write, tracks), total=len(tracks), unit="track", desc=folder.name))
    with utils.atomic_path(folder / "checksums") as temporary:  # the last file: a folder with it is complete
        temporary.write_text("".join(lines))
    return folder


def check_free(files):
    """Raise :class:`utils.UserError` unless each {path: text} is there already, or missing where nothing else is.

    Hidden files do not count: of a killed run some are left.
    """
    for folder in {path.parent: None for path in files}:
        if folder.exists() and not folder.is_dir():
            raise utils.UserError(f"{folder} is no folder; choose another --data_dir")
        there = [*folder.glob("[!.]*")]
        ours = [path for path in files if path.parent == folder]
        same = [path for path in ours if path.is_file() and path.read_bytes() == files[path].encode()]
        if len(same) < len(ours) and len(same) < len(there):
            raise utils.UserError(
                f"{folder} holds something else, or a synthetic corpus with other options or of an older version; "
                "choose another --data_dir, or remove that corpus first (small and medium share one when the seed is "
                "the same and medium has twice the tracks)"
            )


def get_args_parser():
    parser = utils.script_parser(__doc__)
    parser.add_argument("--data_dir", default="data", help="folder in which fma_<size> and fma_metadata are made")
    parser.add_argument("--size", default="small", choices=list(NUM_TRACKS),
                        help="small: 8 balanced genres; medium: small and as much again, in 10 genres")  # fmt: skip
    parser.add_argument("--num_tracks", type=utils.count, help="mp3 files to write (default: small 480, medium 960)")
    parser.add_argument("--seconds", type=utils.seconds, default=30.0, help="length of each track; FMA's are 30 s")
    parser.add_argument("--seed", type=utils.whole, default=0, help="another seed makes another corpus")
    return parser


def main(args):
    print(write_corpus(args.data_dir, args.size, args.num_tracks, args.seconds, args.seed))


if __name__ == "__main__":
    utils.run(main, get_args_parser())
