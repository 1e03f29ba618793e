"""Write a small corpus of synthetic music in the shape of FMA, real mp3 files and all.

It serves the demo and the tests: the folder tree, tracks.csv, checksums and README.txt are as in FMA
(Defferrard et al. 2017), so that every script takes it for the real one. The genres differ in rhythm, timbre,
harmony and mix, but they overlap: an artist has quirks of their own and borrows some traits from other genres.
Nothing here says anything about real music.
"""

import csv
import hashlib
import io
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from scipy.signal import lfilter, oaconvolve

import utils

SAMPLE_RATE = 22050  # mono at half of FMA's rate: encoding is most of the work
PERIOD = 2048  # samples in one period of a wave table; a power of two
MARKER = "This is a synthetic corpus written by data/synthetic.py; it is not the Free Music Archive."
BORROW = 0.1  # probability that an artist or a track takes a trait from another genre: the overlap

# ------------------------------------------------------------------ genres

# One bar in 16 steps (12 in a waltz), for kick, snare and hat: x a hit, o a soft one.
BEATS = {
    "none": ("................", "................", "................"),
    "house": ("x...x...x...x...", "....x.......x...", "..x...x...x...x."),
    "techno": ("x...x...x...x...", "................", "xoxoxoxoxoxoxoxo"),
    "breaks": ("x..x......x..x..", "....x..o.o..x..o", "x.x.x.x.x.x.x.x."),
    "boom_bap": ("x......x..x.....", "....x.......x..o", "x.x.x.x.x.x.x.x."),
    "trap": ("x.....x...x.....", "........x.......", "xoxoxoxxxoxoxxxx"),
    "rock": ("x.......x.x.....", "....x.......x...", "x.x.x.x.x.x.x.x."),
    "punk": ("x.x...x.x.x...x.", "..x...x...x...x.", "x.x.x.x.x.x.x.x."),
    "pop": ("x...x.x.x...x...", "....x.......x...", "x.o.x.o.x.o.x.o."),
    "hand": ("x.....x.....x...", "...x..o...x...o.", "o.oxo.oxo.oxo.ox"),
    "dembow": ("x...x...x...x...", "...x..x....x..x.", "x...x...x...x..."),
    "brushes": ("x...............", "....o.......o...", "x...x...x...x..."),
    "waltz": ("x...........", "....o...o...", "x...x...x..."),
    "ride": ("o.......o.......", "......o.......o.", "x...x..xx...x..x"),
    "shuffle": ("x.......x.......", "....x.......x...", "x..xx..xx..xx..x"),
    "scatter": None,  # at random
}
# When the chord is struck; in an arpeggio its notes take turns.
STRUMS = {
    "pad": "x...............",
    "half": "x.......x.......",
    "quarters": "x...x...x...x...",
    "eighths": "x.x.x.x.x.x.x.x.",
    "offbeat": "..x...x...x...x.",
    "guitar": "x...x.x...x.x.x.",
    "stabs": "x..x..x.........",
    "arpeggio": "xxxxxxxxxxxxxxxx",
    "slow_arpeggio": "x.x.x.x.x.x.x.x.",
}
SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "phrygian": (0, 1, 4, 5, 7, 8, 10),
    "whole": (0, 2, 4, 6, 8, 9, 10),
    "blues": (0, 3, 4, 5, 7, 9, 10),
}
CHORDS = {"power": (0, 4, 7), "triad": (0, 2, 4), "open": (0, 4, 9), "seventh": (0, 2, 4, 6)}


@dataclass(frozen=True)
class Genre:
    """What a genre allows. Two numbers are a range to draw from, strings are things to choose among."""

    tempo: tuple  # beats per minute
    swing: tuple  # by how much of a step every second one comes late
    beat: tuple
    strum: tuple
    scale: tuple
    chord: tuple
    progression: tuple  # scale degrees, one a bar
    register: tuple  # MIDI pitch around which the chords lie
    motion: tuple  # notes of the melody a step
    slope: tuple  # harmonic k has amplitude k^-slope
    hollow: tuple  # 0 all harmonics, 1 odd ones only
    decay: tuple  # seconds until a note has faded to a third
    vibrato: tuple  # semitones
    drums: tuple  # levels in dB, against chords at 0
    bass: tuple
    melody: tuple
    noise: tuple
    distortion: tuple  # dB of gain into the clipping
    reverb: tuple  # seconds


def _genre(beat, strum, scale, chord, progression, **ranges):
    words = (beat, strum, scale, chord, progression)
    beat, strum, scale, chord, progression = (tuple(text.split()) for text in words)
    return Genre(beat=beat, strum=strum, scale=scale, chord=chord, progression=progression, **ranges)


GENRES = {
    "Electronic": _genre(
        "house techno breaks", "pad offbeat arpeggio", "minor dorian", "triad open", "1111 1646 1177",
        tempo=(116, 140), swing=(0, 0.1), register=(52, 66), motion=(0.2, 0.6), slope=(0.5, 1.2),
        hollow=(0, 0.8), decay=(0.1, 0.4), vibrato=(0, 0.1), drums=(4, 10), bass=(0, 7), melody=(-8, 0),
        noise=(-55, -32), distortion=(0, 14), reverb=(0.2, 1.2)),
    "Experimental": _genre(
        "none none scatter breaks", "pad pad arpeggio stabs",
        "whole phrygian minor", "open power seventh", "1111 1212 1726",
        tempo=(50, 160), swing=(0, 0.3), register=(40, 70), motion=(0.02, 0.4), slope=(0.4, 2.2),
        hollow=(0, 1), decay=(0.2, 4), vibrato=(0, 0.8), drums=(-10, 4), bass=(-14, 4), melody=(-12, 4),
        noise=(-38, -12), distortion=(0, 26), reverb=(0.8, 2.5)),
    "Folk": _genre(
        "none none brushes waltz", "guitar arpeggio slow_arpeggio",
        "major mixolydian", "triad open", "1415 1564 1451",
        tempo=(80, 126), swing=(0, 0.15), register=(54, 66), motion=(0.1, 0.3), slope=(1, 1.6),
        hollow=(0, 0.3), decay=(0.2, 0.5), vibrato=(0, 0.3), drums=(-12, -2), bass=(-18, -6), melody=(-3, 4),
        noise=(-55, -35), distortion=(0, 5), reverb=(0.1, 0.4)),
    "Hip-Hop": _genre(
        "boom_bap boom_bap trap", "half stabs pad offbeat",
        "minor dorian blues", "seventh triad", "1111 1616 1474",
        tempo=(72, 104), swing=(0.05, 0.4), register=(46, 60), motion=(0.3, 0.7), slope=(1.4, 2.4),
        hollow=(0, 0.6), decay=(0.2, 0.8), vibrato=(0, 0.2), drums=(2, 9), bass=(5, 12), melody=(-6, 2),
        noise=(-48, -28), distortion=(0, 10), reverb=(0.1, 0.4)),
    "Instrumental": _genre(
        "none none brushes rock", "arpeggio slow_arpeggio pad half",
        "major minor dorian", "triad seventh open", "1564 6415 1345",
        tempo=(60, 112), swing=(0, 0.1), register=(50, 72), motion=(0.03, 0.2), slope=(1.6, 2.6),
        hollow=(0, 0.5), decay=(1, 3), vibrato=(0, 0.2), drums=(-12, 0), bass=(-10, 0), melody=(-6, 2),
        noise=(-60, -38), distortion=(0, 8), reverb=(1.2, 2.4)),
    "International": _genre(
        "hand hand dembow waltz", "offbeat guitar arpeggio eighths",
        "phrygian mixolydian dorian", "triad open power", "1121 1717 1414",
        tempo=(88, 132), swing=(0, 0.25), register=(56, 70), motion=(0.25, 0.6), slope=(0.9, 1.8),
        hollow=(0.5, 1), decay=(0.08, 0.3), vibrato=(0.2, 0.8), drums=(-4, 5), bass=(-8, 2), melody=(2, 8),
        noise=(-50, -32), distortion=(0, 10), reverb=(0.2, 1)),
    "Pop": _genre(
        "pop house rock", "eighths pad quarters offbeat",
        "major major minor", "triad seventh", "1564 6415 1645",
        tempo=(94, 130), swing=(0, 0.12), register=(56, 70), motion=(0.2, 0.45), slope=(0.9, 1.6),
        hollow=(0, 0.5), decay=(0.4, 1), vibrato=(0, 0.3), drums=(-1, 6), bass=(-2, 4), melody=(0, 6),
        noise=(-60, -38), distortion=(0, 8), reverb=(0.3, 1)),
    "Rock": _genre(
        "rock rock punk", "eighths guitar quarters",
        "minor mixolydian major blues", "power power triad", "1415 1674 1455",
        tempo=(104, 164), swing=(0, 0.1), register=(45, 58), motion=(0.1, 0.4), slope=(0.6, 1.4),
        hollow=(0, 0.4), decay=(0.4, 1.4), vibrato=(0, 0.3), drums=(0, 7), bass=(-4, 3), melody=(-6, 3),
        noise=(-50, -30), distortion=(14, 32), reverb=(0.2, 0.8)),
    "Blues": _genre(
        "shuffle shuffle none", "eighths guitar quarters",
        "blues mixolydian", "seventh triad power", "1415 1114 5411",
        tempo=(64, 124), swing=(0.4, 0.66), register=(48, 60), motion=(0.15, 0.4), slope=(1, 1.8),
        hollow=(0, 0.4), decay=(0.3, 0.9), vibrato=(0.1, 0.5), drums=(-6, 3), bass=(-4, 4), melody=(0, 7),
        noise=(-48, -28), distortion=(4, 20), reverb=(0.2, 0.8)),
    "Classical": _genre(
        "none", "pad half arpeggio slow_arpeggio", "major minor", "triad open", "1451 1625 1475",
        tempo=(56, 126), swing=(0, 0.05), register=(48, 74), motion=(0.1, 0.5), slope=(1.1, 2.2),
        hollow=(0, 0.5), decay=(0.5, 3), vibrato=(0.1, 0.4), drums=(-20, -12), bass=(-8, 2), melody=(-2, 5),
        noise=(-60, -40), distortion=(0, 2), reverb=(1, 2.5)),
    "Jazz": _genre(
        "ride ride brushes", "stabs half offbeat", "dorian mixolydian major", "seventh", "2511 1625 2536",
        tempo=(90, 180), swing=(0.35, 0.66), register=(52, 66), motion=(0.25, 0.6), slope=(1.2, 2),
        hollow=(0, 0.8), decay=(0.2, 0.7), vibrato=(0.1, 0.5), drums=(-6, 2), bass=(-2, 5), melody=(0, 7),
        noise=(-52, -34), distortion=(0, 5), reverb=(0.3, 1.1)),
    "Soul-RnB": _genre(
        "pop boom_bap rock", "half stabs offbeat", "dorian major", "seventh", "1425 6251 4361",
        tempo=(66, 112), swing=(0.1, 0.4), register=(52, 66), motion=(0.15, 0.4), slope=(1.2, 2.1),
        hollow=(0, 0.4), decay=(0.4, 1.2), vibrato=(0.2, 0.6), drums=(-2, 5), bass=(1, 7), melody=(0, 6),
        noise=(-56, -36), distortion=(0, 8), reverb=(0.3, 1)),
}  # fmt: skip
SMALL_GENRES = list(GENRES)[:8]
GENRE_IDS = dict(zip(GENRES, (15, 38, 17, 21, 18, 2, 10, 12, 3, 5, 4, 14), strict=True))  # FMA's own
ARTIST_TRAITS = ("slope", "hollow", "decay", "vibrato", "noise", "distortion", "reverb", "drums", "bass")


def draw_traits(name, rng):
    """One value for each field of genre ``name``, some of them (BORROW) taken from another genre."""
    traits = {}
    for field in fields(Genre):
        source = rng.choice(list(GENRES)) if rng.random() < BORROW else name
        options = getattr(GENRES[source], field.name)
        traits[field.name] = rng.choice(options) if isinstance(options[0], str) else rng.uniform(*options)
    return traits


# ------------------------------------------------------------------ sound
# Steps are sixteenth notes; `onsets` are the sample numbers at which they sound.


def gain(decibels):
    return 10 ** (decibels / 20)


def step_onsets(traits, seconds, rng):
    """Sample number of every step of a track, swung and a little uneven, one past the end included."""
    step = 60 / traits["tempo"] / 4
    number = int(seconds / step) + 2
    times = (np.arange(number) + traits["swing"] * (np.arange(number) % 2)) * step
    times[1:] += rng.uniform(0, 0.008, number - 1)  # less than any step: the order stays
    return (times * SAMPLE_RATE).astype(int)


def pattern_mask(pattern, number):
    """Loudness of each of ``number`` steps under a repeated pattern: x 1, o 0.4, the rest 0."""
    return np.resize([{"x": 1.0, "o": 0.4}.get(sign, 0.0) for sign in pattern], number)


def wavetable(slope, hollow, highest):
    """One period with as many harmonics as fit under the Nyquist frequency at ``highest`` Hz."""
    harmonic = np.arange(1, max(2, int(0.45 * SAMPLE_RATE / highest)))
    amplitude = harmonic**-slope * np.where(harmonic % 2, 1, 1 - hollow)
    spectrum = np.zeros(PERIOD // 2 + 1, complex)
    spectrum[harmonic] = amplitude * np.exp(1j * harmonic**1.5)  # phases that keep the peaks low
    table = np.fft.irfft(spectrum)
    return (table / np.sqrt(np.mean(table**2))).astype(np.float32)


def voice(traits, steps, pitches, onsets, length):
    """A line of notes, each ringing until the next: begun at ``steps``, at MIDI ``pitches``; (length,)."""
    if len(steps) == 0:
        return np.zeros(length, np.float32)
    starts = np.minimum([*onsets[steps], length], length)
    spans = np.diff(starts)
    frequency = 440 * 2 ** ((np.asarray(pitches) - 69) / 12)
    age = (np.arange(starts[0], length) - np.repeat(starts[:-1], spans)).astype(np.float32) / SAMPLE_RATE
    wobble = 1 + 0.059 * traits["vibrato"] * np.sin(2 * np.pi * 5.5 * age) * np.minimum(age, 0.3)
    phase = np.cumsum(np.repeat(frequency * (PERIOD / SAMPLE_RATE), spans) * wobble)
    index = phase.astype(np.int64) & (PERIOD - 1)  # many times quicker than %
    bright, dark = (wavetable(traits["slope"] + extra, traits["hollow"], frequency.max()) for extra in (0, 1))
    fade = np.exp(-age / traits["decay"])
    tone = (dark[index] * (1 - fade) + bright[index] * fade) * fade * np.minimum(age / 0.004, 1)
    return np.pad(tone, (starts[0], 0))


def chord_voices(traits, onsets, key, length):
    """The chords, one a bar, a voice for each note (length,), and the scale degree under each step."""
    bar = 12 if traits["beat"] == "waltz" else 16
    steps = np.arange(len(onsets) - 1)
    degrees = np.array([int(digit) - 1 for digit in traits["progression"]])
    degree = degrees[steps // bar % len(degrees)]
    struck = np.resize(list(STRUMS[traits["strum"]][:bar]), len(steps)) == "x"
    chord = CHORDS[traits["chord"]]
    mix = np.zeros(length, np.float32)
    turn = np.cumsum(struck) % len(chord)
    for i, note in enumerate(chord):
        mine = struck & (turn == i) if "arpeggio" in traits["strum"] else struck
        pitch = scale_pitch(traits["scale"], key, degree[mine] + note)
        mix += voice(traits, steps[mine], pitch, onsets, length)
    return mix / np.sqrt(len(chord)), degree


def scale_pitch(scale, key, degree):
    """MIDI pitch of scale degrees, of any octave; 0 is the tonic, at ``key``."""
    return key + 12 * (degree // 7) + np.asarray(SCALES[scale])[degree % 7]


def melody_voice(traits, onsets, degree, key, length, rng):
    """A motif of two bars, repeated with small changes over the chords."""
    steps = np.arange(len(onsets) - 1)
    motif = rng.random(32) < traits["motion"] * np.resize([1.6, 0.5, 1.1, 0.6], 32)
    walk = np.cumsum(rng.choice([-2, -1, 0, 1, 2], 32)) % 9
    played = np.resize(motif, len(steps)) & (rng.random(len(steps)) < 0.9)
    line = np.resize(walk, len(steps)) + degree + rng.choice([0, 0, 0, 1], len(steps))
    pitch = scale_pitch(traits["scale"], key + 12, line[played])
    return voice(traits, steps[played], pitch, onsets, length)


def bass_voice(traits, onsets, degree, key, length, rng):
    """Roots, and some fifths, two octaves down; with the kick drum where it has a rhythm, else twice a bar."""
    steps = np.arange(len(onsets) - 1)
    rhythm = STRUMS["half"] if traits["beat"] in ("none", "scatter") else BEATS[traits["beat"]][0]
    played = pattern_mask(rhythm, len(steps)) > 0
    fifth = 4 * (rng.random(played.sum()) < 0.2)
    pitch = scale_pitch(traits["scale"], key - 24, degree[played] + fifth)
    return voice({**traits, "slope": traits["slope"] + 0.6, "vibrato": 0}, steps[played], pitch, onsets, length)


def drum_kit(rng):
    """Kick, snare and hat of one artist, half a second at most."""
    age = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    noise = rng.standard_normal(len(age))
    low, depth, length = rng.uniform(42, 65), rng.uniform(60, 220), rng.uniform(0.06, 0.2)
    kick = np.sin(2 * np.pi * (low * age - depth * 0.03 * np.exp(-age / 0.03))) * np.exp(-age / length)
    tone = np.sin(2 * np.pi * rng.uniform(160, 260) * age)
    snare = (tone * rng.uniform(0.2, 0.8) + noise * rng.uniform(0.3, 0.7)) * np.exp(-age / rng.uniform(0.03, 0.11))
    hat = np.diff(noise, prepend=0) * np.exp(-age / rng.uniform(0.01, 0.06)) * rng.uniform(0.15, 0.4)
    return kick, snare, hat


def drum_track(traits, onsets, length, kit, rng):
    """The three sounds of ``kit`` in the pattern of the beat; (length,)."""
    mix = np.zeros(length + len(kit[0]), np.float32)
    number = len(onsets) - 1
    for i, sound in enumerate(kit):
        if traits["beat"] == "scatter":
            hits = (rng.random(number) < 0.12) * rng.random(number)
        else:
            hits = pattern_mask(BEATS[traits["beat"]][i], number) * rng.uniform(0.8, 1, number)
        for step in np.flatnonzero(hits):
            start = onsets[step]
            mix[start : start + len(sound)] += (hits[step] * sound)[: len(mix) - start]
    return mix[:length]


def sections(onsets, length, rng):
    """Loudness of melody, bass and drums over time: each of them rests in some passages; (3, length)."""
    edges = np.concatenate([onsets[::64], [length]])
    spans = np.diff(np.minimum(edges, length))
    return np.repeat(rng.choice([0, 0.7, 1, 1], (3, len(spans))), spans, axis=1).astype(np.float32)


def master(mix, traits, tilt, rng):
    """Noise, clipping, room and tone control, the loudest sample at a level drawn for the track."""
    mix = mix / np.sqrt(np.mean(mix**2) + 1e-9)
    mix += gain(traits["noise"]) * rng.standard_normal(len(mix), dtype=np.float32)
    push = gain(traits["distortion"]) * 0.3
    mix = np.tanh(push * mix) / push
    age = np.arange(int(0.8 * traits["reverb"] * SAMPLE_RATE)) / SAMPLE_RATE
    room = rng.standard_normal(len(age)) * np.exp(-5 * age / traits["reverb"])
    room *= 0.25 * np.sqrt(traits["reverb"]) / np.sqrt(np.sum(room**2))
    mix = mix + oaconvolve(mix, room.astype(np.float32))[: len(mix)]
    mix = lfilter([1, -tilt], [1], mix)
    return mix / np.abs(mix).max() * rng.uniform(0.4, 0.95)


def render(genre, artist_seed, track_seed, seconds):
    """A track of ``genre`` as (seconds × SAMPLE_RATE,) float32 in (-1, 1).

    An artist's timbre, drum kit and tone come from ``artist_seed``, everything else from ``track_seed``.
    """
    artist, rng = np.random.default_rng(artist_seed), np.random.default_rng(track_seed)
    quirks = draw_traits(genre, artist)
    traits = draw_traits(genre, rng) | {name: quirks[name] for name in ARTIST_TRAITS}
    kit, tilt = drum_kit(artist), artist.uniform(-0.3, 0.7)

    length = round(seconds * SAMPLE_RATE)
    onsets = step_onsets(traits, seconds, rng)
    key = round(traits["register"] + rng.uniform(-3, 3))
    chords, degree = chord_voices(traits, onsets, key, length)
    parts = sections(onsets, length, rng)
    parts[0] *= gain(traits["melody"]) * melody_voice(traits, onsets, degree, key, length, rng)
    parts[1] *= gain(traits["bass"]) * bass_voice(traits, onsets, degree, key, length, rng)
    parts[2] *= gain(traits["drums"]) * drum_track(traits, onsets, length, kit, rng) * 3
    return master(chords + parts.sum(0), traits, tilt, rng).astype(np.float32)


# ------------------------------------------------------------------ the corpus


class Track(NamedTuple):
    track_id: int
    artist_id: int
    split: str
    subset: str
    genre: str

    @property
    def path(self):
        name = f"{self.track_id:06d}"
        return f"{name[:3]}/{name}.mp3"


def split_sizes(number):
    """Tracks of a genre in training, validation and test: 80/10/10, from three on at least one in each."""
    tenth = max(int(number >= 3), round(number / 10))
    return {"training": number - 2 * tenth, "validation": tenth, "test": tenth}


def make_catalogue(num_small, seed):
    """All tracks of FMA-medium, twice ``num_small``, of which half are FMA-small; sorted by track_id.

    FMA-small is balanced over 8 genres; the rest also has other genres, and more of Electronic and Rock. An
    artist has up to two tracks, all in one genre and one split.
    """
    rng = np.random.default_rng([seed, 1])
    extra = [*GENRES, "Electronic", "Rock", "Electronic", "Rock"]
    genres = {"small": np.resize(SMALL_GENRES, num_small), "medium": np.resize(extra, num_small)}
    track_ids = 2 + rng.choice(max(4000, 25 * num_small), 2 * num_small, replace=False)
    tracks, artist_id = [], 0
    for subset, names in genres.items():
        for genre, number in zip(*np.unique(names, return_counts=True), strict=True):
            for split, size in split_sizes(int(number)).items():
                for i in range(size):
                    artist_id += i % 2 == 0
                    tracks.append(Track(int(track_ids[len(tracks)]), artist_id, split, subset, str(genre)))
    return sorted(tracks)


def tracks_csv(tracks):
    """FMA's tracks.csv as text: two header lines of a two-level column index, then the index's name."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["", "artist", "artist", "set", "set", "track", "track", "track"])
    writer.writerow(["", "id", "name", "split", "subset", "genre_top", "genres", "title"])
    writer.writerow(["track_id", *[""] * 7])
    for t in tracks:
        title = f'{t.genre} study, no. {t.track_id} ("synthetic")'
        genres = f"[{GENRE_IDS[t.genre]}]"
        artist = f"Artist {t.artist_id}"
        writer.writerow([t.track_id, t.artist_id, artist, t.split, t.subset, t.genre, genres, title])
    return text.getvalue()


def readme(size, num_tracks, seconds, seed):
    """README.txt; it names all options, so that the same text means the same corpus."""
    options = json.dumps({"size": size, "num_tracks": num_tracks, "seconds": seconds, "seed": seed})
    return f"{MARKER}\nOptions: {options}\nSplits, subsets and genres are in ../fma_metadata/tracks.csv.\n"


def check_free(folder, readme_text, metadata, metadata_text):
    """Raise :class:`utils.UserError` rather than touch anything that another command or person made."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        there = folder / "README.txt"
        there = there.read_text(encoding="utf-8", errors="replace") if there.is_file() else ""
        if MARKER not in there:
            raise utils.UserError(f"{folder} holds what is not a synthetic corpus; choose another --data_dir")
        if there != readme_text:
            raise utils.UserError(
                f"{folder} is a synthetic corpus with other options (see its README.txt); remove it to make a new one"
            )
    if metadata.exists() and metadata.read_bytes() != metadata_text.encode():
        raise utils.UserError(
            f"{metadata} belongs to another corpus; choose another --data_dir (a synthetic fma_small and fma_medium "
            "share one when the seed is the same and medium has twice the tracks)"
        )


def write_track(folder, track, seconds, seed):
    """Write one mp3 unless it is there already; returns its line in `checksums`."""
    path = folder / track.path
    if not path.exists():
        sound = render(track.genre, [seed, 2, track.artist_id], [seed, 3, track.track_id], seconds)
        with utils.atomic_path(path) as temporary:
            soundfile.write(temporary, sound, SAMPLE_RATE, format="MP3")
    return f"{hashlib.sha1(path.read_bytes()).hexdigest()}  {track.path}\n"


def write_corpus(data_dir, size="small", num_tracks=None, seconds=30.0, seed=0, workers=None):
    """Write ``data_dir/fma_<size>`` and ``data_dir/fma_metadata/tracks.csv``; returns the former's path.

    num_tracks  mp3 files to write: 160 by default for small, 320 for medium, which holds small and as much again.
    seconds     length of each track.
    workers     threads; by default one for each core.

    tracks.csv describes small and medium alike, as FMA's does. Only what is missing is written. Raises
    :class:`utils.UserError` when something else is there already, or for too few tracks.
    """
    if num_tracks is None:
        num_tracks = 160 if size == "small" else 320
    num_small = num_tracks if size == "small" else num_tracks // 2
    if not 24 <= num_small <= 20_000 or (size == "medium" and num_tracks % 2):
        raise utils.UserError(f"--num_tracks {num_tracks} must be 24 to 20000, or an even 48 to 40000 for medium")
    if not 1 <= seconds <= 600:
        raise utils.UserError(f"--seconds {seconds:g} must be 1 to 600")
    for flag, value, least in (("seed", seed, 0), ("workers", workers, 1)):
        if value is not None and value < least:
            raise utils.UserError(f"--{flag} {value} must be {least} or more")
    catalogue = make_catalogue(num_small, seed)
    folder, metadata = Path(data_dir) / f"fma_{size}", Path(data_dir) / "fma_metadata" / "tracks.csv"
    files = {
        folder / "README.txt": readme(size, num_tracks, float(seconds), seed),
        metadata: tracks_csv(catalogue),
    }
    check_free(folder, files[folder / "README.txt"], metadata, files[metadata])
    complete = (folder / "checksums").exists()
    for path, text in files.items():
        with utils.atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
    if complete:
        print(f"{folder} is there already, with these options")
        return folder

    tracks = [t for t in catalogue if size == "medium" or t.subset == "small"]
    write = partial(write_track, folder, seconds=seconds, seed=seed)
    # Threads, not processes: NumPy and the encoder, which do nearly all of the work, run at the same time.
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        lines = list(utils.progress(pool.map(write, tracks), total=len(tracks), unit="track", desc=folder.name))
    with utils.atomic_path(folder / "checksums") as temporary:  # the last file: a folder with it is complete
        temporary.write_text("".join(lines))
    return folder


def get_args_parser():
    parser = utils.script_parser(__doc__)
    parser.add_argument("--data_dir", default="data", help="folder in which fma_<size> and fma_metadata are made")
    parser.add_argument("--size", default="small", choices=["small", "medium"],
                        help="small: 8 balanced genres; medium: small and as much again, in 12 genres")  # fmt: skip
    parser.add_argument("--num_tracks", type=int, help="mp3 files to write (default: 160 for small, 320 for medium)")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of each track; FMA's are 30 s")
    parser.add_argument("--seed", type=int, default=0, help="another seed makes another corpus")
    parser.add_argument("--workers", type=int, help="threads that make sound (default: one for each core)")
    return parser


def main(args):
    folder = write_corpus(args.data_dir, args.size, args.num_tracks, args.seconds, args.seed, args.workers)
    print(folder)


if __name__ == "__main__":
    utils.run(main, get_args_parser())
