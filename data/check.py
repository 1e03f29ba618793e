"""Look for what spoils a measurement before anything is trained: ``preprocessing.py --check``.

Duplicates are found by comparing spectrograms frame by frame: the same recording cut at another second is not.
Axes: N tracks, F mel band, T frame.
"""

import concurrent.futures
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

import utils
from data.collection import SPLITS
from data.folder import open_folder, read_array

PUBLISHED = {  # tracks per split, in the order of SPLITS (Defferrard et al. 2017, table 4)
    "fma_small": (6400, 800, 800),
    "fma_medium": (19922, 2505, 2573),
}
IDENTICAL_DB = 0.5  # RMS difference: the same sound, but for rounding
NEAR_DB = 3.0  # the same recording, encoded or cut a little differently
CONSTANT_DB = 1.0  # range of values below which there is nothing to hear
SILENT_SHARE = 0.5  # of the frames at the floor of the dB scale
FEW_TRACKS = 10  # of a genre in a split: too few to say anything about it
LOOKED_FOR = {  # kind of finding → what is said where there is none of it
    "duplicates": "duplicates",
    "missing": "missing files",
    "constant": "constant spectrograms",
    "silent": "mostly silent ones",
}
DULLER = 3  # of the 16 groups of bands below: so many fewer than usual that sound, and a network hears the difference
SIGNATURE = (16, 32)  # mel bands × frames that a spectrogram is averaged to, to find candidates


@dataclass
class Finding:
    """``level``: error (a script will fail), warning (results suffer) or note; ``tracks``: which ones, as text.

    kind: a key of ``LOOKED_FOR``, or "".
    """

    level: str
    message: str
    tracks: list[str] = field(default_factory=list)
    kind: str = ""


def check_folder(folder):
    """Every :class:`Finding` of a spectrogram folder (``<data_dir>/<dataset>_npy``), the gravest first.

    Raises :class:`utils.UserError` when it is not a spectrogram folder.
    """
    path = Path(folder).resolve()
    opened = open_folder(path.parent, path.name.removesuffix("_npy"), kinds=("spectrogram",))
    findings = [*check_index(opened), *check_counts(opened), *check_artists(opened)]
    readable, signatures, more = read_all(opened)
    findings += [*more, *check_bandwidth(opened, readable, signatures)]
    findings += describe_duplicates(opened.tracks, duplicate_groups(opened, readable, signatures))
    return sorted(findings, key=lambda finding: ("error", "warning", "note").index(finding.level))


def describe(findings, most=20):
    """The findings as text to print, at most ``most`` tracks each."""
    if not findings:
        return "nothing found: no duplicates, no gaps, no silence"
    lines, found = [], {finding.kind for finding in findings}
    fine = [words for kind, words in LOOKED_FOR.items() if kind not in found]
    for finding in findings:
        lines.append(f"{finding.level}: {finding.message}")
        lines += [f"    {track}" for track in finding.tracks[:most]]
        if len(finding.tracks) > most:
            lines.append(f"    … and {len(finding.tracks) - most} more")
    if fine:
        lines.append("looked for and not found: " + ", ".join(fine))
    return "\n".join(lines)


# ------------------------------------------------------------------ what tracks.csv says


def check_index(folder):
    """Ids and paths that stand twice in tracks.csv."""
    for column in ("track_id", "path"):
        values = folder.tracks[column]
        twice = sorted(set(values[values.duplicated()]))
        if twice:
            yield Finding("error", f"tracks.csv has a {column} more than once", twice)


def check_counts(folder):
    """Tracks per split against FMA's publication, and per genre and split."""
    count = pd.crosstab(folder.tracks["genre_top"], folder.tracks["split"]).reindex(columns=SPLITS, fill_value=0)
    for split, published in zip(SPLITS, PUBLISHED.get(folder.dataset, ()), strict=False):
        there = int(count[split].sum())
        if there != published:
            level = "note" if 0.99 * published <= there < published else "warning"
            text = f"{split} has {there:,} tracks, FMA publishes {published:,}: failed.csv names what failed"
            yield Finding(level, text)
    for split in SPLITS:
        if count[split].sum() == 0:
            yield Finding("error", f"there is no track in the split '{split}'")
            continue
        unseen = count.index[(count[split] > 0) & (count["training"] == 0)]
        if len(unseen):
            yield Finding("error", f"{split} has genres that training never sees", list(unseen))
        few = count[split][(count[split] < FEW_TRACKS) & (count.sum(axis=1) > 0)]
        if len(few):
            text = f"{split} has fewer than {FEW_TRACKS} tracks of some genres: their figures mean little"
            yield Finding("warning", text, [", ".join(f"{genre} {number}" for genre, number in few.items())])


def check_artists(folder):
    """How many artists each split has, where any is known, and which of them stand in several."""
    tracks = folder.tracks[folder.tracks["split"].isin(SPLITS)]
    known = tracks[tracks["artist"] != ""]
    if known.empty:
        return
    count = pd.crosstab(known["artist"], known["split"]).reindex(columns=SPLITS, fill_value=0)
    text = "artists: " + ", ".join(f"{(count[split] > 0).sum():,} in {split}" for split in SPLITS)
    if len(known) < len(tracks):
        text += f" (of {len(tracks) - len(known):,} of {len(tracks):,} tracks nobody knows the artist)"
    shared = count[(count > 0).sum(axis=1) > 1]
    yield Finding("note", text if len(shared) else f"{text}; none stands in two splits")
    if len(shared):
        text = f"artists that stand in two splits ({len(shared):,}): what is tested sounds like what was trained on"
        texts = [
            f"{artist}: " + ", ".join(f"{number} {split}" for split, number in row.items() if number)
            for artist, row in shared.iterrows()
        ]
        yield Finding("warning", text, texts)


# ------------------------------------------------------------------ what the arrays hold


def read_all(folder):
    """Read every array once: (rows that can be compared, their signatures, findings)."""
    faults = {"missing": [], "broken": [], "constant": [], "silent": []}
    readable, signatures = [], []
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        looked = pool.map(lambda row: look_at(folder, row), folder.tracks.itertuples(index=False))
        for number, (fault, text, signature) in enumerate(looked):
            if fault:
                faults[fault].append(text)
            if signature is not None:
                readable.append(number)
                signatures.append(signature)
    messages = {
        "missing": ("error", "files of tracks.csv that are missing: run preprocessing.py again"),
        "broken": ("error", "arrays that are not what tracks.csv and spectrogram.json say"),
        "constant": ("warning", "constant spectrograms: digital silence, nothing to learn from"),
        "silent": ("note", f"spectrograms that are silent in more than {SILENT_SHARE:.0%} of their frames"),
    }
    findings = [
        Finding(level, f"{text} ({len(faults[fault]):,})", faults[fault], fault)
        for fault, (level, text) in messages.items()
        if faults[fault]
    ]
    return np.array(readable, dtype=int), np.array(signatures), findings


def look_at(folder, row):
    """One track: (its fault or None, the text for it, its signature or None where it cannot be compared)."""
    try:
        if not Path(folder.file_of(row)).is_file():
            return "missing", f"{row.track_id} ({row.path})", None
        decibels = read_decibels(folder, row)
    except utils.UserError as error:
        return "broken", f"{row.track_id}: {error}", None
    if np.ptp(decibels) < CONSTANT_DB:
        return "constant", f"{row.track_id} ({row.split})", None
    silent = float((decibels.max(axis=0) <= folder.settings.db_min + CONSTANT_DB).mean())
    fault = "silent" if silent > SILENT_SHARE else None
    return fault, f"{row.track_id} ({row.split}): {silent:.0%}", signature_of(decibels)


def check_bandwidth(folder, readable, signatures):
    """Tracks whose upper bands are empty where those of most are not, as files of a lower sample rate leave them."""
    if not len(readable):
        return
    sounds = signatures.reshape(-1, *SIGNATURE).max(2) > folder.settings.db_min + CONSTANT_DB  # (N, groups of bands)
    highest = SIGNATURE[0] - sounds[:, ::-1].argmax(1)
    usual = int(np.median(highest))
    dull = np.flatnonzero((highest <= usual - DULLER) & sounds.any(1))
    if len(dull):
        text = (
            f"tracks with nothing in the upper mel bands, where most have something ({len(dull):,}): of files of a "
            "lower sample rate? A network hears that, and predict.py, which fills such bands in, hears it otherwise"
        )
        rows = folder.tracks.iloc[readable[dull]]
        bands = highest[dull] * folder.settings.num_rows // SIGNATURE[0]
        names = zip(rows["track_id"], rows["split"], bands, strict=True)
        yield Finding("note", text, [f"{name} ({split}): {number} of {folder.settings.num_rows} bands"
                                     for name, split, number in names])  # fmt: skip


def read_decibels(folder, row):
    """The array of one track in dB, float32 (F, T). Raises :class:`utils.UserError`."""
    return folder.settings.decode(torch.from_numpy(read_array(folder, row))).numpy()


def signature_of(decibels):
    """(F, T) dB averaged to ``SIGNATURE``, as one vector."""
    for axis, bins in enumerate(SIGNATURE):
        edges = np.linspace(0, decibels.shape[axis], bins, endpoint=False).astype(int)
        width = np.diff(edges, append=decibels.shape[axis]).clip(1)
        decibels = np.add.reduceat(decibels, edges, axis=axis) / np.expand_dims(width, 1 - axis)
    return decibels.ravel().astype(np.float32)


# ------------------------------------------------------------------ duplicates


def duplicate_groups(folder, readable, signatures):
    """Groups of tracks that hold the same sound: list of (row numbers, worst RMS difference in dB).

    Averaging over equal boxes never makes an RMS difference larger, so the signatures name every candidate;
    the whole arrays then decide.
    """
    pairs, differences = [], []
    for first, second in candidate_pairs(signatures):
        a, b = readable[first], readable[second]
        difference = rms_difference(*(read_decibels(folder, folder.tracks.iloc[number]) for number in (a, b)))
        if difference <= NEAR_DB:
            pairs.append((a, b))
            differences.append(difference)
    if not pairs:
        return []
    first, second = np.array(pairs).T
    size = len(folder.tracks)
    links = coo_array((np.ones(len(pairs)), (first, second)), shape=(size, size))
    group = connected_components(links, directed=False)[1]
    return [
        (np.flatnonzero(group == number), max(np.array(differences)[group[first] == number]))
        for number in np.unique(group[first])
    ]


def candidate_pairs(signatures, chunk=1024):
    """Pairs (i < j) whose signatures (N, S) differ by at most ``NEAR_DB`` RMS."""
    if len(signatures) < 2:
        return
    centred = signatures - signatures.mean(axis=0)  # small numbers, so that the product keeps its digits
    power = (centred**2).sum(axis=1)
    limit = NEAR_DB**2 * signatures.shape[1]
    for begin in range(0, len(centred), chunk):
        rows = slice(begin, begin + chunk)
        distance = power[rows, None] + power[None] - 2 * centred[rows] @ centred.T
        for i, j in np.argwhere(distance <= limit):
            if begin + i < j:
                yield begin + i, j


def rms_difference(a, b):
    """RMS difference in dB over the frames that both have; infinite when one is over 2 % longer."""
    shorter, longer = sorted((a.shape[1], b.shape[1]))
    if longer > 1.02 * shorter:
        return np.inf
    return float(np.sqrt(np.mean((a[:, :shorter] - b[:, :shorter]) ** 2)))


def describe_duplicates(tracks, groups):
    """One :class:`Finding` for each kind: identical or near-identical, across splits or within one."""
    kinds = {}
    for rows, difference in groups:
        members = tracks.iloc[rows]
        sound = "identical" if difference <= IDENTICAL_DB else "near-identical"
        used = members["split"][members["split"].isin(SPLITS)]
        where = "across splits" if used.nunique() > 1 else "within a split" if len(used) > 1 else "beside excluded"
        text = " = ".join(f"{row.track_id} ({row.split}, {row.genre_top})" for row in members.itertuples())
        text += ", genres differ" if members["genre_top"].nunique() > 1 else ""
        kinds.setdefault((where, sound), []).append(f"{text}: {difference:.1f} dB apart")
    advice = {
        "across splits": ("warning", "what is tested was trained on; set one of each to 'excluded' in tracks.csv"),
        "within a split": ("note", "they count twice"),
        "beside excluded": ("note", "no harm, all but one are excluded"),
    }
    return [
        Finding(
            advice[where][0],
            f"{sound} tracks {where}: {advice[where][1]} (groups: {len(texts)})",
            texts,
            kind="duplicates",
        )
        for (where, sound), texts in sorted(kinds.items())
    ]
