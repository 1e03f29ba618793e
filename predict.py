"""Print the genres of your own audio files, with a classifier that transfer.py trained.

    python predict.py song.mp3                                  by the model that ships with this suite
    python predict.py ~/Music party.m3u --csv genres.csv        every song of a folder and of a playlist, in a table
    python predict.py song.mp3 --timeline                       and a picture of the genres along it
    python predict.py --exp_path 154874 song.mp3 another.flac
    python predict.py --exp_path 154874 --json *.mp3
    python predict.py --exp_path 154874 --truth data/fma_small_npy/tracks.csv *.mp3     with the true genres beside

Of several classifiers in an experiment, the one with the highest validation accuracy speaks, or --transfer NAME. A
.npy file is taken for an array of the kind that the classifier was trained on.

A classifier of whole tracks hears a longer file in pieces as long as they were, and averages what it says of them. Of
a file whose sample rate is below the classifier's, the missing upper bands are continued from those below them.

A file that cannot be read is named on stderr; the exit status is 2 where none can.
"""

import collections
import concurrent.futures
import functools
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import utils

FEW = 5  # files; of more, a bar shows how far it is, and their number is told
READERS = 2  # threads that decode the next files while the network answers
DEEP = 3  # folders that an array of a dataset may lie below its spectrogram.json
AT_ONCE = 64  # crops in the network: an hour has a thousand
COLUMNS = {"genres": ["path", "genre", "probability"], "tags": ["path", "tag", "probability"]}  # of --csv, first


def get_args_parser():
    parser = utils.script_parser(__doc__)
    parser.add_argument(
        "files", nargs="*", metavar="FILE",
        help="audio files (mp3, wav, flac, ogg, m4a …), folders of them with all sub-folders, playlists (m3u, m3u8)",
    )  # fmt: skip
    parser.add_argument(
        "--exp_path", default=str(utils.SHIPPED),
        help="experiment: its id under --exp_dir, or its path; without it the model that ships speaks, of which its "
        "CARD.md says what it was trained on and how often it is right",
    )  # fmt: skip
    parser.add_argument("--exp_dir", default="exp", help="folder of the experiments")
    parser.add_argument("--transfer", help="name of the classifier's folder in the experiment")
    parser.add_argument(
        "--top", type=utils.count,
        help="genres or tags to show for each file (default: three genres; of tags those above 50 %%, or else five); "
        "--json and --csv tell all",
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
    parser.add_argument(
        "--csv", metavar="FILE",
        help="write the probabilities of all genres there, too, a line for each file (empty where it could not be "
        "read); a new file or an earlier table; stopped by Ctrl-C, it has the files so far",
    )  # fmt: skip
    parser.add_argument(
        "--timeline", nargs="?", const="timeline", metavar="DIR",
        help="draw the genres along each file, as <name>.timeline.png in this folder (default: timeline; then write "
        "--timeline behind the files), by half-overlapping pieces as long as the classifier knows them: 30 s for the "
        "model that ships",
    )  # fmt: skip
    parser.add_argument("--device", type=utils.device, default="auto", help="auto, cpu or cuda")
    return parser


if __name__ == "__main__":  # --help and wrong flags are answered before what takes seconds to import
    utils.answer_first(get_args_parser())

import numpy as np
import pandas as pd
import torch

from data import extractors, logmel, songs, vectors
from data.collection import file_name
from data.crops import crops_of_file
from data.settings import read_settings
from evaluation import plots, results
from training.experiment import Experiment
from training.labels import KINDS
from training.networks import load_classifier


def main(args):
    check_places(args)
    files = find_files(args.files)
    device = utils.pick_device(args.device)
    experiment = Experiment.open(args.exp_path, args.exp_dir)
    result = results.choose(experiment.folder, args.transfer)
    check_kind(args, result)
    truth = read_truth(args.truth) if args.truth else {}
    listen = Listener(experiment, result, files, args.num_crops, with_windows=args.timeline is not None)
    classify = functools.partial(logits_of, load_classifier(result, experiment, device), device, result.name)
    pictures = picture_names(files, args.timeline) if args.timeline else {}
    readings, answers = read_ahead(listen, files), []
    try:
        for file, reading in utils.progress(readings, total=len(files), unit=" files", disable=len(files) <= FEW):
            answers.append(answer_to(file, reading, classify, result, truth, pictures.get(file)))
    except KeyboardInterrupt as stop:
        if args.csv and answers:
            stop.add_note(f"{args.csv} has the first {len(answers)} of {len(files)} files")
        raise
    finally:
        if args.csv and answers:
            write_csv(args.csv, answers, result)
    show(answers, result, args, pictures)
    if listen.guessed:
        number = sum("error" not in answer for answer in answers)
        what = f"{len(listen.guessed)} of {number} files have a lower sample rate than the classifier knows"
        print(f"{what}: their upper bands are guessed, which makes the genres less certain", file=sys.stderr)
    if listen.brief:
        who = ", ".join(listen.brief) if len(listen.brief) <= FEW else f"{len(listen.brief)} files"
        print(f"shorter than two pieces, so that the timeline has one value for all of it: {who}", file=sys.stderr)


def why_this(result, args):
    """In words, where it was chosen among several classifiers."""
    number = sum(1 for _ in result.folder.parent.glob("*/result.json"))
    if args.transfer or number < 2:
        return ""
    which = "" if result.is_baseline else " that is no baseline"
    return f"; of {number} the best on validation{which}, --transfer names others"


def check_places(args):
    """Raises :class:`utils.UserError`, before any work, for what cannot be written, or should not."""
    if args.csv:
        check_table(Path(args.csv), map(Path, args.files))
    if args.timeline == "":
        raise utils.UserError("--timeline= names no folder: leave the sign out, or name one")
    folder = Path(args.timeline or "")
    if folder.is_file() or (folder.suffix.lower() in logmel.SUFFIXES and not folder.is_dir()):
        raise utils.UserError(f"--timeline {args.timeline} is a file: name a folder, or write --timeline last")


def check_kind(args, result):
    """Raises :class:`utils.UserError` for what goes with genres, asked of a classifier of tags."""
    for flag in ("truth", "timeline"):
        if getattr(args, flag) is not None and result.task == "tags":
            raise utils.UserError(f"--{flag} goes with genres; {result.name} tells tags")


def check_table(path, files):
    """Raises :class:`utils.UserError` where --csv would take the place of anything but an earlier table."""
    if path.is_dir():
        raise utils.UserError(f"--csv {path} is a folder: name a file in it")
    if path in files or path.suffix.lower() in (*logmel.SUFFIXES, ".npy", *songs.PLAYLISTS):
        raise utils.UserError(f"--csv {path} is the name of a file to read: name the table to write, as genres.csv")
    if path.is_file():
        with path.open("rb") as file:
            if not file.readline().startswith(tuple(",".join(names).encode() for names in COLUMNS.values())):
                raise utils.UserError(f"--csv {path} is there, and no table of predict.py: name a new file")


def find_files(names):
    """:func:`data.songs.find`; says what is left out. Raises :class:`utils.UserError` where there is no file."""
    files, left_out = songs.find(names)
    for name, reason in left_out:
        print(f"{utils.printable(name)}  left out: {reason}", file=sys.stderr)
    if not files:
        raise utils.UserError("no audio file is named: give files, folders that hold some, or playlists")
    return files


def read_truth(path):
    """{track_id: (genre, split, "" where the table has none)}. Raises :class:`utils.UserError`."""
    try:
        utils.check_file(path)
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        splits = table["split"] if "split" in table else [""] * len(table)
        return dict(zip(table["track_id"], zip(table["genre_top"], splits, strict=True), strict=True))
    except FileNotFoundError:
        raise utils.UserError(f"--truth {path} does not exist") from None
    except (KeyError, ValueError, pd.errors.ParserError):
        raise utils.UserError(f"--truth {path} needs the columns track_id,genre_top") from None


@dataclass(frozen=True)
class Heard:
    """What the network is shown of a file.

    crops: (B, 1, F, T), or (1, L, D) of embeddings, as many of each of num_pieces in turn. For a timeline also
    windows: (·, 1, F, T) evenly along the file, overlapping by half, without silent ones; sounding: bool (W,), which
    are not silent; seconds: of the file.
    """

    crops: torch.Tensor
    num_pieces: int = 1
    windows: torch.Tensor | None = None
    sounding: np.ndarray | None = None
    seconds: float | None = None


class Listener:
    """Called with a file's name, it returns what is :class:`Heard` of it, or raises :class:`data.logmel.AudioError`.

    Raises :class:`utils.UserError` for audio files where arrays of this kind cannot be made of them, and for windows
    where there are none. ``brief`` collects the files that have only one window, ``guessed`` those whose own sample
    rate is too low for the upper bands.
    """

    def __init__(self, experiment, result, files, num_crops=None, with_windows=False):
        self.settings, self.normalisation = experiment.settings, experiment.normalisation
        self.is_vector = self.settings.kind == "embedding"
        if self.is_vector and with_windows:
            raise utils.UserError(f"{result.name} hears a file as one vector, without time: leave --timeline out")
        audio = any(Path(file).suffix != ".npy" for file in files)
        self.extract = extractors.build(self.settings, min_seconds=logmel.LEAST_SECONDS) if audio else None
        if not self.is_vector:
            results.check_crops(result)
        whole = result.flags.get("whole", result.num_crops == 1) and num_crops is None  # older ones do not say
        self.piece_seconds = result.crop_seconds if whole and not self.is_vector else None
        self.num_frames = None if self.is_vector else self.settings.frames_in(result.crop_seconds)
        self.num_crops, self.overlap = num_crops or result.num_crops, 2 if with_windows else 1
        self.brief, self.guessed = [], []

    def __call__(self, file):
        pieces, seconds, known = self.read(Path(file))
        if self.is_vector:
            return Heard(torch.stack(pieces))
        if known < self.settings.num_rows:
            self.guessed.append(file)
        crops = self.cut(pieces[:: self.overlap], self.num_crops, known)
        number = len(crops) // self.num_crops
        if self.overlap == 1:
            return Heard(crops, number)
        windows = 1 if len(pieces) > 1 else 2 * max(1, round(pieces[0].shape[1] / self.num_frames)) - 1
        sounding = np.repeat([piece is not None for piece in pieces], windows)
        if len(sounding) == 1:
            self.brief.append(utils.printable(file))
        return Heard(crops, number, self.cut(pieces, windows, known), sounding, seconds)

    def read(self, path):
        """(pieces, decoded, each (F, T) or (L, D), None where silent; seconds; how many rows the file tells of).

        A file is one piece, but for a classifier of whole tracks that were shorter.
        """
        settings, known, seconds = self.settings, self.settings.num_rows, None
        if path.suffix == ".npy":
            arrays = [read_array(path, settings)]
        else:
            cut = self.piece_seconds
            arrays, seconds = self.extract.pieces(path, cut, self.overlap) if cut else ([self.extract(path)], None)
            known = logmel.known_bands(path, settings) if settings.kind == "spectrogram" else known
        pieces = [None if array is None else settings.decode(torch.from_numpy(array)) for array in arrays]
        if seconds is None and not self.is_vector:
            seconds = settings.seconds_in(pieces[0].shape[1])
        return pieces, seconds, known

    def cut(self, pieces, number, known):
        """``number`` normalised crops (·, 1, F, T), evenly from each piece that is not silent."""
        pieces = [piece for piece in pieces if piece is not None]
        size = 2 * 4 * number * len(pieces) * len(pieces[0]) * self.num_frames  # stored, and normalised
        utils.check_memory(size, f"{number * len(pieces)} crops of one file (--num_crops)")
        return crops_of_file(pieces, self.num_frames, number, self.normalisation, self.settings, known)


def read_array(path, settings):
    """An array as preprocessing.py stores it, or of embeddings as it adopts them. Raises AudioError."""
    if settings.kind == "embedding":
        array = np.atleast_2d(vectors.read_vectors(path)).astype(settings.dtype)
    else:
        try:
            array = utils.load_array(path)
        except (OSError, ValueError, EOFError):
            raise logmel.AudioError("not an array that can be read") from None
        check_made_alike(path, settings)
    if array.dtype != np.dtype(settings.dtype) or not settings.frames_of(array.shape):
        raise logmel.AudioError(f"an array of {array.dtype} of shape {array.shape}, not as the classifier knows them")
    if not np.isfinite(array).all():
        raise logmel.AudioError("holds values that are not finite numbers")
    return array


def check_made_alike(path, settings):
    """Raises AudioError for an array in a dataset of other settings: its shape may be the same."""
    for folder in path.resolve().parents[:DEEP]:
        if (folder / "spectrogram.json").is_file():
            differing = settings.differences(read_settings(folder / "spectrogram.json"), settings.storage)
            if differing:
                raise logmel.AudioError(f"made by other settings than the classifier's ({', '.join(differing)})")
            return


def read_ahead(listen, files):
    """(file, future of what is :class:`Heard` of it) in order, while threads read the next ones."""
    waiting = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(READERS) as pool:
        for file in files:
            waiting.append((file, pool.submit(listen, file)))
            if len(waiting) > READERS:
                yield waiting.popleft()
        yield from waiting


def answer_to(file, reading, classify, result, truth, picture=None):
    """What --json prints of a file; ``picture`` is where its timeline goes, if it is to have one."""
    answer = {"file": utils.printable(file)}
    if Path(file).stem in truth:
        answer["truth"], answer["split"] = truth[Path(file).stem]
    try:
        heard = reading.result()
    except (logmel.AudioError, UnicodeEncodeError) as error:
        answer["error"] = logmel.reason_of(error)
        return answer
    pieces = classify(heard.crops).unflatten(0, (heard.num_pieces, -1)).mean(1)  # logits, as of a track when tested
    probabilities = KINDS[result.task].answer(pieces).mean(0).tolist()  # not their logits: pieces may differ
    pairs = zip(result.genres, probabilities, strict=True)
    answer[result.task] = dict(sorted(pairs, key=lambda pair: -pair[1]))
    if picture:
        genre, probability = next(iter(answer["genres"].items()))
        title = f"{Path(answer['file']).name}: {genre} {probability:.0%}"
        draw_timeline(picture, heard, classify, result.genres, title)
    return answer


def draw_timeline(path, heard, classify, genres, title):
    probabilities = np.full((len(heard.sounding), len(genres)), np.nan)
    probabilities[heard.sounding] = classify(heard.windows).softmax(1).cpu()
    plots.write(path, plots.timeline, probabilities, heard.seconds, genres, title=title)


def picture_names(files, folder):
    """{file: where its timeline goes}. Never under the name of a cover: song.png may lie beside song.mp3."""
    names = songs.short_names(files)
    return {file: Path(folder) / f"{file_name(name)}.timeline.png" for file, name in names.items()}


@torch.no_grad()
def logits_of(network, device, name, crops):
    """crops (B, 1, F, T) → (B, C) on the device.

    Raises :class:`utils.UserError` where the classifier ``name`` gives no numbers.
    """
    logits = torch.cat([network(part.to(device)).float() for part in crops.split(AT_ONCE)])
    if not logits.isfinite().all():  # of an array that is
        raise utils.UserError(f"{name} answers with what is no number: run transfer.py again")
    return logits


def write_csv(path, answers, result):
    """A line for each file: its likeliest genre or tag, and the probabilities of all."""
    rows, genres = [], result.genres
    for answer in answers:
        said = answer.get(result.task, {})
        columns = [f"{said[genre]:.6f}" if said else "" for genre in genres]
        rows.append([answer["file"], next(iter(said), ""), max(columns), *columns])
    head = [results.PROBABILITY + genre for genre in genres]
    utils.write_csv(path, [*COLUMNS[result.task], *head], rows)


def show(answers, result, args, pictures):
    """The answers, and where they and the ``pictures`` {file: path} are; on stderr what is wrong with other files.

    Raises :class:`utils.UserError` where nothing is answered.
    """
    answered, kind = [answer for answer in answers if result.task in answer], KINDS[result.task]
    failed = [answer for answer in answers if "error" in answer]
    for answer in failed:
        print(f"{answer['file']}  could not be read: {answer['error']}", file=sys.stderr)
    if args.json:
        print(json.dumps(answers, indent=2, ensure_ascii=False))
    elif answered:
        how = f"{result.protocol}, {result.network_name}, {result.learned_from}"
        print(f"by {result.name} ({how}{why_this(result, args)})")
        lines = table(answered, lambda answer: kind.shown([*answer[result.task].items()], args.top))
        drawn = [str(path) for answer, path in zip(answers, pictures.values(), strict=False) if "genres" in answer]
        places = [args.csv, *(drawn if len(drawn) <= FEW else [args.timeline])]
        print("\n".join([lines, *filter(None, places)]))
    if len(answers) > FEW:
        print(f"{len(answered)} files read, {len(failed)} could not be", file=sys.stderr)
    if not answered:
        raise utils.UserError("none of the files could be read")


def seen_before(answers):
    """A warning where the classifier may have been trained on, or chosen by, some of these tracks."""
    count = {split: sum(answer["split"] == split for answer in answers) for split in ("training", "validation")}
    there = [f"{number} of them {split} tracks" for split, number in count.items() if number]
    return f" ({', '.join(there)}: where it was trained on them, this says little)" if there else ""


def unknown_genres(answers):
    """Which true genres are none of the classifier's, in words, or ""."""
    others = sorted({answer["truth"] for answer in answers} - {*answers[0]["genres"]})
    return f"; none of its genres: {', '.join(others)}" if others else ""


def table(answers, shown):
    """One line for each file, and how many are right where the truth is known; shown(answer) → [(name, share)]."""
    width = max(len(answer["file"]) for answer in answers)
    truths = [answer.get("truth", "?") for answer in answers]
    true_width = max(len("true genre"), *map(len, truths))
    known = any("truth" in answer for answer in answers)
    lines = [f"{'file':{width}}  {'true genre':{true_width}}  genres"] if known else []
    for answer, truth in zip(answers, truths, strict=True):
        line = f"{answer['file']:{width}}  " + (f"{truth:{true_width}}  " if known else "")
        lines.append(line + "  ".join(f"{genre} {p:.0%}" for genre, p in shown(answer)))
    judged = [answer for answer in answers if "truth" in answer]
    if judged:
        right = sum(next(iter(answer["genres"])) == answer["truth"] for answer in judged)
        lines.append(f"{right} of {len(judged)} right" + seen_before(judged) + unknown_genres(judged))
    return "\n".join(lines)


if __name__ == "__main__":
    utils.run(main, get_args_parser())
