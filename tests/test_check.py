"""data.check on folders with planted faults, and on the real ones whose duplicates are known."""

import json

import numpy as np
import pandas as pd
import pytest

import utils
from data import check
from data.folder import Folder, open_folder
from data.settings import settings_of

SETTINGS = {"dtype": "float16", "n_mels": 32, "db_min": -80.0, "db_max": 0.0, "sample_rate": 8000, "hop_length": 256}


def sound(seed, frames=100):
    rng = np.random.default_rng(seed)
    return np.clip(-40 + 15 * rng.normal(size=(32, 1)) + 8 * rng.normal(size=(32, frames)), -80, 0)


def write_folder(tmp_path, sounds, splits, genres=None, settings=SETTINGS, name="toy"):
    """A folder of float16 or uint8 spectrograms given in dB."""
    folder = tmp_path / f"{name}_npy"
    folder.mkdir(parents=True)
    (folder / "spectrogram.json").write_text(json.dumps(settings))
    lines = ["track_id,path,genre_top,split,frames"]
    for index, (array, split) in enumerate(zip(sounds, splits, strict=True)):
        if settings["dtype"] == "uint8":
            array = np.round((array + 80) * 255 / 80)
        np.save(folder / f"{index:03}.npy", array.astype(settings["dtype"]))
        genre = genres[index] if genres else "Jazz"
        lines.append(f"{index:03},{index:03}.npy,{genre},{split},{array.shape[1]}")
    (folder / "tracks.csv").write_text("\n".join(lines) + "\n")
    return folder


def clean(count=36):
    return [sound(seed) for seed in range(count)], ["training", "validation", "test"] * (count // 3)


def messages(findings, word):
    return [finding for finding in findings if word in finding.message]


def test_a_clean_folder_has_no_findings(tmp_path):
    findings = check.check_folder(write_folder(tmp_path, *clean()))
    assert findings == []
    assert "nothing found" in check.describe(findings)


def test_files_of_a_lower_sample_rate_are_named(tmp_path):
    sounds, splits = clean()
    sounds[7][24:] = -80  # of 32 bands
    sounds[9][30:] = -80  # mp3 of less bits have that, too
    sounds[10][:, 50:] = -80  # it sounds in the first half
    found = messages(check.check_folder(write_folder(tmp_path, sounds, splits)), "upper mel bands")
    assert [finding.tracks for finding in found] == [["007 (validation): 24 of 32 bands"]]


@pytest.mark.parametrize("dtype", ["float16", "uint8"])
def test_duplicates_are_found_and_sorted_by_where_they_lie(tmp_path, dtype):
    sounds, splits = clean()
    rng = np.random.default_rng(0)
    sounds[4] = sounds[0]  # validation = training
    sounds[6] = np.clip(sounds[3] + rng.normal(size=(32, 100)), -80, 0)  # both training, 1 dB apart
    sounds[11] = sounds[8] = sounds[5]  # three in test
    splits[7], sounds[7] = "excluded", sounds[9]
    folder = write_folder(tmp_path, sounds, splits, settings=SETTINGS | {"dtype": dtype})
    findings = check.check_folder(folder)

    across = messages(findings, "identical tracks across splits")
    assert [(finding.level, finding.tracks) for finding in across] == [
        ("warning", ["000 (training, Jazz) = 004 (validation, Jazz): 0.0 dB apart"])
    ]
    within = messages(findings, "within a split")
    assert [finding.message.split()[0] for finding in within] == ["identical", "near-identical"]
    assert within[0].tracks[0].startswith("005 (test, Jazz) = 008 (test, Jazz) = 011 (test, Jazz)")
    assert within[1].tracks[0].startswith("003 (training, Jazz) = 006 (training, Jazz): 1.")
    assert messages(findings, "beside excluded")[0].tracks[0].startswith("007 (excluded")
    assert "004 (validation" in check.describe(findings)


def test_one_frame_more_is_still_the_same_and_a_half_is_not(tmp_path):
    sounds, splits = clean()
    sounds[0] = sound(0, frames=101)
    sounds[1] = sounds[0][:, :100]
    sounds[3] = sounds[4][:, :50]
    findings = check.check_folder(write_folder(tmp_path, sounds, splits))
    assert [text[:3] for finding in findings for text in finding.tracks] == ["000"]


def test_candidates_do_not_depend_on_the_chunk():
    signatures = np.random.default_rng(0).normal(scale=20, size=(50, 64)).astype(np.float32)
    signatures[[7, 31, 44]] = signatures[2]
    pairs = [sorted(check.candidate_pairs(signatures, chunk)) for chunk in (1, 7, 1000)]
    assert pairs[0] == pairs[1] == pairs[2] == [(2, 7), (2, 31), (2, 44), (7, 31), (7, 44), (31, 44)]


def test_genres_that_differ_are_said(tmp_path):
    sounds, splits = clean()
    sounds[3] = sounds[0]
    genres = ["Folk"] * 3 + ["Jazz"] * 33
    findings = check.check_folder(write_folder(tmp_path, sounds, splits, genres))
    assert "genres differ" in messages(findings, "within a split")[0].tracks[0]


def test_silence_is_found_and_not_called_a_duplicate(tmp_path):
    sounds, splits = clean()
    sounds[0] = sounds[1] = np.zeros((32, 100))
    sounds[2] = np.full((32, 100), -80.0)
    sounds[2][:, :30] = -20
    findings = check.check_folder(write_folder(tmp_path, sounds, splits))
    assert messages(findings, "constant")[0].tracks == ["000 (training)", "001 (validation)"]
    assert messages(findings, "silent in")[0].tracks == ["002 (test): 70%"]
    assert not messages(findings, "identical")


def test_missing_broken_and_repeated_files(tmp_path):
    sounds, splits = clean()
    sounds[5][3, 3] = np.nan
    folder = write_folder(tmp_path, sounds, splits)
    (folder / "003.npy").unlink()
    (folder / "004.npy").write_bytes(b"half a file")
    index = (folder / "tracks.csv").read_text()
    (folder / "tracks.csv").write_text(index.replace("008,008.npy", "008,../../008.npy"))
    np.save(folder / "006.npy", np.zeros((32, 99), np.float16))
    with open(folder / "tracks.csv", "a") as file:
        file.write("007,007.npy,Jazz,training,100\n")
    findings = check.check_folder(folder)
    assert messages(findings, "missing")[0].tracks == ["003 (003.npy)"]
    assert [text[:3] for text in messages(findings, "arrays that are not")[0].tracks] == ["004", "005", "006", "008"]
    assert messages(findings, "a track_id more than once")[0].tracks == ["007"]
    assert findings[0].level == "error"


def test_splits_and_genres(tmp_path):
    sounds, splits = clean()
    genres = ["Folk" if split == "test" else "Jazz" for split in splits]
    findings = check.check_folder(write_folder(tmp_path, sounds, splits, genres))
    assert messages(findings, "test has genres that training never sees")[0].tracks == ["Folk"]
    assert messages(findings, "test has fewer than 10")[0].tracks == ["Jazz 0"]
    findings = check.check_folder(write_folder(tmp_path / "b", sounds, ["training"] * 36))
    assert messages(findings, "no track in the split 'test'")


def test_artists_in_two_splits(tmp_path):
    splits = ["training"] * 3 + ["validation", "test", "excluded"]
    tracks = pd.DataFrame({"split": splits, "artist": ["a", "a", "b", "a", "c", "b"]})
    settings = settings_of(SETTINGS)
    note, warning = check.check_artists(Folder("toy", tmp_path, settings, tracks))
    assert note.message == "artists: 2 in training, 1 in validation, 1 in test"
    assert (warning.level, warning.tracks) == ("warning", ["a: 2 training, 1 validation"])
    assert "(1)" in warning.message
    tracks["artist"] = ["a", "", "b", "d", "", "a"]
    (apart,) = check.check_artists(Folder("toy", tmp_path, settings, tracks))
    assert apart.message == (
        "artists: 2 in training, 1 in validation, 0 in test (of 2 of 5 tracks nobody knows the artist); "
        "none stands in two splits"
    )
    assert not list(check.check_artists(Folder("toy", tmp_path, settings, tracks.assign(artist=""))))


def test_published_counts(tmp_path):
    tracks = pd.DataFrame({"genre_top": "Jazz", "split": ["training"] * 6394 + ["validation"] * 800 + ["test"] * 700})
    findings = list(check.check_counts(Folder("fma_small", tmp_path, settings_of(SETTINGS), tracks)))
    assert [finding.level for finding in findings] == ["note", "warning"]
    assert "6,394 tracks, FMA publishes 6,400" in findings[0].message
    assert not list(check.check_counts(Folder("fma_small_coarse", tmp_path, settings_of(SETTINGS), tracks)))


def test_not_a_folder(tmp_path):
    with pytest.raises(utils.UserError, match="no spectrograms at"):
        check.check_folder(tmp_path / "nothing_npy")


@pytest.mark.parametrize(("name", "identical"), [("gtzan_coarse", 14), ("fma_small_coarse", 12)])
def test_known_duplicates_of_real_data(real_datasets, name, identical):
    folder = open_folder(real_datasets, name)
    readable, signatures, _ = check.read_all(folder)
    groups = check.duplicate_groups(folder, readable, signatures)
    assert sum(difference <= check.IDENTICAL_DB for _, difference in groups) == identical
