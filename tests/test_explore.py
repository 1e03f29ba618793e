"""explore.py: the page of a folder, its audio, and the neighbours of one's own file."""

import json
import os
import re
import shutil

import numpy as np
import pytest
import soundfile
from conftest import TINY, Pretrained, call, write_folder

import explore
import train_simsiam
import transfer
from utils import UserError


@pytest.fixture
def music(pretrained):
    """The audio of the first and the last of the folder's tracks."""
    chance = np.random.default_rng(0)
    folder = pretrained.data_dir.parent / "own music"
    for path in ("Folk/000000.wav", "Rock/000035.flac"):
        (folder / path).parent.mkdir(parents=True)
        soundfile.write(folder / path, 0.1 * chance.normal(size=8 * 22050), 22050)
    return folder


def data_of(page):
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_the_page_says_what_the_classifier_was_trained_on_and_leads_to_the_audio(
    pretrained, music, run_script, without_pictures
):
    command = f"{pretrained.where} --exp_path {pretrained.experiment.name}".split()
    call(transfer, pretrained.transfer("--protocol linear"))
    out = pretrained.data_dir.parent / "pages" / "a.html"
    explore.main(explore.get_args_parser().parse_args([*command, "--audio", str(music), "--out", str(out)]))
    data, text = data_of(out), out.read_text(encoding="utf-8")
    assert "trained on 24 training tracks" in text
    assert len(data["ids"]) == 36
    assert "predicted" in data
    heard = {track: sound for track, sound in zip(data["ids"], data["sounds"], strict=True) if sound}
    assert heard == {"000000": "../own%20music/Folk/000000.wav", "000035": "../own%20music/Rock/000035.flac"}

    explore.main(explore.get_args_parser().parse_args(
        [*command, "--audio", str(music), "--embed_audio", "1", "--clip_seconds", "1", "--out", str(out)]
    ))  # fmt: skip
    embedded = [sound for sound in data_of(out)["sounds"] if sound]
    assert len(embedded) == 1
    assert embedded[0].startswith("data:audio/ogg;base64,")


def test_without_a_classifier_nothing_is_predicted(pretrained, run_script):
    out = pretrained.data_dir.parent / "a.html"
    assert run_script(explore, f"{pretrained.where} --exp_path {pretrained.experiment.name} --out {out}") == str(out)
    assert "predicted" not in data_of(out)


def test_neighbours_of_a_file_are_printed_and_no_page_is_made(pretrained, music, capsys):
    out = pretrained.data_dir.parent / "a.html"
    shutil.copy(music / "Folk" / "000000.wav", pretrained.data_dir.parent / "mine.wav")
    command = f"{pretrained.where} --exp_path {pretrained.experiment.name} --num_neighbours 4 --out {out}"
    call(explore, f"{command} --neighbours {pretrained.data_dir.parent}/mine.wav")
    said = capsys.readouterr()
    assert "lower sample rate" not in said.err
    head, *lines = said.out.strip().splitlines()[-5:]
    assert head.split() == ["distance", "track_id", "genre_top", "split"]
    distances = [float(line.split()[0]) for line in lines]
    assert distances == sorted(distances)
    assert not out.exists()
    dull = pretrained.data_dir.parent / "dull.wav"
    soundfile.write(dull, np.random.default_rng(0).normal(0, 0.1, 8 * 8000), 8000)
    call(explore, f"{command} --neighbours {dull}")
    assert f"{dull} has a lower sample rate than the network knows" in capsys.readouterr().err


def test_a_classifier_of_whole_tracks_finds_neighbours_of_a_longer_file(tmp_path, capsys, without_pictures):
    write_folder(tmp_path / "data", "tiny")
    flags = TINY.replace("conv8", "frames") + " --num_epochs 1 --device cpu"
    call(train_simsiam, f"--data_dir {tmp_path}/data --exp_dir {tmp_path}/exp {flags}")
    home = Pretrained(tmp_path / "data", tmp_path / "exp", *(tmp_path / "exp").iterdir())
    call(transfer, home.transfer("--protocol linear"))
    soundfile.write(tmp_path / "mine.wav", np.random.default_rng(0).normal(0, 0.1, 20 * 22050), 22050)
    capsys.readouterr()
    call(explore, f"{home.where} --exp_path {home.experiment.name} --neighbours {tmp_path}/mine.wav")
    assert len(capsys.readouterr().out.strip().splitlines()) == 1 + 10


def test_a_named_classifier_speaks_in_place_of_the_best(pretrained, run_script, without_pictures):
    call(transfer, pretrained.transfer("--protocol linear"))
    call(transfer, pretrained.transfer("--protocol linear --layer stats"))
    out = pretrained.data_dir.parent / "a.html"
    command = f"{pretrained.where} --exp_path {pretrained.experiment.name} --out {out}"
    run_script(explore, command)
    assert "(features: simsiam conv8)" in out.read_text(encoding="utf-8")
    run_script(explore, f"{command} --transfer tiny_linear_2")
    text = out.read_text(encoding="utf-8")
    assert "(features: stats)" in text
    assert f"Predicted by {pretrained.experiment.name}/tiny_linear_2 (stats), which was trained on 24" in text
    with pytest.raises(UserError, match="has no classifier 'tiny_mlp'; there are: tiny_linear, tiny_linear_2"):
        call(explore, f"{command} --transfer tiny_mlp")


def test_what_cannot_be_done_is_said(pretrained, music, tmp_path):
    (tmp_path / "none.wav").write_text("no music")
    command = f"{pretrained.where} --exp_path {pretrained.experiment.name}"
    with pytest.raises(UserError, match="could not be read"):
        call(explore, f"{command} --neighbours {tmp_path}/none.wav")
    with pytest.raises(UserError, match="--embed_audio needs the tracks' audio"):
        call(explore, f"{command} --embed_audio 3")
    with pytest.raises(UserError, match=r"none\.wav does not end in \.html"):
        call(explore, f"{command} --out {tmp_path}/none.wav")
    assert (tmp_path / "none.wav").read_text() == "no music"
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="0 of 36 tracks have their audio below"):
        call(explore, f"{command} --audio {tmp_path}/empty")
    (tmp_path / "own.html").write_text("my own page")
    with pytest.raises(UserError, match=r"own\.html is there, and no page of explore"):
        call(explore, f"{command} --out {tmp_path}/own.html")
    assert (tmp_path / "own.html").read_text() == "my own page"
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(UserError, match=r"folder\.html is there, and no page of explore"):
        call(explore, f"{command} --out {tmp_path}/folder.html")


def test_audio_is_found_below_names_of_any_bytes(tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9 \xc3\xa9")
    assert explore.addresses([folder / "a#.wav", None], tmp_path / "a.html") == ["caf%E9%20%C3%A9/a%23.wav", None]
