"""See and hear what the augmentations do.

    python preview.py song.mp3 other.mp3          each file becomes <out>/<name>.views.png and <out>/<name>/*.wav
    python preview.py --dataset fma_small         the same for tracks of a spectrogram folder (the first two)

A track is mixed with the next one on the command line; a single track with another passage of its own.
benchmarks/augmentations.py measures what can be seen and heard here.
"""

# Axes: B batch, F mel band (row 0 = lowest), T frame.

import math
from pathlib import Path

import augment
import utils

COLUMNS = 4  # of the figure: the tables, the whole families, the track and its partner fill five rows
INK, MUTED = "#1d2733", "#66727f"
COLOURS = {"track": INK, "spec": "#2a6fb0", "image": "#c8602a", "audio": "#2f8a6a"}
HERTZ = (100, 500, 1000, 2000, 4000, 8000, 16000)


def get_args_parser():
    parser = utils.script_parser(__doc__)
    parser.add_argument("names", nargs="*", metavar="FILE", help="audio files; with --dataset, track ids")
    parser.add_argument("--data_dir", default="data", help="folder of the spectrogram folders")
    parser.add_argument("--dataset", help="read tracks of <data_dir>/<dataset>_npy instead of audio files")
    parser.add_argument("--out", default="preview", help="folder for the pictures and the sounds")
    parser.add_argument(
        "--seconds", type=utils.seconds, default=5.0, help="length of a view, from the middle of the track"
    )
    parser.add_argument(
        "--lam", type=utils.share, help="share of the track itself in mixing (default: each family's own)"
    )
    parser.add_argument("--seed", type=utils.whole, default=0, help="another seed, other pitches, tempos and places")
    parser.add_argument("--no_wav", action="store_true", help="pictures only; the sounds take a second or two each")
    return parser


if __name__ == "__main__":  # --help and wrong flags are answered before what takes seconds to import
    utils.answer_first(get_args_parser())

import librosa
import numpy as np
import soundfile
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from augment import audio as sounds
from data import crops, logmel, songs
from data.collection import file_name
from data.folder import open_folder


def main(args):
    """Write a picture and sounds for each track."""
    names, tracks, settings = read_dataset(args) if args.dataset else read_files(args.names)
    num_frames = settings.frames_in(args.seconds)
    if num_frames < 2:
        raise utils.UserError(f"--seconds {args.seconds:g} is shorter than two frames of this spectrogram")
    audible = settings.hop_length <= settings.n_fft // 2
    if not audible and not args.no_wav:
        print("no sounds: these frames are too far apart to be turned back into audio")
    for index, (name, track) in enumerate(zip(names, tracks, strict=True)):
        partner = tracks[(index + 1) % len(tracks)] if len(tracks) > 1 else track.roll(track.shape[1] // 2, 1)
        panels = make_views(track, partner, settings, num_frames, args.lam, args.seed)
        draw_panels(Path(args.out) / f"{file_name(name)}.views.png", panels, settings, name)
        if audible and not args.no_wav:
            write_sounds(Path(args.out) / file_name(name), panels, settings)
    print(args.out)


def read_files(names):
    """Names, spectrograms (F, T) and settings of audio files."""
    if not names:
        raise utils.UserError("name an audio file, or use --dataset")
    settings = logmel.default_settings()
    tracks = [logmel.log_mel(read_waveform(name, settings), settings) for name in names]
    short = songs.short_names(names)
    return [short[name] for name in names], tracks, settings


def read_waveform(path, settings):
    try:
        return logmel.read_audio(path, settings.sample_rate)
    except logmel.AudioError as error:
        raise utils.UserError(f"{path}: {error}") from None


def read_dataset(args):
    """Names, spectrograms (F, T) and settings of tracks in a spectrogram folder."""
    folder = open_folder(args.data_dir, args.dataset, kinds=("spectrogram",))
    names = list(dict.fromkeys(args.names)) or folder.tracks["track_id"].head(2).tolist()
    missing = set(names) - set(folder.tracks["track_id"])
    if missing:
        raise utils.UserError(f"{folder.path} has no track {', '.join(sorted(missing))}")
    rows = folder.tracks.set_index("track_id", drop=False).loc[names].reset_index(drop=True)
    spectrograms = crops.load(folder, rows, torch.device("cpu"), cache="disk")
    starts = torch.zeros(1, dtype=torch.int64)
    tracks = [spectrograms.crop(starts + i, starts, int(rows["frames"][i]))[0, 0] for i in range(len(rows))]
    return names, tracks, folder.settings


def make_views(track, partner, settings, num_frames, lam, seed):
    """[(family, name, view (F, num_frames))]: the track, its partner, each augmentation, each whole family."""
    wanted = {family: [f"{family}:{name}" for name in table] for family, table in augment.FAMILIES.items()}
    panels = []
    for family, names in wanted.items():
        for name in [*names, family]:
            augmentation = augment.build(name, settings, lam, aug_p=None if name == family else 1.0)
            num_input = round(num_frames * augmentation.context)
            x = torch.stack([middle(track, num_input), middle(partner, num_input)])[:, None]
            utils.set_seed(seed + len(panels))
            title = "the whole family" if name == family else name.split(":")[1].replace("_", " ")
            panels.append((family, title, augmentation(x, num_frames)[0, 0]))
    originals = [("track", "the track", track), ("track", "its mixing partner", partner)]
    return [(family, title, middle(x, num_frames)) for family, title, x in originals] + panels


def label(family, name):
    return name if family == "track" else f"{family}: {name}"


def middle(track, num_frames):
    """The middle of a track (F, T) → (F, num_frames); a track that is too short is repeated."""
    return crops.cut_evenly(track, num_frames, 1)[0, 0]


def draw_panels(path, panels, settings, title):
    """One picture of all views, time in seconds and frequency in Hz."""
    rows = math.ceil(len(panels) / COLUMNS)
    figure = Figure(figsize=(11.5, 1.95 * rows + 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, color=INK, fontsize=13, fontweight="bold", parse_math=False)  # "$" in a name is no formula
    grid = figure.subplots(rows, COLUMNS, squeeze=False, sharex=True, sharey=True)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, (family, name, view) in zip(grid.flat, panels, strict=False):
        picture = draw_view(axes, view, settings)
        axes.set_title(label(family, name), color=COLOURS[family], fontsize=10, fontweight="bold", loc="left", pad=4)
    for axes in grid[-1]:
        axes.set_xlabel("seconds", color=MUTED, fontsize=9)
    for axes in grid[:, 0]:
        axes.set_ylabel("Hz", color=MUTED, fontsize=9)
    bar = figure.colorbar(picture, ax=grid, shrink=0.35, aspect=26, pad=0.015)
    bar.set_label("dB, 0 is the track's maximum", color=MUTED, fontsize=9)
    bar.ax.tick_params(labelsize=8, colors=MUTED)
    bar.outline.set_visible(False)
    with utils.atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=105)


def draw_view(axes, view, settings):
    """One spectrogram (F, T) into its axes."""
    num_bands, num_frames = view.shape
    seconds = num_frames * settings.hop_length / settings.sample_rate
    floor = settings.db_min
    picture = axes.imshow(
        view.numpy(), origin="lower", aspect="auto", interpolation="nearest", cmap="magma",
        vmin=floor, vmax=0, extent=(0, seconds, -0.5, num_bands - 0.5),
    )  # fmt: skip
    shown = [hertz for hertz in HERTZ if settings.f_min < hertz < settings.f_max]
    axes.set_yticks(sounds.hertz_to_band(torch.tensor(shown, dtype=torch.float32), num_bands, settings).numpy())
    axes.set_yticklabels([f"{hertz // 1000}k" if hertz >= 1000 else str(hertz) for hertz in shown])
    axes.tick_params(labelsize=8, colors=MUTED, length=2)
    axes.spines[:].set_visible(False)
    return picture


def write_sounds(folder, panels, settings):
    """One wav for each view, by Griffin and Lim's iteration; all at the level of the track."""
    gain = None
    for number, (family, name, view) in enumerate(panels):
        waveform = librosa.feature.inverse.mel_to_audio(
            10 ** (view.numpy() / 10), sr=settings.sample_rate, n_fft=settings.n_fft,
            hop_length=settings.hop_length, fmin=settings.f_min, fmax=settings.f_max,
            htk=settings.mel_scale == "htk",
        )  # fmt: skip
        gain = gain or 0.5 / max(np.abs(waveform).max(), 1e-9)
        stem = label(family, name).replace(": ", "_").replace(" ", "_")
        path = folder / f"{number:02}_{stem}.wav"
        try:
            with utils.atomic_path(path) as temporary:
                soundfile.write(temporary, (waveform * gain).clip(-1, 1), settings.sample_rate)
        except soundfile.LibsndfileError as error:
            raise utils.UserError(f"{path} could not be written: {error}") from None


if __name__ == "__main__":
    utils.run(main, get_args_parser())
