"""Tags from the table to the result: which are kept, how they are learned, and what has no part in choosing."""

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

import compare
import predict
import transfer
import utils
from data.folder import open_folder
from data.tags import read_tags
from evaluation import plots, report, results
from models import heads
from models.classifier import fit_side_by_side, fit_tag_probe
from training.labels import Genres, Tags, open_labels
from training.task import Task

CPU = torch.device("cpu")
TAGS_OF = {"Folk": ["calm", "guitar"], "Hip-Hop": ["loud"], "Rock": ["guitar", "loud"]}
EPOCHS = "--num_epochs 3 --hidden 16 --batch_size 8"


def write_tags(path, rows):
    utils.write_csv(path, ["track_id", "tag"], rows)
    return path


def rows_of(folder):
    """What can be heard in the tiny folder: tags that follow from the bright bands."""
    tracks = folder.tracks
    return [(t.track_id, tag) for t in tracks.itertuples() for tag in TAGS_OF[t.genre_top]]


@pytest.fixture
def tiny(tiny_folder):
    return open_folder(tiny_folder, "tiny")


@pytest.fixture
def tagged(pretrained, tmp_path, run_script, without_pictures):
    """Run transfer.py on the tags of the tiny folder; returns (folder of the transfer, its result.json)."""
    table = write_tags(tmp_path / "heard.csv", rows_of(open_folder(pretrained.data_dir, "tiny")))

    def run(more):
        file = Path(run_script(transfer, pretrained.transfer(f"--labels {table} {more}")))
        return file.parent, json.loads(file.read_text())

    run.pretrained, run.table = pretrained, table
    return run


# ------------------------------------------------------------------ which tags


def test_the_most_frequent_of_training_are_kept_and_useless_ones_named(tiny, tmp_path, capsys):
    rows = rows_of(tiny) + [(track, "music") for track in tiny.tracks["track_id"]]
    rows += [(track, "only here") for track in tiny.split("training")["track_id"][:20]]
    rows += [(track, "only tested") for track in tiny.split("test")["track_id"]]
    table = read_tags(write_tags(tmp_path / "tags.csv", rows + rows[:9]))  # some twice
    task = Task(tiny, CPU, kind=Tags(table, 4))
    assert task.genres == ["guitar", "loud"]  # music and only here are among the four, and of no use
    assert "left out, for they are on none or all tracks of a split: music, only here" in capsys.readouterr().out
    assert Task(tiny, CPU, kind=Tags(table, 50)).genres == ["calm", "guitar", "loud"]
    for part, labels in zip((task.train, task.validation, task.test), task.labels, strict=True):
        expected = [[tag in TAGS_OF[genre] for tag in task.genres] for genre in part.rows["genre_top"]]
        assert labels.tolist() == np.array(expected, dtype=float).tolist()


def test_tracks_that_nobody_tagged_are_left_out_and_those_without_a_kept_tag_have_none(tiny, tmp_path, capsys):
    first, second, *_ = tiny.split("training")["track_id"]
    rows = [row for row in rows_of(tiny) if row[0] not in (first, second)]
    rows += [(second, ""), ("nobody knows me", "calm")]
    task = Task(tiny, CPU, kind=Tags(read_tags(write_tags(tmp_path / "tags.csv", rows)), 50))
    assert "1 of 36 tracks have no tags in --labels: left out" in capsys.readouterr().out
    assert first not in set(task.train.rows["track_id"])
    assert len(task.train) == 23
    place = task.train.rows["track_id"].tolist().index(second)
    assert task.labels[0][place].tolist() == [0, 0, 0]
    assert len(task.labelled(1.0, 0)) == 23


def test_one_tag_is_enough(tiny, tmp_path):
    rows = [row for row in rows_of(tiny) if row[1] == "calm"]
    rows += [(track, "") for track in tiny.tracks["track_id"]]
    task = Task(tiny, CPU, kind=Tags(read_tags(write_tags(tmp_path / "tags.csv", rows)), 50))
    assert task.genres == ["calm"]
    assert task.labels[0].shape == (24, 1)


@pytest.mark.parametrize(("content", "message"), [
    (None, "does not exist"),
    ("", "needs the columns"),
    ("track_id;tag\n000001;calm\n", "needs the columns track_id,tag, with commas"),
    ("track_id,tag\n000001,calm, old\n000002,loud\n", "rows longer than its head: a tag with commas needs quotes"),
    ("track_id,tag\n000001,loud\n000002,calm, old\n", "rows longer than its head: a tag with commas needs quotes"),
    ("track_id,tag,tag\n000001,calm,loud\n", "has the column tag more than once"),
    (b"track_id,tag\n000001,m\xfcsic\n", "is not text in UTF-8"),
    ("id,tag\n0,a\n", "needs the columns track_id,tag"),
    ("track_id,tag\n000001,a\x07b\n", "control characters"),
    ('track_id,tag\n000001,"a\nb"\n', "line breaks"),
    ("track_id,tag\nstranger,calm\n", r"names no track of .*ids look like '000000'"),
    ("track_id,tag\n000000,calm\n", "no track in the split 'validation'"),
])  # fmt: skip
def test_hostile_tables(tiny, tmp_path, content, message):
    path = tmp_path / "tags.csv"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(utils.UserError, match=message):
        Task(tiny, CPU, kind=open_labels(str(path), tiny, 50))


def test_an_empty_name_is_a_mistake_and_not_no_labels(tiny):
    with pytest.raises(utils.UserError, match="does not exist"):
        open_labels("", tiny, 50)
    assert isinstance(open_labels(None, tiny, 50), Genres)


def test_a_byte_order_mark_is_no_part_of_the_table(tiny, tmp_path):
    (tmp_path / "tags.csv").write_text("track_id,tag\n000001,calm\n", encoding="utf-8-sig")
    assert open_labels(str(tmp_path / "tags.csv"), tiny, 50).tags_of == {"000001": {"calm"}}


def test_tags_that_are_everywhere_are_no_task(tiny, tmp_path):
    path = write_tags(tmp_path / "tags.csv", [(track, "music") for track in tiny.tracks["track_id"]])
    with pytest.raises(utils.UserError, match="no tag is on some, but not all"):
        Task(tiny, CPU, kind=open_labels(str(path), tiny, 50))


def test_all_genres_are_those_of_the_folder(tiny):
    assert isinstance(open_labels(None, tiny, 50), Genres)
    with pytest.raises(utils.UserError, match=r"python -m data\.tags --dataset tiny"):
        open_labels("genres_all", tiny, 50)
    write_tags(tiny.path / "tags.csv", rows_of(tiny))
    assert Task(tiny, CPU, kind=open_labels("genres_all", tiny, 50)).genres == ["calm", "guitar", "loud"]


@pytest.mark.parametrize("flag", ["--label_fraction 0.5", "--train_sizes 8,16", "--sweep_layers"])
def test_what_goes_by_genre_is_refused(tagged, flag):
    with pytest.raises(utils.UserError, match=f"{flag.split()[0]} .*not with --labels"):
        tagged(f"--protocol linear {flag}")


# ------------------------------------------------------------------ how they are learned


def features_of(tracks, seed=0):
    chance = np.random.default_rng(seed)
    y = chance.random((tracks, 3)) < [0.2, 0.5, 0.7]
    x = chance.normal(size=(tracks, 8))
    x[:, :3] += y
    return torch.tensor(x), torch.tensor(y).double()


def test_side_by_side_is_scikit_learn_tag_by_tag():
    x, y = features_of(80)
    for inverse_penalty in (0.01, 1.0):
        linear = torch.nn.Linear(8, 3).double()
        fit_side_by_side(linear, x, y, inverse_penalty)
        for tag in range(3):
            theirs = LogisticRegression(C=inverse_penalty, tol=1e-8, max_iter=5000).fit(x.numpy(), y[:, tag].numpy())
            np.testing.assert_allclose(linear.weight[tag].detach(), theirs.coef_[0], atol=1e-3)
            assert linear.bias[tag].item() == pytest.approx(theirs.intercept_[0], abs=1e-3)


def test_the_penalty_is_the_best_on_validation():
    (x, y), (other, truth) = features_of(30), features_of(200, seed=1)
    head, seen = heads.genre_head(8, 3), []

    def score(logits, labels):
        seen.append(average_precision_score(labels.numpy(), logits.detach().numpy(), average="macro"))
        return seen[-1]

    penalty, reached = fit_tag_probe(head, x.float(), y.float(), other.float(), truth.float(), score)
    assert len(set(seen)) > 2
    assert reached == max(seen)
    assert score(head(other.float()), truth.float()) == pytest.approx(reached, abs=1e-3)
    assert penalty in (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0)


def test_refit_is_the_same_penalty_on_all(tagged):
    folder, result = tagged("--protocol linear --baseline stats --refit --save_features")
    assert (result["n_train"], result["train_split"]) == (30, "training+validation")
    x, names = np.load(folder / "features.npy"), np.loadtxt(folder / "tracks.csv", str, delimiter=",", skiprows=1)
    x = (x - x[:30].mean(0)) / x[:30].std(0, ddof=1)
    for row in csv.DictReader((folder / "predictions.csv").open()):
        place = names[:, 0].tolist().index(row["track_id"])
        for tag in result["genres"]:
            y = np.array([tag in TAGS_OF[genre] for genre in names[:30, 1]])
            fit = LogisticRegression(C=result["chosen"]["C"], tol=1e-8, max_iter=5000).fit(x[:30], y)
            assert float(row[f"p: {tag}"]) == pytest.approx(fit.predict_proba(x[[place]])[0, 1], abs=1e-3)


@pytest.mark.parametrize("protocol", ["linear", "mlp", "finetune", "scratch"])
def test_contract_of_tags(tagged, protocol):
    folder, result = tagged(f"--protocol {protocol} {EPOCHS}")
    assert folder.name == f"tiny_tags_{protocol}"
    assert (result["task"], result["genres"], result["protocol"]) == ("tags", ["calm", "guitar", "loud"], protocol)
    assert (result["n_test"], result["n_train"]) == (6, 24)
    assert not {"accuracy", "macro_f1", "per_genre"} & {*result}
    assert result["validation_pr_auc"] == result["chosen"]["validation_pr_auc"]
    predictions = list(csv.DictReader((folder / "predictions.csv").open()))
    truth, said = (
        np.array([[float(row[f"{mark}: {tag}"]) for tag in result["genres"]] for row in predictions])
        for mark in ("true", "p")
    )
    assert result["pr_auc"] == pytest.approx(average_precision_score(truth, said, average="macro"), abs=1e-4)
    assert result["roc_auc"] == pytest.approx(roc_auc_score(truth, said, average="macro"), abs=1e-4)
    rows = list(csv.DictReader((folder / "tags.csv").open()))
    assert [(row["tag"], row["n_test"]) for row in rows] == [("calm", "2"), ("guitar", "4"), ("loud", "4")]
    assert float(rows[0]["pr_auc_low"]) <= float(rows[0]["pr_auc"]) <= float(rows[0]["pr_auc_high"])
    assert (folder / "transfer_log.csv").exists() == (protocol != "linear")


def test_what_can_be_heard_is_learned(tagged):
    for protocol in ("linear", "mlp --hidden 32 --num_epochs 30"):
        _, result = tagged(f"--protocol {protocol} --baseline stats --batch_size 8")
        assert result["pr_auc"] == result["roc_auc"] == 1


def test_the_test_tracks_choose_nothing(tagged):
    """Other tags on them, and as often: the same weights, the same penalty, the same epoch."""
    before = [tagged(f"--protocol {protocol} {EPOCHS}") for protocol in ("linear", "mlp", "finetune")]
    tracks = open_folder(tagged.pretrained.data_dir, "tiny").tracks
    split_of = dict(zip(tracks["track_id"], tracks["split"], strict=True))
    rows = list(csv.reader(tagged.table.open()))[1:]
    test = [row for row in rows if split_of[row[0]] == "test"]
    others = {tag: [row[0] for row in test if row[1] == tag][::-1] for tag in Counter(row[1] for row in test)}
    names = dict(zip(others, [*[*others][1:], next(iter(others))], strict=True))  # each tag takes another's tracks
    rows = [row for row in rows if row not in test]
    write_tags(tagged.table, rows + [(track, names[tag]) for tag, there in others.items() for track in there])
    for folder, result in before:
        again, other = tagged(f"--protocol {result['protocol']} {EPOCHS}")
        assert other["chosen"] == result["chosen"]
        assert other["pr_auc"] != result["pr_auc"]
        for one, two in zip(*(torch.load(f / "transfer.pth").values() for f in (folder, again)), strict=True):
            assert torch.equal(one, two)


# ------------------------------------------------------------------ who reads the results


def test_results_of_tags_have_a_table_of_their_own(tagged, run_script, tmp_path, capsys):
    linear, _ = tagged("--protocol linear")
    stats, _ = tagged("--protocol linear --baseline stats")
    where = f"--exp_dir {tagged.pretrained.exp_dir} --out {tmp_path}/compare.csv"
    run_script(compare, f"{linear} {stats} {where} --together --baseline {stats}")
    rows = {row["result"]: row for row in csv.DictReader((tmp_path / "compare.csv").open())}
    row = rows[results.read(linear).name]
    both = [results.read(folder) for folder in (linear, stats)]
    assert float(row["difference"]) == pytest.approx(both[0].score - both[1].score, abs=1e-4)
    assert float(row["difference_low"]) <= float(row["difference"]) <= float(row["difference_high"])
    assert (row["p"], row["accuracy"], row["task"]) == ("", "", "tags")
    assert [one.task for one in both] == ["tags", "tags"]
    assert results.together(both).genres == ["calm", "guitar", "loud"]
    write_tags(tagged.table, [row for row in csv.reader(tagged.table.open()) if row[1] != "calm"][1:])
    others, _ = tagged("--protocol linear")
    assert [line.split(":")[1] for line in compare.warnings([results.read(one) for one in (linear, others)])] == [
        " these results come from different tags", f" not tested on the same tracks and tags as {both[0].name}"
    ]  # fmt: skip
    genres = Path(run_script(transfer, tagged.pretrained.transfer("--protocol linear"))).parent
    capsys.readouterr()
    compare.main(compare.get_args_parser().parse_args(f"{genres} {linear} {stats} {where} --together".split()))
    of_genres, of_tags = capsys.readouterr().out.split("\n\n\n")  # a table of each kind, with its own notes
    assert "accuracy %" in of_genres
    assert "PR-AUC" not in of_genres
    assert "PR-AUC %" in of_tags
    assert "accuracy %" not in of_tags
    assert "difference in PR-AUC" in of_tags
    rows = list(csv.DictReader((tmp_path / "compare.csv").open()))
    assert [row["task"] for row in rows] == ["genres"] * 2 + ["tags"] * 3  # each with what they say together
    with pytest.raises(utils.UserError, match=r"--baseline .* tells genres, and the others tell tags"):
        run_script(compare, f"{linear} {stats} {where} --baseline {genres}")
    assert results.choose(tagged.pretrained.experiment, None).task == "genres"


def test_predict_tells_tags(tagged, run_script, capsys):
    folder, result = tagged("--protocol linear")
    row = next(csv.DictReader((folder / "predictions.csv").open()))
    (file,) = tagged.pretrained.data_dir.glob(f"tiny_npy/*/{row['track_id']}.npy")
    command = f"--exp_path {tagged.pretrained.experiment} --device cpu {file}"
    capsys.readouterr()
    predict.main(predict.get_args_parser().parse_args([*command.split(), "--json"]))
    (answer,) = json.loads(capsys.readouterr().out)
    for tag in result["genres"]:
        assert answer["tags"][tag] == pytest.approx(float(row[f"p: {tag}"]), abs=1e-3)
    shown = run_script(predict, command)
    likely = [tag for tag, share in answer["tags"].items() if share > 0.5] or answer["tags"]
    assert [word for word in shown.split() if word in result["genres"]] == [*likely]
    with pytest.raises(utils.UserError, match="--truth goes with genres"):
        run_script(predict, f"{command} --truth {tagged.pretrained.data_dir}/tiny_npy/tracks.csv")


def test_tags_above_one_half_are_shown_or_five():
    answers = [(f"tag{number}", 0.9 - 0.1 * number) for number in range(9)]
    assert len(Tags.shown(answers, None)) == 4
    assert len(Tags.shown(answers[5:], None)) == 4
    assert Tags.shown([(name, share / 2) for name, share in answers], None) == [
        (name, share / 2) for name, share in answers[:5]
    ]
    assert Tags.shown(answers, 2) == answers[:2]


def test_the_picture_and_the_page_of_tags(tmp_path, tagged, monkeypatch):
    folder, _ = tagged("--protocol mlp --hidden 8 --num_epochs 1 --batch_size 8")
    monkeypatch.undo()
    plots.write_all(folder, results.read(folder), None, title="tags")
    assert (folder / "tags.png").stat().st_size > 5000
    assert (folder / "transfer_log.png").stat().st_size > 5000
    page = report.write_report(folder.parent).read_text()
    for text in ("Each tag", "PR-AUC", "guitar", "test tracks that have it"):
        assert text in page
    assert "confused" not in page


def test_features_of_all_tracks_are_not_taken_for_those_of_the_tagged(tagged, run_script, capsys):
    """The same network, fewer tracks: the features kept of a run on genres are of other tracks."""
    run_script(transfer, tagged.pretrained.transfer("--protocol linear"))
    rows = list(csv.reader(tagged.table.open()))[1:]
    write_tags(tagged.table, rows[3:])
    _, result = tagged("--protocol linear")
    assert result["n_train"] < 24
    _, fresh = tagged("--protocol linear --no-keep_features")
    assert fresh["pr_auc"] == pytest.approx(result["pr_auc"])
    capsys.readouterr()
    again = tagged.pretrained.transfer("--protocol linear --seed 1").split()
    transfer.main(transfer.get_args_parser().parse_args(again))
    assert "features of 36 tracks: kept from before" in capsys.readouterr().out  # neither drops the other's
