"""Look at a collection and listen to it: one page with a map of all tracks as an experiment hears them.

    python explore.py                                                 the shipped model, on what it was trained on
    python explore.py --exp_path 154874 --audio data/fma_small        a click on a point plays the track
    python explore.py --exp_path 154874 --audio data/fma_small --embed_audio 200    clips inside the page, to send it
    python explore.py --neighbours song.mp3                           the tracks that are most like your own song

The page needs nothing else and no network. Near points sound alike to the experiment; each track has its nearest
neighbours, and where transfer.py --protocol linear has trained a classifier on the dataset, its predictions.

The audio of a track is the file below --audio that lies as its array does in the dataset's folder
(000/000002.mp3, rock/song.wav) or, wherever it lies, is the only one with the track's id as its name.
The page leads to it by its relative path: the two have to stay where they are to one another.
"""

import os
import sys
from pathlib import Path
from urllib.parse import quote

import utils


def get_args_parser():
    parser = utils.script_parser(__doc__)
    parser.add_argument(
        "--exp_path", default=str(utils.SHIPPED),
        help="experiment: its id under --exp_dir, or its path; without it the model that ships",
    )  # fmt: skip
    parser.add_argument("--exp_dir", default="exp", help="folder of the experiments")
    parser.add_argument(
        "--transfer", metavar="NAME",
        help="whose features and predictions: the name of a result's folder in the experiment (default: the linear "
        "classifier on the dataset that is best on validation)",
    )  # fmt: skip
    parser.add_argument("--dataset", help="spectrogram folder <data_dir>/<dataset>_npy (default: the experiment's)")
    parser.add_argument("--data_dir", help="folder of the spectrogram folders (default: the experiment's, or data)")
    parser.add_argument("--audio", metavar="DIR", help="folder of the tracks' audio files, which the page then plays")
    parser.add_argument(
        "--embed_audio", type=utils.whole, default=0, metavar="N",
        help="put a clip of N tracks, evenly chosen over the genres, into the page (about 35 kB each); "
        "the others stay silent, and the page can be sent to somebody; 0: the page plays the files themselves",
    )  # fmt: skip
    parser.add_argument("--clip_seconds", type=utils.seconds, default=5.0, help="length of such a clip")
    parser.add_argument(
        "--num_neighbours", type=utils.count, default=10, help="nearest tracks to show for a track or a file"
    )
    parser.add_argument(
        "--neighbours", metavar="FILE", help="print the nearest tracks of an audio file of your own; makes no page"
    )
    parser.add_argument("--seed", type=utils.whole, default=0, help="another seed, another map of the same tracks")
    parser.add_argument("--out", default="explore.html", help="the page to write, new or in place of another .html")
    parser.add_argument("--device", type=utils.device, default="auto", help="auto, cpu or cuda")
    return parser


if __name__ == "__main__":  # --help and wrong flags are answered before what takes seconds to import
    utils.answer_first(get_args_parser())

import numpy as np

from data import clips, crops
from data.logmel import AudioError, known_bands
from evaluation import explorer
from training.experiment import Experiment
from training.frozen import evenly
from training.heard import Ear

LONG = 500  # tracks, from which the map takes a while


def main(args):
    out = Path(args.out)
    if out.suffix.lower() != ".html":
        raise utils.UserError(f"--out {args.out} does not end in .html, as a page does")
    if out.exists() and not explorer.is_page(out):
        raise utils.UserError(f"--out {args.out} is there, and no page of explore.py: name a new file")
    experiment = Experiment.open(args.exp_path, args.exp_dir)
    folder = experiment.spectrograms(args.data_dir, args.dataset)
    files = clips.find_audio(folder.tracks, args.audio) if args.audio else []
    if args.embed_audio and not files:
        raise utils.UserError("--embed_audio needs the tracks' audio: give its folder as --audio")
    if args.audio:
        there = f"{sum(map(bool, files)):,} of {len(files):,} tracks have their audio below {args.audio}"
        if not any(files):
            raise utils.UserError(f"{there}: see --help for the names that are looked for")
        print(there)
    device = utils.pick_device(args.device)
    ear = Ear.of(experiment, folder, device, args.transfer)
    asked = args.neighbours and hear_own(ear, args.neighbours)  # refused before the long part, not after it
    features, probabilities = ear.hear(crops.load(folder, folder.tracks, device))
    space = explorer.Space(features)
    if args.neighbours:
        print(table(folder.tracks, *space.nearest_to(asked, args.num_neighbours)))
        note_on_bands(args.neighbours, experiment.settings)
        return

    if len(features) > LONG:
        print(f"the map of {len(features):,} tracks (a minute or two for 7,000)", flush=True)
    sounds = embedded(folder.tracks, files, args) if args.embed_audio else addresses(files, out)
    genres = ear.result.genres if ear.result else ()
    nearest = space.neighbours(args.num_neighbours)
    data = explorer.page_data(folder.tracks, features, nearest, args.seed, genres, probabilities, sounds)
    title = f"{folder.dataset}, heard by {experiment.folder.name}"
    explorer.write_page(args.out, title, about(folder, features_of(ear)), data, caution(ear.result))
    print(args.out)


def hear_own(ear, path):
    try:
        return ear.hear_file(Path(path))
    except AudioError as error:
        raise utils.UserError(f"--neighbours {path} could not be read: {error}") from None


def note_on_bands(path, settings):
    """Says where the file and the map's tracks are not heard alike."""
    if settings.kind == "spectrogram" and known_bands(path, settings) < settings.n_mels:
        what = "its upper bands are guessed, those of tracks made of such files are empty: even its own is not at 0"
        print(f"{path} has a lower sample rate than the network knows: {what}", file=sys.stderr)


def table(tracks, nearest, distances):
    """A line for each track of ``nearest``: distance, id, genre and split."""
    rows = tracks.iloc[nearest]
    width, genre_width = (max(map(len, [name, *rows[name]])) for name in ("track_id", "genre_top"))
    lines = [f"distance  {'track_id':{width}}  {'genre_top':{genre_width}}  split"]
    for distance, row in zip(distances, rows.itertuples(), strict=True):
        lines.append(f"{distance:8.3f}  {row.track_id:{width}}  {row.genre_top:{genre_width}}  {row.split}")
    return "\n".join(lines)


def addresses(files, page):
    """Where the page finds each of ``files`` (None stays None): relative to it, whatever the bytes of their names."""
    here = page.resolve().parent
    return [file and quote(os.fsencode(Path(os.path.relpath(file.resolve(), here)).as_posix())) for file in files]


def embedded(tracks, files, args):
    """A clip as a data URI for ``--embed_audio`` tracks, None for the others; unreadable files are named."""
    there = [track for track in np.argsort(tracks["genre_top"], kind="stable") if files[track]]
    sounds = [None] * len(files)
    for number in utils.progress(evenly(len(there), args.embed_audio), desc="clips"):
        file = files[there[number]]
        try:
            sounds[there[number]] = clips.clip(file, args.clip_seconds)
        except AudioError as error:
            print(utils.printable(f"no clip of {file}: {error}"))
    return sounds


def features_of(ear):
    """What the tracks are heard by, in a few words."""
    if ear.result:
        return ear.result.network_name
    flags = ear.experiment.flags
    return f"{flags.method} {flags.backbone}"


def about(folder, features):
    """What the map is, for whoever opens the page."""
    return (
        f"Each point is one of the {len(folder.tracks):,} tracks of {folder.dataset}. Near points sound alike to "
        f"the model (features: {features}); how far apart two groups lie means little. The list of neighbours is "
        "exact: by the cosine distance of all features, each standardised. The map is a t-SNE of their 50 principal "
        "components."
    )


def caution(result):
    """Which predictions say how good the classifier of a result is; "" where there is none."""
    if result is None:
        return ""
    chosen = " and chosen on the validation tracks" if result.chosen.get("by", "validation") == "validation" else ""
    return (
        f"Predicted by {result.name} ({result.network_name}), which was trained on "
        f"{result.learned_from}{chosen}. "
        "How good it is, the test tracks say: show them only."
    )


if __name__ == "__main__":
    utils.run(main, get_args_parser())
