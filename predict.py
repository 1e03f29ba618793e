"""Print the genres of your own audio files, with a classifier that transfer.py trained.

    python predict.py song.mp3                                  by the model that ships with this suite
    python predict.py --exp_path 154874 song.mp3 another.flac
    python predict.py --exp_path 154874 --json *.mp3
    python predict.py --exp_path 154874 --truth data/fma_small_npy/tracks.csv *.mp3     with the true genres beside

Of several classifiers in an experiment, the one with the highest validation accuracy speaks, or --transfer NAME. A
.npy file is taken for an array of the kind that the classifier was trained on.

A classifier of whole tracks hears a longer file in pieces as long as they were, and averages. Of a file whose sample
rate is below the classifier's, the missing upper bands are continued from those below them.
"""

import json
from pathlib import Path

import utils

LEAST_SECONDS = 0.5  # of a file: of less, any answer would be one of chance


def get_args_parser():
    parser = utils.script_parser(__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE", help="audio files: mp3, wav, flac, ogg, m4a …")
    parser.add_argument(
        "--exp_path", default=str(utils.SHIPPED),
        help="experiment: its id under --exp_dir, or its path; without it the model that ships speaks, of which its "
        "CARD.md says what it was trained on and how often it is right",
    )  # fmt: skip
    parser.add_argument("--exp_dir", default="exp", help="folder of the experiments")
    parser.add_argument("--transfer", help="name of the classifier's folder in the experiment")
    parser.add_argument(
        "--top", type=utils.count,
        help="genres or tags to show for each file (default: three genres; of tags those above 50 %%, or else five)",
    )  # fmt: skip
    parser.add_argument(
        "--truth", metavar="CSV",
        help="track_id,genre_top (a tracks.csv): the true genre of a file that is named as a track is shown, too",
    )  # fmt: skip
    parser.add_argument(
        "--num_crops", type=utils.count,
        help="crops spread over a file, averaged (default: as many as it was tested with; of one that was tested on "
        "whole tracks, as many pieces of their length as the file has)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON list with all genres instead of a table")
    parser.add_argument("--device", type=utils.device, default="auto", help="auto, cpu or cuda")
    return parser


if __name__ == "__main__":  # --help and wrong flags are answered before what takes seconds to import
    get_args_parser().parse_args()

import numpy as np
import pandas as pd
import torch

from data import extractors, logmel, vectors
from data.crops import cut_evenly
from evaluation import results
from training.experiment import Experiment
from training.labels import KINDS
from training.networks import load_classifier


def main(args):
    device = utils.pick_device(args.device)
    experiment = Experiment.open(args.exp_path, args.exp_dir)
    result = choose_transfer(experiment.folder, args.transfer)
    kind = KINDS[result.task]
    if args.truth and result.task == "tags":
        raise utils.UserError(f"--truth goes with genres; {result.name} tells tags")
    truth = read_truth(args.truth) if args.truth else {}
    whole = result.flags.get("whole", result.num_crops == 1) and args.num_crops is None  # older ones do not say
    listen = listener(experiment.settings, args.files, result.crop_seconds if whole else None)
    network = load_classifier(result, experiment, device)
    if experiment.settings.kind != "embedding" and not (result.crop_seconds and result.num_crops):
        raise utils.UserError(f"the result.json of {result.name} does not say by which crops it was tested")
    num_crops = result.num_crops if args.num_crops is None else args.num_crops

    answers, unreadable = [], 0
    for file in args.files:
        answer = {"file": file}
        if Path(file).stem in truth:
            answer["truth"], answer["split"] = truth[Path(file).stem]
        try:
            pieces, known = listen(Path(file))
            crops = crops_of(pieces, known, experiment, result, num_crops)
            probabilities = predict(network, crops.to(device), result.name, kind)
            pairs = zip(result.genres, probabilities, strict=True)
            answer[result.task] = dict(sorted(pairs, key=lambda pair: -pair[1]))
        except (logmel.AudioError, UnicodeEncodeError) as error:
            unreadable += 1
            answer["error"] = str(error)
        answers.append(answer)
    if args.json:
        print(json.dumps(answers, indent=2, ensure_ascii=False))
    else:
        print(f"by {result.name} ({result.protocol}, {result.network_name})")
        print(table(answers, lambda answer: kind.shown([*answer[result.task].items()], args.top)))
    if unreadable == len(args.files):
        raise utils.UserError("none of the files could be read")


def choose_transfer(experiment, name):
    """The :class:`Result` of the named classifier, or of the best on validation. Raises :class:`utils.UserError`.

    One of tags speaks only where none is of genres.
    """
    there = {file.parent.name: results.read(file.parent) for file in sorted(experiment.glob("*/result.json"))}
    if not there:
        raise utils.UserError(f"{experiment} has no classifier yet: run transfer.py --exp_path {experiment}")
    if name and name not in there:
        raise utils.UserError(f"{experiment} has no classifier '{name}'; there are: {', '.join(there)}")
    if name:
        return there[name]
    return max(there.values(), key=lambda result: (result.task == "genres", result.validation_score or 0))


def read_truth(path):
    """{track_id: (genre, split, "" where the table has none)}. Raises :class:`utils.UserError`."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        splits = table["split"] if "split" in table else [""] * len(table)
        return dict(zip(table["track_id"], zip(table["genre_top"], splits, strict=True), strict=True))
    except FileNotFoundError:
        raise utils.UserError(f"--truth {path} does not exist") from None
    except (KeyError, ValueError, pd.errors.ParserError):
        raise utils.UserError(f"--truth {path} needs the columns track_id,genre_top") from None


def listener(settings, files, seconds=None):
    """path → (pieces, decoded, each (F, T) or (L, D); how many rows of them the file tells of).

    A file is one piece, unless they are to be ``seconds`` long. Raises :class:`utils.UserError` for audio files where
    arrays of this kind cannot be made of them.
    """
    audio = any(Path(file).suffix != ".npy" for file in files)
    extract = extractors.build(settings, min_seconds=LEAST_SECONDS) if audio else None

    def listen(path):
        known = settings.num_rows
        if path.suffix == ".npy":
            arrays = [read_array(path, settings)]
        else:
            cut = seconds and settings.kind != "embedding"
            arrays = extract.pieces(path, seconds) if cut else [extract(path)]
            known = logmel.known_bands(path, settings) if settings.kind == "spectrogram" else known
        return [settings.decode(torch.from_numpy(array)) for array in arrays], known

    return listen


def read_array(path, settings):
    """An array as preprocessing.py stores it, or of embeddings as it adopts them. Raises AudioError."""
    if settings.kind == "embedding":
        array = np.atleast_2d(vectors.read_vectors(path)).astype(settings.dtype)
    else:
        try:
            array = utils.load_array(path)
        except (OSError, ValueError, EOFError):
            raise logmel.AudioError("not an array that can be read") from None
    if array.dtype != np.dtype(settings.dtype) or not settings.frames_of(array.shape):
        raise logmel.AudioError(f"an array of {array.dtype} of shape {array.shape}, not as the classifier knows them")
    if not np.isfinite(array).all():
        raise logmel.AudioError("holds values that are not finite numbers")
    return array


def crops_of(pieces, known, experiment, result, num_crops):
    """What the network is shown of one file: (B, 1, F, T) normalised crops, evenly from each piece, or (1, L, D)."""
    settings, normalisation = experiment.settings, experiment.normalisation
    if settings.kind == "embedding":  # of the whole file
        return torch.stack(pieces)
    num_frames = settings.frames_in(result.crop_seconds)
    size = 2 * 4 * num_crops * len(pieces) * len(pieces[0]) * num_frames  # stored, and normalised
    utils.check_memory(size, f"--num_crops {num_crops}")
    crops = normalisation(torch.cat([cut_evenly(piece, num_frames, num_crops) for piece in pieces]))
    return normalisation.continued(crops, known, settings.db_min) if settings.kind == "spectrogram" else crops


@torch.no_grad()
def predict(network, crops, name, kind):
    """Probabilities (list of C floats) of one file: logits averaged over its crops.

    Raises :class:`utils.UserError` where the classifier ``name`` gives none.
    """
    logits = network(crops).float().mean(0)
    if not logits.isfinite().all():  # of an array that is
        raise utils.UserError(f"{name} answers with what is no number: run transfer.py again")
    return kind.answer(logits).tolist()


def seen_before(answers):
    """A warning where the classifier was trained on, or chosen by, some of these tracks."""
    count = {split: sum(answer["split"] == split for answer in answers) for split in ("training", "validation")}
    there = [f"{number} of them {split} tracks" for split, number in count.items() if number]
    return f" ({', '.join(there)}, which it has seen: this says little)" if there else ""


def table(answers, shown):
    """One line for each file, and how many are right where the truth is known; shown(answer) → [(name, share)]."""
    names = [utils.printable(answer["file"]) for answer in answers]
    width = max(map(len, names))
    truths = [answer.get("truth", "?") for answer in answers]
    true_width = max(len("true genre"), *map(len, truths))
    known = any("truth" in answer for answer in answers)
    lines = [f"{'file':{width}}  {'true genre':{true_width}}  genres"] if known else []
    for answer, name, truth in zip(answers, names, truths, strict=True):
        line = f"{name:{width}}  " + (f"{truth:{true_width}}  " if known else "")
        if "error" in answer:
            lines.append(f"{line}could not be read: {answer['error']}")
            continue
        lines.append(line + "  ".join(f"{genre} {p:.0%}" for genre, p in shown(answer)))
    judged = [answer for answer in answers if "truth" in answer and "genres" in answer]
    if judged:
        right = sum(next(iter(answer["genres"])) == answer["truth"] for answer in judged)
        lines.append(f"{right} of {len(judged)} right" + seen_before(judged))
    return "\n".join(lines)


if __name__ == "__main__":
    utils.run(main, get_args_parser())
