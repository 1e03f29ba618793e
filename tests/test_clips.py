"""data.clips: which file is a track's, and a few seconds of one inside an address."""

import base64
import io

import numpy as np
import pandas as pd
import pytest
import soundfile

from data import clips
from utils import UserError


@pytest.fixture
def audio(tmp_path):
    """Silent files beside others; two have the same name."""
    for name in ["000/000002.mp3", "rock/song.wav", "deep/er/song.flac", "x/only.OGG", "rock/song.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_a_file_is_found_by_its_path_or_where_its_name_is_the_only_one(audio):
    paths = ["000/000002.npy", "rock/song.npy", "deep/song.npy", "pop/only.npy", "pop/none.npy"]
    ids = ["000002", "rock/song.wav", "song", "only", "none"]
    found = clips.find_audio(pd.DataFrame({"track_id": ids, "path": paths}), audio)
    names = [file and file.relative_to(audio).as_posix() for file in found]
    assert names == ["000/000002.mp3", "rock/song.wav", None, "x/only.OGG", None]


def test_no_folder_of_audio_is_said(tmp_path):
    with pytest.raises(UserError, match=r"--audio .* is not a folder"):
        clips.find_audio(pd.DataFrame({"track_id": [], "path": []}), tmp_path / "none")


def test_a_clip_is_the_middle_of_its_file(tmp_path):
    time = np.arange(8 * 22050) / 22050
    soundfile.write(tmp_path / "a.wav", 0.5 * np.sin(2 * np.pi * 440 * time) * (abs(time - 4) < 1.5), 22050)
    address = clips.clip(tmp_path / "a.wav", 2)
    kind, data = address.split(",")
    assert kind == "data:audio/ogg;base64"
    assert len(address) < 60_000
    sound, rate = soundfile.read(io.BytesIO(base64.b64decode(data)))
    assert len(sound) == 2 * rate
    for part in np.array_split(sound, 4):  # all of it lies where there is a sound
        assert np.abs(np.fft.rfft(part)).argmax() == pytest.approx(440 * len(part) / rate, abs=1)
