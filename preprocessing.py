"""Convert audio into log-mel spectrograms, one .npy per track, ready for training.

    python preprocessing.py --size small                    FMA-small under data/fma_small
    python preprocessing.py --size medium                   FMA-medium (25,000 tracks, small among them)
    python preprocessing.py --dataset gtzan --source DIR    any folder of genre sub-folders
    python preprocessing.py --dataset gtzan --check         duplicates and oddities of what is made

Writes <data_dir>/<dataset>_npy/ with tracks.csv, spectrogram.json, the arrays and failed.csv. It can be stopped
and run again: what is already made with the same settings is kept. Get FMA from https://github.com/mdeff/fma.
"""

import concurrent.futures
import multiprocessing
import os
import shutil
from pathlib import Path

import numpy as np
import torch

import utils
from data import audio, check, collection, dataset, features, fma

TRACKS_COLUMNS = ["track_id", "path", "genre_top", "split", "frames"]
FAILED_COLUMNS = ["track_id", "path", "reason"]


def get_args_parser():
    parser = utils.script_parser(__doc__)
    defaults = audio.default_settings()

    group = parser.add_argument_group("which audio")
    group.add_argument("--size", choices=["small", "medium"], help="read FMA of this size")
    group.add_argument("--dataset", help="name of another collection, used with --source")
    group.add_argument("--source", help="its folder: <source>/<genre>/<file> (mp3, wav, flac, ogg, au, m4a …)")
    group.add_argument("--splits", help="CSV track_id,split; without it 80/10/10 %% of every genre, always the same")
    group.add_argument("--data_dir", default="data", help="folder of the audio (FMA) and of the spectrograms")

    parser.add_argument(
        "--features", choices=list(features.KINDS), default="logmel",
        help="what to make: logmel spectrograms, or (int16) waveforms, of which only --sr is asked",
    )  # fmt: skip

    group = parser.add_argument_group(
        "spectrogram",
        "Genre lives in timbre and rhythm. 22,050 Hz keeps what tells genres apart; a window of 2048 samples (93 ms) "
        "resolves the low mel bands, a hop of 512 (23 ms) resolves drum hits, and a crop of 5 s is then 128 × 215: "
        "about the area of the small images that ResNets were made for.",
    )
    group.add_argument("--sr", type=int, default=defaults["sample_rate"], help="sample rate in Hz")
    group.add_argument("--n_fft", type=int, default=defaults["n_fft"], help="samples in one window")
    group.add_argument("--hop_length", type=int, default=defaults["hop_length"], help="samples between frames")
    group.add_argument("--n_mels", type=int, default=defaults["n_mels"], help="mel bands")
    group.add_argument("--f_min", type=float, default=defaults["f_min"], help="lowest frequency in Hz")
    group.add_argument("--f_max", type=float, help="highest frequency in Hz (default: half of --sr)")
    group.add_argument("--mel_scale", choices=["slaney", "htk"], default=defaults["mel_scale"], help="mel formula")
    group.add_argument(
        "--dtype", choices=["float16", "uint8"], default=defaults["dtype"],
        help="float16 keeps dB to 0.03; uint8 is half as large, in steps of 0.3 dB",
    )  # fmt: skip

    group = parser.add_argument_group("running")
    group.add_argument(
        "--check", action="store_true",
        help="convert nothing; report duplicates, missing tracks and odd spectrograms of a dataset that is made",
    )  # fmt: skip
    group.add_argument("--min_seconds", type=float, default=5.0, help="name and skip clips that are shorter")
    group.add_argument("--workers", type=int, default=os.cpu_count(), help="processes that convert")
    group.add_argument("--overwrite", action="store_true", help="throw away spectrograms made with other settings")
    return parser


def main(args):
    if args.check:
        return check_dataset(args)
    torch.set_num_threads(1)  # the worker processes share the cores
    dataset, tracks = find_tracks(args)
    extractor = features.build(features.KINDS[args.features].settings_from(args), args.min_seconds)
    folder = prepare_folder(Path(args.data_dir) / f"{dataset}_npy", extractor.settings, args.overwrite)
    done, failed = convert(tracks, folder, extractor, args.workers)
    write_index(folder, tracks, done, failed)
    report(tracks, done, failed, folder)
    print(folder)


def check_dataset(args):
    if bool(args.size) == bool(args.dataset):
        raise utils.UserError("say what to check: --size small|medium, or --dataset NAME")
    folder = dataset.open_folder(args.data_dir, args.dataset or f"fma_{args.size}").path
    print(check.describe(check.check_folder(folder)))
    print(folder)


def find_tracks(args):
    """The dataset's name and its list of :class:`data.collection.Track`."""
    if args.size and (args.dataset or args.source):
        raise utils.UserError("give either --size (FMA), or --dataset NAME with --source DIR, not both")
    if args.size:
        return f"fma_{args.size}", fma.find_tracks(args.data_dir, args.size)
    if not (args.dataset and args.source):
        raise utils.UserError("say what to convert: --size small|medium (FMA), or --dataset NAME with --source DIR")
    if "/" in args.dataset or args.dataset.startswith("."):
        raise utils.UserError(f"--dataset {args.dataset} is a name for the folder to make, not a path")
    return args.dataset, collection.find_tracks(args.source, args.splits)


def prepare_folder(folder, settings, overwrite):
    """Make ``folder``, or keep what it holds when that has the same settings.

    Raises :class:`utils.UserError` when it has others, unless ``overwrite``.
    """
    file = folder / "spectrogram.json"
    if file.exists():
        there = utils.read_json(file)
        differing = [key for key in settings if there.get(key) != settings[key]]
        if differing and not overwrite:
            changes = ", ".join(f"{key} {there.get(key)} → {settings[key]}" for key in differing)
            raise utils.UserError(
                f"{folder} holds spectrograms with other settings ({changes}): "
                "choose the same, another --dataset name, or --overwrite to throw them away"
            )
        if differing:
            shutil.rmtree(folder)
    utils.write_json(file, settings)
    return folder


def convert(tracks, folder, extractor, workers):
    """Convert what is missing. Returns {track_id: frames} and {track_id: reason of failure}."""
    done, todo = {}, []
    for track in tracks:
        frames = frames_made(folder / track.path, extractor)
        if frames:
            done[track.track_id] = frames
        else:
            todo.append(track)
    if done:
        print(f"{len(done)} of {len(tracks)} tracks are already made; {len(todo)} to go")
    failed = {}
    with utils.progress(total=len(todo), unit=" tracks", desc=folder.name, smoothing=0.05, disable=not todo) as bar:
        for track, frames, reason in run_workers(todo, folder, extractor, workers):
            if reason:
                failed[track.track_id] = reason
                bar.set_postfix(failed=len(failed))
            else:
                done[track.track_id] = frames
            bar.update()
    return done, failed


def frames_made(path, extractor):
    """The frames of a finished array, 0 when there is none."""
    try:
        return extractor.frames(np.load(path, mmap_mode="r", allow_pickle=False).shape)
    except (OSError, ValueError, EOFError):
        return 0


def run_workers(tracks, folder, extractor, workers):
    """Yield (track, frames, reason) for every track as it is finished, in any order."""
    jobs = [(track, folder, extractor) for track in tracks]
    if workers <= 1 or len(jobs) < 8:  # starting processes would take longer than the work
        yield from map(convert_one, jobs)
        return
    context = multiprocessing.get_context("spawn")
    one_thread = {"initializer": torch.set_num_threads, "initargs": (1,)}
    with concurrent.futures.ProcessPoolExecutor(workers, context, **one_thread) as pool:
        futures = {pool.submit(convert_one, job): job[0] for job in jobs}
        try:
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        except concurrent.futures.process.BrokenProcessPool:
            raise utils.UserError(
                "a worker process died (out of memory?); what is made is kept: run again, with fewer --workers"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def convert_one(job):
    """Convert one track: (track, frames, None), or (track, 0, reason)."""
    track, folder, extractor = job
    try:
        array = extractor(track.source)
    except audio.AudioError as error:
        return track, 0, str(error)
    with utils.atomic_path(folder / track.path) as temporary:
        np.save(temporary, array, allow_pickle=False)
    return track, extractor.frames(array.shape), None


def write_index(folder, tracks, done, failed):
    rows = [(t.track_id, t.path, t.genre_top, t.split, done[t.track_id]) for t in tracks if t.track_id in done]
    utils.write_csv(folder / "failed.csv", FAILED_COLUMNS, [
        (t.track_id, t.source, failed[t.track_id]) for t in tracks if t.track_id in failed
    ])  # fmt: skip
    if not rows:
        raise utils.UserError(f"not one of {len(tracks)} tracks could be converted; see {folder / 'failed.csv'}")
    utils.write_csv(folder / "tracks.csv", TRACKS_COLUMNS, rows)


def report(tracks, done, failed, folder):
    made = [track for track in tracks if track.track_id in done]
    count = {split: sum(track.split == split for track in made) for split in collection.SPLITS}
    others = len(made) - sum(count.values())
    print(
        f"{len(made)} tracks of {len({track.genre_top for track in made})} genres: "
        + ", ".join(f"{n} {split}" for split, n in count.items())
        + (f", {others} excluded" if others else "")
    )
    if failed:
        print(f"{len(failed)} could not be converted, named in {folder / 'failed.csv'}:")
        for track_id, reason in list(failed.items())[:10]:
            print(f"  {track_id}: {reason}")
        if len(failed) > 10:
            print(f"  … and {len(failed) - 10} more")


if __name__ == "__main__":
    utils.run(main, get_args_parser())
