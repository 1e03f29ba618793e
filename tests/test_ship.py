"""The model that ships, and the command that makes it of an experiment."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from conftest import call

import predict
import transfer
import utils
from benchmarks import ship
from evaluation import results

pytestmark = pytest.mark.usefixtures("without_pictures")


@pytest.fixture
def made(pretrained, tmp_path):
    """A model made of the tiny experiment: its folder, the experiment's, and what makes it again."""
    call(transfer, pretrained.transfer("--dataset tiny --protocol linear --layer backbone+kmeans+stats"))
    command = f"--exp_path {pretrained.experiment} --transfer tiny_linear --out {tmp_path}/out/tiny"
    call(ship, command)
    return SimpleNamespace(folder=tmp_path / "out" / "tiny", home=pretrained, command=command)


def answers(exp_path, files, capsys):
    capsys.readouterr()
    call(predict, f"--exp_path {exp_path} --json --device cpu {' '.join(map(str, files))}")
    return [answer["genres"] for answer in json.loads(capsys.readouterr().out)]


def test_a_shipped_model_answers_as_the_experiment_does(made, capsys):
    files = sorted(made.home.data_dir.glob("tiny_npy/*/*.npy"))[::6]
    ours, theirs = (answers(folder, files, capsys) for folder in (made.folder, made.home.experiment))
    assert ours == [pytest.approx(each, abs=0.01) for each in theirs]


def test_it_holds_what_predicting_needs_and_names_no_folder_of_ours(made):
    files = {path.relative_to(made.folder).as_posix() for path in made.folder.rglob("*") if path.is_file()}
    transfer = {"tiny_linear/result.json", "tiny_linear/transfer.pth"}
    assert files == {"CARD.md", "configuration.json", "pre.pth", *transfer}
    for file in made.folder.rglob("*.[jm]*"):
        assert str(made.home.exp_dir.parent) not in file.read_text(), file
    weights = utils.load_weights(made.folder / "pre.pth")
    assert {x.dtype for x in weights.values() if x.ndim > 1} == {torch.float16}
    assert {x.dtype for name, x in weights.items() if "running" in name} == {torch.float32}


def test_weights_that_are_not_the_results_are_not_shipped(made):
    weights = utils.load_weights(made.home.experiment / "pre.pth")
    utils.save_weights(made.home.experiment / "pre.pth", {name: x * 2 for name, x in weights.items()})
    with pytest.raises(utils.UserError, match="not what the result was made with"):
        call(ship, made.command)


def test_a_model_is_made_anew_but_nothing_else_is_replaced(made, tmp_path):
    before = (made.folder / "CARD.md").read_text()
    call(ship, made.command)
    assert (made.folder / "CARD.md").read_text() == before
    assert {path.name for path in made.folder.parent.iterdir()} == {"tiny"}
    (made.folder / "stray").touch()
    with pytest.raises(utils.UserError, match="no model that this command made"):
        call(ship, made.command)
    assert (made.folder / "stray").exists()
    with pytest.raises(utils.UserError, match="would replace the experiment"):
        call(ship, f"{made.command} --out {made.home.experiment}")
    with pytest.raises(utils.UserError, match="no model that this command made"):
        call(ship, f"{made.command} --out {made.home.data_dir}")
    assert [path.name for path in made.folder.parent.iterdir()] == ["tiny"]
    (made.folder / "stray").unlink()
    utils.write_text(made.folder / "CARD.md", "# My own card\n")
    with pytest.raises(utils.UserError, match="no model that this command made"):
        call(ship, made.command)


def test_a_classifier_of_another_experiment_is_not_shipped(made, tmp_path):
    shutil.copytree(made.home.experiment, tmp_path / "other")
    with pytest.raises(utils.UserError, match="is a name, not a path"):
        call(ship, f"{made.command} --transfer {tmp_path}/other/tiny_linear")


def test_a_result_that_lacks_what_the_card_says_is_named_in_a_sentence(made):
    result = utils.read_json(made.home.experiment / "tiny_linear" / "result.json")
    utils.write_json(made.home.experiment / "tiny_linear" / "result.json", {**result, "versions": {}})
    with pytest.raises(utils.UserError, match="is not as it was written"):
        call(ship, made.command)
    assert (made.folder / "CARD.md").is_file()


def test_what_is_too_large_is_not_shipped(made, monkeypatch):
    monkeypatch.setattr(ship, "MAX_BYTES", 1000)
    with pytest.raises(utils.UserError, match="too much to ship"):
        call(ship, made.command)
    assert (made.folder / "pre.pth").is_file()  # the old one stays


def test_other_music_is_counted_by_genre(made, tmp_path, monkeypatch):
    for genre, number in (("rock", 3), ("metal", 1), ("jazz", 2)):
        (tmp_path / "music" / genre).mkdir(parents=True)
        for n in range(number):
            (tmp_path / "music" / genre / f"{genre}{n}.wav").touch()
    monkeypatch.setattr(utils, "call", lambda script, *flags: f"{len(flags) // 4} of {len(flags) - 4} right")
    call(ship, f"{made.command} --listen {tmp_path}/music --note chosen-so")
    card = (made.folder / "CARD.md").read_text()
    assert "chosen-so" in card
    for line in ("| rock | Rock | 1 of 3 |", "| metal | Rock | 1 of 1 |", "| all |  | 2 of 4 [0.15, 0.85] |"):
        assert line in card
    assert "jazz |" not in card
    with pytest.raises(utils.UserError, match="has none of the folders"):
        call(ship, f"{made.command} --listen {tmp_path}/music/jazz")


# ------------------------------------------------------------------ the one in the repository


def test_a_song_gets_an_answer_without_an_experiment(tmp_path, capsys):
    time = np.arange(4 * 22050) / 22050
    song = 0.3 * np.sin(2 * np.pi * 220 * time) + np.random.default_rng(0).normal(0, 0.01, time.shape)
    soundfile.write(tmp_path / "song.wav", song, 22050)
    call(predict, f"--json --device cpu {tmp_path}/song.wav")
    ((answer),) = json.loads(capsys.readouterr().out)
    assert len(answer["genres"]) == 8
    assert sum(answer["genres"].values()) == pytest.approx(1, abs=1e-4)


def test_it_is_small_and_its_card_says_what_its_files_say():
    assert sum(file.stat().st_size for file in utils.SHIPPED.rglob("*") if file.is_file()) <= ship.MAX_BYTES
    card = (utils.SHIPPED / "CARD.md").read_text(encoding="utf-8")
    assert card == ship.card(utils.SHIPPED)
    (file,) = utils.SHIPPED.glob("*/result.json")
    numbers = json.loads(file.read_text())
    low, high = numbers["accuracy_ci95"]
    assert f"**{numbers['accuracy']:.3f} [{low:.3f}, {high:.3f}]**" in card
    assert f"{numbers['n_test']} {numbers['test_split']} tracks" in card
    assert results.read(file.parent).genres == numbers["genres"]
