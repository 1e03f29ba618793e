"""Convert audio into log-mel spectrograms, one .npy per track, ready for training.

    python preprocessing.py --size small                    FMA-small under data/fma_small
    python preprocessing.py --size medium                   FMA-medium (25,000 tracks, small among them)
    python preprocessing.py --dataset gtzan --source DIR    any folder of genre sub-folders
    python preprocessing.py --dataset arena --source DIR    Kakao arena: log-mels that are there already, not copied
    python preprocessing.py --dataset gtzan --source DIR --metadata FILE --splits artist    … no artist in two splits
    python preprocessing.py --dataset gtzan --check         duplicates and oddities of what is made
    python preprocessing.py --size small --check            … and first, whether FMA's mp3 files are as published
    python preprocessing.py --size small --features music2vec               embeddings instead of spectrograms
    python preprocessing.py --dataset clap --features embeddings --source vectors.npz    … that you have already
    python preprocessing.py --features exp:154874                           … of your own pre-trained experiment
    python preprocessing.py --dataset spotify10 --source DIR --metadata dataset.csv --num_genres 10 \\
                            --features music2vec    ten genres of the Spotify Tracks Dataset, audio DIR/<track_id>.mp3
    python preprocessing.py --size medium --dask tcp://10.0.0.1:8786        by the workers of a Dask cluster

Writes <data_dir>/<dataset>_npy/ with tracks.csv, spectrogram.json, the arrays and failed.csv. It can be stopped, by
Ctrl-C or kill, and run again: what is already made of the same files with the same settings is kept. A file that
cannot be used is named, with the reason. python -m data.download fetches FMA.
Embeddings are arrays (layers, dimensions), which transfer.py --dataset NAME classifies without an experiment.
"""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import utils
from data.settings import MEL_SCALES, MOST_SECONDS, Spectrogram, Waveform, read_settings

FAILED_COLUMNS = ["track_id", "path", "reason"]
FORMS = """\
These forms, of vectors (D,) or of one vector per layer (L, D), are understood by --features embeddings:
<source>/<genre>/<track_id>.npy; one .npz with the arrays embeddings (N, D) or (N, L, D), track_id, genre_top and, if
it likes, split and artist; one .csv with the columns track_id, genre_top, if it likes split and artist, and one for
each dimension. A transfer's folder with what transfer.py --save_features wrote (features.npy, tracks.csv) is one,
too."""
BY_ARTIST = "artist"  # of --splits


def get_args_parser():
    parser = utils.script_parser(__doc__)
    defaults = Spectrogram()

    group = parser.add_argument_group("which audio")
    group.add_argument("--size", choices=["small", "medium"], help="read FMA of this size")
    group.add_argument("--dataset", help="name of another collection, used with --source, or of the folder")
    group.add_argument("--source", help="its folder: <source>/<genre>/<file> (mp3, wav, flac, ogg, au, m4a …)")
    group.add_argument(
        "--splits",
        help="CSV track_id,split; artist: about 80/10/10 %% of every genre such that no artist stands in two splits, "
        "for a classifier knows again what it was trained on; without it 80/10/10 %%, always the same",
    )  # fmt: skip
    group.add_argument("--data_dir", default="data", help="folder of the audio (FMA) and of the spectrograms")

    group.add_argument(
        "--metadata",
        help="CSV with the columns track_id,artist: who made the tracks, for --splits artist and for intervals, "
        "which are wider where an artist has several tracks (FMA's metadata says it itself). Or one with the columns "
        "track_id,track_genre (dataset.csv of the Spotify Tracks Dataset): audio is <source>/<track_id>.mp3 then, "
        "and tracks that stand under several of the genres are left out and counted",
    )  # fmt: skip
    group.add_argument("--genres", help="with --metadata: these genres only, a,b,c")
    group.add_argument("--top_genres", type=utils.count, default=14, help="of Kakao arena: the most frequent genres")
    group.add_argument(
        "--num_genres", type=utils.count, help="with --metadata: the first so many genres of the alphabet"
    )

    group = parser.add_argument_group("what to make of it", FORMS)
    group.add_argument(
        "--features", default="logmel",
        help="logmel: spectrograms. waveform: int16, of which only --sr is asked. music2vec: all hidden states of a "
        "Data2VecAudioModel. embeddings: take those at --source. exp:ID: the pooled features of an experiment",
    )  # fmt: skip
    group.add_argument("--model", default="m-a-p/music2vec-v1", help="music2vec: folder, or name on Hugging Face")
    group.add_argument(
        "--window_seconds", type=utils.seconds, default=30.0, help="music2vec: length it hears at once"
    )
    group.add_argument("--exp_dir", default="exp", help="exp:ID: folder of the experiments")
    group.add_argument("--num_crops", type=utils.count, default=5, help="exp:ID: crops of a track, averaged")

    group = parser.add_argument_group(
        "spectrogram",
        "Genre lives in timbre and rhythm. 22,050 Hz keeps what tells genres apart; a window of 2048 samples (93 ms) "
        "resolves the low mel bands, a hop of 512 (23 ms) resolves drum hits, and a crop of 5 s is then 128 × 215: "
        "about the area of the small images that ResNets were made for.",
    )
    group.add_argument("--sr", type=utils.count, default=defaults.sample_rate, help="sample rate in Hz")
    group.add_argument("--n_fft", type=utils.count, default=defaults.n_fft, help="samples in one window")
    group.add_argument("--hop_length", type=utils.count, default=defaults.hop_length, help="samples between frames")
    group.add_argument("--n_mels", type=utils.count, default=defaults.n_mels, help="mel bands")
    group.add_argument("--f_min", type=utils.not_negative, default=defaults.f_min, help="lowest frequency in Hz")
    group.add_argument("--f_max", type=utils.positive, help="highest frequency in Hz (default: half of --sr)")
    group.add_argument("--mel_scale", choices=MEL_SCALES, default=defaults.mel_scale, help="mel formula")
    group.add_argument(
        "--dtype", choices=["float16", "uint8"], default=defaults.dtype,
        help="float16 keeps dB to 0.03; uint8 is half as large, in steps of 0.3 dB",
    )  # fmt: skip

    group = parser.add_argument_group("running")
    group.add_argument(
        "--check", action="store_true",
        help="convert nothing; report duplicates, artists in two splits, missing tracks and odd spectrograms of a "
        "dataset that is made, and with --size damaged and missing mp3 files, by FMA's own checksums, before and "
        "after it is made",
    )  # fmt: skip
    group.add_argument(
        "--min_seconds", type=utils.not_negative, default=5.0, help="name and skip clips that are shorter"
    )
    group.add_argument(
        "--max_minutes", type=utils.positive, default=MOST_SECONDS / 60,
        help="name and skip files that are longer: an hour takes 2.5 GB in each worker, while it is converted",
    )  # fmt: skip
    group.add_argument("--workers", type=utils.count, default=os.cpu_count(), help="processes that convert")
    group.add_argument(
        "--dask", metavar="ADDRESS",
        help="convert by the workers of the Dask scheduler at this address (tcp://HOST:8786), not by processes here. "
        "Both are started in this folder; workers reach the audio and --data_dir by the same paths: docs/scale.md",
    )  # fmt: skip
    group.add_argument("--overwrite", action="store_true", help="throw away spectrograms made with other settings")
    return parser


if __name__ == "__main__":  # --help and wrong flags are answered before what takes seconds to import
    utils.answer_first(get_args_parser())

import torch

from data import arena, check, checksums, collection, extractors, fma, logmel, made_from, music2vec, spotify, vectors
from data.cluster import connected, run_cluster
from data.collection import Extractor
from data.folder import ARTIST, COLUMNS, inside
from data.tags import write_where_known
from data.workers import run_workers


def main(args):
    if args.check:
        return check_dataset(Path(args.data_dir), args.size, dataset_name(args.size, args.dataset))
    check_splits(args)
    name, found, extractor = open_source(args)
    if args.metadata and not spotify.is_metadata(args.metadata):
        found = collection.with_artists(found, args.metadata)
    found = collection.leave_out_unwritable(found)
    if args.splits == BY_ARTIST:
        found = collection.split_by_artist(found)
    folder = Path(args.data_dir) / f"{name}_npy"
    check_apart(folder, args.source, found)
    with utils.locked(folder), connected(args.dask, extractor) as client:
        make_folder(folder, found, extractor, args, client)
    if args.size:
        write_where_known(folder, Path(args.data_dir) / "fma_metadata")
    print(folder)


def make_folder(folder, found, extractor, args, client):
    """Make or complete ``folder`` of a :class:`data.collection.Collection`. Raises :class:`utils.UserError`."""
    prepare_folder(folder, extractor.settings, args.overwrite)
    utils.sweep(folder)
    if found.frames:
        done, failed = found.frames, {}
    else:
        if not extractor.stays_here:
            torch.set_num_threads(1)  # the worker processes share the cores
        remade = made_from.update(folder, made_from.describe(found.tracks, args.source or args.data_dir))
        if remade:
            print(f"{remade} arrays were made from other files than those there are now: they are made again")
        done, failed = convert(found.tracks, folder, extractor, args.workers, client)
    write_index(folder, found, done, failed)
    remove_replaced(folder)
    report(found, done, failed, folder)


def check_dataset(data_dir, size, name):
    """What the arrays of a dataset hold; FMA's audio too, and that alone before there are arrays."""
    folder, audio = data_dir / f"{name}_npy", data_dir / name
    has_audio = bool(size) and (audio / checksums.NAME).exists()
    damaged = check_audio(audio) if has_audio else None
    if has_audio and not folder.exists():
        last = f"no spectrograms yet in {folder}"
    else:
        print(check.describe(check.check_folder(folder)))
        last = folder
    if damaged:
        raise utils.UserError(damaged)
    print(last)


def check_audio(audio):
    """Compare FMA's files with its own checksums; those that differ are named in <folder>_damaged.csv beside it.

    Returns what is wrong with them in a sentence; None where nothing is.
    """
    number, damaged = checksums.compare(audio)
    named = audio.with_name(f"{audio.name}_damaged.csv")
    if not damaged:
        named.unlink(missing_ok=True)  # of an earlier check
        print(f"{audio}: all {number:,} files are as published")
        return None
    utils.write_csv(named, ["path", "reason"], damaged)
    name_some(damaged)
    return (
        f"{len(damaged):,} of {number:,} files of {audio} are not as published, named in {named}; "
        "where they are many, remove the folder and fetch it again: python -m data.download"
    )


def dataset_name(size, dataset):
    if bool(size) == bool(dataset):
        raise utils.UserError("say what to check: --size small|medium, or --dataset NAME")
    return dataset or f"fma_{size}"


# ------------------------------------------------------------------ what to convert, and into what


def open_source(args):
    """(name of the folder to make, :class:`data.collection.Collection`, :class:`data.collection.Extractor`)."""
    if args.features.startswith("exp:"):
        from training.experiment_features import (
            ExperimentFeatures,  # not above: the worker processes need no networks
        )

        name = args.dataset or (args.size and f"fma_{args.size}")
        extractor = ExperimentFeatures(
            args.features.removeprefix("exp:"), args.exp_dir, args.data_dir, name, args.num_crops
        )
        return extractor.name, extractor.collection, extractor
    if args.size and args.source:
        raise utils.UserError("give either --size (FMA), or --dataset NAME with --source DIR, not both")
    if args.size:
        kind = "" if args.features == "logmel" else f"_{args.features}"
        utils.check_name("--dataset", args.dataset or "")
        return args.dataset or f"fma_{args.size}{kind}", fma.find(args.data_dir, args.size), build_extractor(args)
    check_name(args.dataset, args.source)
    if args.features == "embeddings":
        return args.dataset, *vectors.adopt(args.source, splits_csv(args))
    if arena.is_arena(args.source):
        if args.features != "logmel":
            raise utils.UserError(f"{args.source} holds log-mels, not audio for --features {args.features}")
        found = arena.find(args.source, args.top_genres)
        return args.dataset, found, Extractor(arena.settings_of(found.tracks, args.source))
    return args.dataset, find_files(args), build_extractor(args)


def find_files(args):
    """The collection of audio files under ``--source``, by folders of genres or by the genres of ``--metadata``."""
    if args.metadata and spotify.is_metadata(args.metadata):
        genres = args.genres and [genre.strip() for genre in args.genres.split(",")]
        return spotify.find(args.source, args.metadata, genres, args.num_genres, splits_csv(args))
    if args.genres or args.num_genres is not None:
        raise utils.UserError("--genres and --num_genres go with --metadata, the CSV of tracks and their genres")
    return collection.find(args.source, splits_csv(args))


def splits_csv(args):
    """The file that ``--splits`` names, if it does."""
    return None if args.splits == BY_ARTIST else args.splits


def build_extractor(args):
    """What ``--features`` and the flags of the spectrogram ask for. Raises :class:`utils.UserError`."""
    if args.features == "waveform":
        settings = Waveform(sample_rate=args.sr)
    elif args.features == "music2vec":
        settings = music2vec.settings_of(args.model, args.window_seconds)
    elif args.features == "logmel":
        settings = replace(
            logmel.default_settings(),
            sample_rate=args.sr,
            n_fft=args.n_fft,
            hop_length=args.hop_length,
            n_mels=args.n_mels,
            f_min=args.f_min,
            f_max=args.sr / 2 if args.f_max is None else args.f_max,
            mel_scale=args.mel_scale,
            dtype=args.dtype,
        )
        logmel.check_settings(settings)
    else:
        kinds = ", ".join(extractors.KINDS)
        raise utils.UserError(f"--features {args.features} is none of {kinds}, embeddings, exp:ID")
    return extractors.build(settings, min_seconds=args.min_seconds, max_seconds=60 * args.max_minutes)


def check_splits(args):
    """Splits that stand already are not drawn anew. Raises :class:`utils.UserError`."""
    if args.splits == BY_ARTIST and (args.size or args.features.startswith("exp:")):
        raise utils.UserError(
            "--splits artist is for collections that come without splits: FMA has its own, exp:ID keeps its dataset's"
        )


def check_name(dataset, source):
    if not (dataset and source):
        raise utils.UserError("say what to convert: --size small|medium (FMA), or --dataset NAME with --source DIR")
    utils.check_name("--dataset", dataset)


# ------------------------------------------------------------------ the folder


def check_apart(folder, source, found):
    """What is made must not mix with what it is made of: a source is never written to, nor thrown away.

    Raises :class:`utils.UserError`.
    """
    here, there = folder.resolve(), Path(source or ".").resolve()
    arrays = found.frames or any(str(track.source).endswith(".npy") for track in found.tracks)  # read as a source
    if source and (there.is_relative_to(here) or (arrays and here.is_relative_to(there))):
        raise utils.UserError(f"{folder} would be mixed up with --source {source}: choose another --data_dir")


def prepare_folder(folder, settings, overwrite):
    """Make ``folder``, or keep what it holds when that has the same settings.

    Raises :class:`utils.UserError` when it has others, or none, unless ``overwrite``. Then the old folder is moved
    away, so that the new one never holds an array of other settings, and removed when the new one is done. It comes
    back where its settings are asked for before that.
    """
    here, waiting = folder.resolve(), replaced(folder)  # the folder itself may be a link to another disk
    differing = differences(here, settings)
    if differing and not overwrite:
        before = f" (what was there before is still in {waiting}, and comes back with its settings)"
        raise utils.UserError(
            f"{folder} holds arrays with other settings ({', '.join(differing)}): choose the same, "
            f"another --dataset name, or --overwrite to throw them away{before if waiting.exists() else ''}"
        )
    if differing:
        set_aside(folder)
    if not here.exists() and waiting.exists() and not differences(waiting, settings):
        os.replace(waiting, here)
    here.mkdir(parents=True, exist_ok=True)
    utils.write_json(folder / "spectrogram.json", settings.to_json())


def differences(folder, settings):
    """How the settings of what ``folder`` holds differ from ``settings``, in words: [] where nothing does."""
    file = folder / "spectrogram.json"
    if file.exists():
        return read_settings(file).differences(settings, apart_from=["index_of"])
    return ["unknown ones: spectrogram.json is missing"] if any(folder.glob("*/*.npy")) else []


def set_aside(folder):
    """Move ``folder`` to where it waits; remove it where it is unfinished and a better one waits there already."""
    if replaced(folder).exists() and not (folder / "tracks.csv").exists():
        shutil.rmtree(folder.resolve())
    else:
        remove_replaced(folder)
        os.replace(folder.resolve(), replaced(folder))


def replaced(folder):
    """Where a folder waits that is being made anew."""
    folder = folder.resolve()
    return folder.with_name(f".{folder.name}.replaced")


def remove_replaced(folder):
    if replaced(folder).exists():
        shutil.rmtree(replaced(folder))


def convert(tracks, folder, extractor, workers, client):
    """Convert what is missing. Returns {track_id: frames} and {track_id: reason of failure}.

    By ``workers`` processes, or by those of the cluster where there is a Dask ``client``.
    """
    done, todo = {}, []
    for track in tracks:
        frames = extractor.resumes and frames_made(folder, track, extractor)
        if frames:
            done[track.track_id] = frames
        else:
            todo.append((track, folder, extractor))
    if done:
        print(f"{len(done)} of {len(tracks)} tracks are already made; {len(todo)} to go")
    failed = {}
    results = run_cluster(todo, client) if client else run_workers(todo, extractor, workers)
    with utils.progress(total=len(todo), unit=" tracks", desc=folder.name, smoothing=0.05, disable=not todo) as bar:
        for track, frames, reason in results:
            if reason:
                failed[track.track_id] = reason
                bar.set_postfix(failed=len(failed), refresh=False)
            else:
                done[track.track_id] = frames
            bar.update()
    return done, failed


def frames_made(folder, track, extractor):
    """The frames of a finished array, 0 when there is none."""
    try:
        array = utils.load_array(inside(folder.resolve(), track.path) or "", mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return 0
    return extractor.settings.frames_of(array.shape) if array.dtype == extractor.settings.dtype else 0


def write_index(folder, found, done, failed):
    tracks = found.tracks
    made = [track for track in tracks if track.track_id in done]
    rows = [(t.track_id, t.path, t.genre_top, t.split, done[t.track_id], t.artist) for t in made]
    lost = [(t.track_id, t.source, failed[t.track_id]) for t in tracks if t.track_id in failed]
    utils.write_csv(folder / "failed.csv", FAILED_COLUMNS, [*lost, *found.left_out])
    if not rows:
        raise utils.UserError(f"not one of {len(tracks)} tracks could be converted; see {folder / 'failed.csv'}")
    named = any(track.artist for track in made)
    columns = [*COLUMNS, ARTIST] if named else COLUMNS
    utils.write_csv(folder / "tracks.csv", columns, [row[: len(columns)] for row in rows])


def report(found, done, failed, folder):
    made = [track for track in found.tracks if track.track_id in done]
    count = {split: sum(track.split == split for track in made) for split in collection.SPLITS}
    others = len(made) - sum(count.values())
    genres = len({track.genre_top for track in made})
    print(
        f"{len(made)} tracks of {genres} genre{'s' * (genres != 1)}: "
        + ", ".join(f"{n} {split}" for split, n in count.items())
        + (f", {others} excluded" if others else "")
    )
    lost = [*failed.items(), *((track_id, reason) for track_id, _, reason in found.left_out)]
    if lost:
        print(f"{len(lost)} left out, named in {folder / 'failed.csv'}:")
        name_some(lost)


def name_some(lost):
    """The first of [(name, reason)], and how many more there are."""
    for name, reason in lost[:10]:
        print(utils.printable(f"  {name}: {reason}"))
    if len(lost) > 10:
        print(f"  … and {len(lost) - 10} more")


if __name__ == "__main__":
    utils.run(main, get_args_parser())
