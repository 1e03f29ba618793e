"""See, hear and measure what the augmentations do.

    python preview.py song.mp3 other.mp3          each file becomes <out>/<name>.png and <out>/<name>/*.wav
    python preview.py --dataset fma_small         the same for tracks of a spectrogram folder (the first two)
    python preview.py --verify DIR                compare them with the same thing done to the waveforms in DIR
    python preview.py --benchmark                 clips per second of each family, beside a ResNet-50 step

A track is mixed with the next one on the command line; a single track with another passage of its own.
"""

# Axes: B batch, F mel band (row 0 = lowest), T frame.

import math
import statistics
import time
from fractions import Fraction
from pathlib import Path

import librosa
import numpy as np
import soundfile
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import augment
import utils
from augment import audio as sounds
from augment import image as pictures
from data import audio, dataset
from models import backbones

COLUMNS = 4  # of the figure: the tables, the whole families, the track and its partner fill five rows
INK, MUTED = "#1d2733", "#66727f"
COLOURS = {"track": INK, "spec": "#2a6fb0", "image": "#c8602a", "audio": "#2f8a6a"}
HERTZ = (100, 500, 1000, 2000, 4000, 8000, 16000)

SHIFTS, RATES, SHARE = (-4, -2, 3), (Fraction(7, 10), Fraction(7, 5)), 0.7  # what --verify tries
BATCH, BANDS, FRAMES = 16, 48, 431  # what --benchmark times


def get_args_parser():
    parser = utils.script_parser(__doc__)
    parser.add_argument("names", nargs="*", metavar="FILE", help="audio files; with --dataset, track ids")
    parser.add_argument("--data_dir", default="data", help="folder of the spectrogram folders")
    parser.add_argument("--dataset", help="read tracks of <data_dir>/<dataset>_npy instead of audio files")
    parser.add_argument("--out", default="preview", help="folder for the pictures and the sounds")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a view, from the middle of the track")
    parser.add_argument("--lam", type=float, help="share of the track itself in mixing (default: each family's own)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other pitches, tempos and places")
    parser.add_argument("--no_wav", action="store_true", help="pictures only; the sounds take a second or two each")
    parser.add_argument("--verify", metavar="DIR", help="print how near the audio family comes to the waveform's")
    parser.add_argument("--benchmark", action="store_true", help="print how fast each family is")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda, for --benchmark")
    return parser


def main(args):
    if args.verify:
        print_table(verify(find_audio(args.verify)))
    elif args.benchmark:
        print_table(benchmark(utils.pick_device(args.device)))
    else:
        preview(args)


def print_table(rows):
    """As Markdown."""
    for row in rows:
        print("|", " | ".join(row), "|")


# ------------------------------------------------------------------ see and hear


def preview(args):
    """Write a picture and sounds for each track."""
    names, tracks, settings = read_dataset(args) if args.dataset else read_files(args.names)
    num_frames = round(args.seconds * settings.sample_rate / settings.hop_length)
    if num_frames < 2:
        raise utils.UserError(f"--seconds {args.seconds:g} is shorter than two frames of this spectrogram")
    audible = settings.hop_length <= settings.n_fft // 2
    if not audible and not args.no_wav:
        print("no sounds: these frames are too far apart to be turned back into audio")
    for index, (name, track) in enumerate(zip(names, tracks, strict=True)):
        partner = tracks[(index + 1) % len(tracks)] if len(tracks) > 1 else track.roll(track.shape[1] // 2, 1)
        panels = make_views(track, partner, settings, num_frames, args.lam, args.seed)
        draw_panels(Path(args.out) / f"{name}.png", panels, settings, name)
        if audible and not args.no_wav:
            write_sounds(Path(args.out) / name, panels, settings)
    print(args.out)


def read_files(names):
    """Names, spectrograms (F, T) and settings of audio files."""
    if not names:
        raise utils.UserError("name an audio file, or use --dataset, --verify or --benchmark")
    settings = audio.default_settings()
    tracks = [audio.log_mel(read_waveform(name, settings), settings) for name in names]
    return [Path(name).stem for name in names], tracks, settings


def read_waveform(path, settings):
    try:
        return audio.read_audio(path, settings.sample_rate)
    except audio.AudioError as error:
        raise utils.UserError(f"{path}: {error}") from None


def read_dataset(args):
    """Names, spectrograms (F, T) and settings of tracks in a spectrogram folder."""
    folder = dataset.open_folder(args.data_dir, args.dataset)
    if "mel_scale" not in folder.settings:
        raise utils.UserError(f"{folder.path} does not hold log-mel spectrograms; nothing there is augmented")
    names = args.names or folder.tracks["track_id"].head(2).tolist()
    missing = set(names) - set(folder.tracks["track_id"])
    if missing:
        raise utils.UserError(f"{folder.path} has no track {', '.join(sorted(missing))}")
    rows = folder.tracks.set_index("track_id", drop=False).loc[names].reset_index(drop=True)
    spectrograms = dataset.load(folder, rows, torch.device("cpu"), in_memory=False)
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
    start = max(0, (track.shape[1] - num_frames) // 2)
    return track[:, (start + torch.arange(num_frames)) % track.shape[1]]


def draw_panels(path, panels, settings, title):
    """One picture of all views, time in seconds and frequency in Hz."""
    rows = math.ceil(len(panels) / COLUMNS)
    figure = Figure(figsize=(11.5, 1.95 * rows + 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, color=INK, fontsize=13, fontweight="bold")
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
        with utils.atomic_path(folder / f"{number:02}_{stem}.wav") as temporary:
            soundfile.write(temporary, (waveform * gain).clip(-1, 1), settings.sample_rate)


# ------------------------------------------------------------------ measure


def find_audio(folder):
    paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in audio.SUFFIXES)
    if not paths:
        raise utils.UserError(f"there is no audio file under {folder}")
    return paths


def verify(paths):
    """Rows of a table: the audio family beside the same thing done to the waveform by librosa."""
    settings = audio.default_settings()
    waveforms = [read_waveform(path, settings) for path in paths]
    pairs = list(zip(waveforms, waveforms[1:] + waveforms[:1], strict=True))
    rows = [["done to the spectrogram", "up to Hz", "r, mean", "r, lowest", "r if not done", "mean dB off"]]
    rows += [["---"] + ["---:"] * 5]
    for shift in SHIFTS:
        trials = [try_pitch_shift(waveform, shift, settings) for waveform in waveforms]
        rows.append(summary(f"pitch shift {shift:+d}", trials, highest_shared(shift, settings)))
    for rate in RATES:
        trials = [try_time_stretch(waveform, rate, settings) for waveform in waveforms]
        rows.append(summary(f"time stretch {float(rate):g}", trials, settings.f_max))
    for name, mix in (("mixup", sounds.mixup), ("mean of the dB", pictures.mixup)):
        trials = [try_mixup(*pair, mix, settings) for pair in pairs]
        rows.append(summary(f"{name}, lam {SHARE}", trials, settings.f_max))
    return rows


def summary(name, trials, highest):
    """One row of the table from (done, truth, input) of each clip, each (F, T) dB."""
    reached = [correlation(done, truth) for done, truth, _ in trials]
    before = [correlation(untouched, truth) for _, truth, untouched in trials]
    off = statistics.mean((done - truth).mean().item() for done, truth, _ in trials)
    means = statistics.mean(reached), min(reached), statistics.mean(before)
    return [name, f"{highest:.0f}", *(f"{r:.3f}" for r in means), f"{off:+.1f}"]


def correlation(a, b):
    return torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].item()


def try_pitch_shift(waveform, semitones, settings):
    """(done, truth, input) over the bands that the truth can contain."""
    truth = truth_of(librosa.effects.pitch_shift(waveform, sr=settings.sample_rate, n_steps=semitones), settings)
    x = audio.log_mel(waveform, settings)
    done = sounds.pitch_shift(x[None, None], torch.tensor([float(semitones)]), settings)[0, 0]
    highest = torch.tensor(highest_shared(semitones, settings))
    bands = int(sounds.hertz_to_band(highest, len(x), settings)) + 1
    return relative(done)[:bands], truth[:bands], x[:bands]


def highest_shared(semitones, settings):
    """A shift down leaves nothing above f_max · 2^(semitones/12)."""
    return settings.f_max * min(1.0, 2 ** (semitones / 12))


def try_time_stretch(waveform, rate, settings):
    """(done, truth, middle of the input); rate is a Fraction n/d."""
    truth = truth_of(librosa.effects.time_stretch(waveform, rate=float(rate)), settings)
    x = audio.log_mel(waveform, settings)
    # 2nk + 1 frames of the input and 2dk + 1 of the output have the same middle
    n, d = rate.as_integer_ratio()
    k = min((x.shape[1] - 1) // (2 * n), (truth.shape[1] - 1) // (2 * d))
    done = sounds.time_stretch(x[None, None, :, : 2 * n * k + 1], torch.tensor([float(rate)]), 2 * d * k + 1)[0, 0]
    return relative(done), truth[:, : 2 * d * k + 1], middle(x, 2 * d * k + 1)


def try_mixup(waveform, partner, mix, settings):
    """(done, truth, input); two waveforms of the same maximum in dB, the truth is their weighted sum."""
    length = min(len(waveform), len(partner))
    first, second = (levelled(part[:length], settings) for part in (waveform, partner))
    x = audio.log_mel(np.stack([first, second]), settings)[:, None]
    truth = truth_of(math.sqrt(SHARE) * first + math.sqrt(1 - SHARE) * second, settings)
    return relative(mix(x, torch.full((2,), SHARE))[0, 0]), truth, x[0, 0]


def levelled(waveform, settings):
    return waveform / math.sqrt(mel_power(waveform, settings).max())


def truth_of(waveform, settings):
    """librosa's log-mel of a waveform, dB relative to its maximum: (F, T)."""
    power = torch.from_numpy(mel_power(waveform, settings))
    return relative(10 * power.clamp_min(1e-10).log10())


def mel_power(waveform, settings):
    keys = ("n_fft", "hop_length", "n_mels")
    return librosa.feature.melspectrogram(
        y=waveform, sr=settings.sample_rate, fmin=settings.f_min, fmax=settings.f_max,
        htk=settings.mel_scale == "htk", **{key: settings[key] for key in keys},
    )  # fmt: skip


def relative(decibels):
    return (decibels - decibels.max()).clamp_min(-80)


def benchmark(device):
    """Rows of a table: two views of a batch in each family, beside one SimSiam-like step of a ResNet-50."""
    settings = audio.default_settings() | {"n_mels": BANDS}
    step = seconds_of(training_step(device), device, repeats=3)
    rows = [["two views of 16 × 48 × 431", "ms", "clips/s", "of a ResNet-50 step"], ["---"] + ["---:"] * 3]
    for family in augment.FAMILIES:
        augmentation = augment.build(family, settings)
        x = -80 * torch.rand(BATCH, 1, BANDS, round(FRAMES * augmentation.context), device=device)
        seconds = seconds_of(lambda x=x, f=augmentation: (f(x, FRAMES), f(x, FRAMES)), device, repeats=50)
        rows.append([family, f"{1000 * seconds:.1f}", f"{BATCH / seconds:.0f}", f"{seconds / step:.2%}"])
    rows.append([f"ResNet-50 step ({device.type})", f"{1000 * step:.0f}", f"{BATCH / step:.1f}", ""])
    return rows


def training_step(device):
    """A function: forward and backward of two views, and one step of SGD."""
    network = backbones.build("resnet50").to(device)
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-4)
    x = torch.randn(BATCH, 1, BANDS, FRAMES, device=device)

    def step():
        with utils.autocast(device, device.type == "cuda"):
            loss = (network(x) - network(x.flip(3))).square().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    return step


def seconds_of(function, device, repeats):
    """Median duration, after one call to warm up."""
    durations = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize()
        durations.append(time.perf_counter() - begin)
    return statistics.median(durations[1:])


if __name__ == "__main__":
    utils.run(main, get_args_parser())
