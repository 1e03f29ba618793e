"""Each picture shows what it was given: its bars, points, names and legends are read back from the Figure."""

import matplotlib.image
import numpy as np
import pytest
from fake_experiment import GENRES, make_result

from evaluation import metrics, plots
from utils import UserError

LONG = "154874: a_dataset_whose_name_goes_on_and_on_without_a_space_because_folders_have_none_finetune_12 " + "W" * 40
LOG = [
    {"epoch": epoch, "train_loss": 2 / epoch, "validation_loss": 2.1, "validation_accuracy": accuracy}
    for epoch, accuracy in ((1, 0.2), (2, 0.45), (3, 0.4))
]
CURVE = [
    {"train_size": size, "seed": seed, "train_macro_f1": 0.9 - 0.1 * seed, "validation_macro_f1": size / 100,
     "gap": 0.1, "train_loss": 0.2, "validation_loss": 1.7}
    for size in (20, 50) for seed in (0, 1)
]  # fmt: skip
EFFICIENCY = [
    {"name": name, "fraction": fraction, "n_train": n_train, "accuracy": accuracy + change}
    for name, accuracies in (("frozen", (0.3, 0.6)), ("scratch", (0.2, 0.5)))
    for (fraction, n_train), accuracy in zip(((0.01, 57), (1.0, 5754)), accuracies, strict=True)
    for change in (-0.1, 0.1)
]
ROW = {"loss": "-0.8", "std": "0.02", "effective_rank": "30", "lr": "0.03", "clips_per_second": "9", "seconds": "1"}


def predictions(genres, tracks=120, seed=0):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(genres, 0.5), tracks), rng.integers(0, genres, tracks)


def names(genres):
    return [f"Old-Time / Historic {index}" for index in range(genres)]


def labels(ticks):
    return [tick.get_text() for tick in ticks]


def legend(owner):
    return [text.get_text() for text in owner.get_texts()]


def test_confusion_shows_counts_and_shares_of_the_true_genre():
    figure = plots.confusion([[3, 1], [0, 0]], ["Folk", "Rock"], "two genres")
    (axes,) = figure.axes
    assert {text.get_position(): text.get_text() for text in axes.texts} == {(0, 0): "3\n75%", (1, 0): "1\n25%"}
    np.testing.assert_array_equal(axes.images[0].get_array(), [[0.75, 0.25], [0, 0]])
    assert labels(axes.get_xticklabels()) == ["Folk", "Rock"]
    assert labels(axes.get_yticklabels()) == ["Folk (4)", "Rock (0)"]
    assert figure.get_suptitle() == "two genres"


def test_per_genre_shows_the_best_genre_on_top():
    per_genre = {
        "Folk": {"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "support": 8},
        "Rock": {"precision": 0.9, "recall": 0.7, "f1": 0.79, "support": 10},
        "Jazz": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0},
    }
    figure = plots.per_genre(per_genre)
    (axes,) = figure.axes
    assert labels(axes.get_yticklabels()) == ["Jazz (0)", "Folk (8)", "Rock (10)"]
    assert [bar.get_width() for bar in axes.patches] == [0.0, 1 / 3, 0.79]
    recall, precision = axes.lines  # the smaller on top, and neither cut in half at 0 and 1
    assert not any(line.get_clip_on() for line in axes.lines)
    assert (list(precision.get_xdata()), list(recall.get_xdata())) == ([0.0, 0.5, 0.9], [0.0, 0.25, 0.7])
    assert set(legend(figure.legends[0])) == {"F1", "precision", "recall"}


@pytest.mark.parametrize("genres", [1, 8])
def test_reliability_shows_the_bins(genres):
    probabilities, truth = predictions(genres)
    above, below = plots.reliability(probabilities, truth).axes
    number, confidence, accuracy = metrics.calibration_bins(probabilities, truth)
    np.testing.assert_array_equal([bar.get_height() for bar in below.patches], number)
    np.testing.assert_array_equal([bar.get_height() for bar in above.patches], accuracy)
    few = (number > 0) & (number < plots.FEW_IN_BIN)
    np.testing.assert_array_equal(above.lines[1].get_ydata(), np.where(few, np.nan, accuracy))
    np.testing.assert_array_equal(above.lines[2].get_ydata(), np.where(few, accuracy, np.nan))  # no bar
    assert [bar.get_alpha() for bar in above.patches] == [0.3 if one else None for one in few]
    np.testing.assert_array_equal(above.lines[1].get_xdata(), confidence)
    error = metrics.calibration_error(probabilities, truth)
    assert above.get_title(loc="left") == f"calibration error {error:.3f}"


def test_a_timeline_stacks_the_genres_around_the_middle_of_each_window():
    windows = [[0.5, 0.3, 0.2], [np.nan] * 3, [0.1, 0.2, 0.7]]
    figure = plots.timeline(windows, 300, ["Folk", "Jazz", "Rock"], "song.mp3: Rock 70%")
    (axes,) = figure.axes
    *genres, silence = [patch.get_data() for patch in axes.patches]
    levels = [[1, 1], [0.5, 0.9], [0.2, 0.7], [0, 0]]
    for steps, top, bottom in zip(genres, levels[:-1], levels[1:], strict=True):
        np.testing.assert_allclose(steps.values[[0, 2]], top)
        np.testing.assert_allclose(steps.baseline[[0, 2]], bottom, atol=1e-9)
        assert np.isnan(steps.values[1])
        np.testing.assert_allclose(steps.edges, [0, 112.5, 187.5, 300])  # of windows around 75, 150 and 225 s
    np.testing.assert_array_equal(silence.values, [0, 1, 0])
    assert legend(figure.legends[0]) == ["Folk", "Jazz", "Rock", "silence"]
    assert "the 150 s around each moment" in axes.get_title(loc="left")
    figure.draw_without_rendering()
    assert {"0:00", "1:00", "5:00"} <= {*labels(axes.get_xticklabels())}


@pytest.mark.parametrize("windows", [1, 2, 239])
def test_a_timeline_ends_where_the_file_does(windows):
    probabilities, _ = predictions(23, windows)
    (axes,) = plots.timeline(probabilities, 3.7, names(23)).axes
    assert axes.get_xlim() == (0, 3.7)
    for patch in axes.patches:
        assert (patch.get_data().edges[0], patch.get_data().edges[-1]) == (0, 3.7)
    assert ("as a whole" in axes.get_title(loc="left")) == (windows == 1)
    looks = {(patch.get_facecolor(), patch.get_hatch()) for patch in axes.patches}
    assert len(looks) == 23


@pytest.mark.parametrize(("tracks", "dim", "genres"), [(3, 4, 2), (40, 1, 8), (60, 80, 23)])
def test_feature_map_has_every_track_in_the_colour_of_its_genre(tracks, dim, genres):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(tracks, dim)) * (np.arange(dim) > 0) if dim > 1 else np.ones((tracks, 1))
    truth = rng.integers(0, genres, tracks)
    figure = plots.feature_map(features, truth, names(genres))
    clouds = figure.axes[0].collections
    counts = np.bincount(truth, minlength=genres)
    assert [len(cloud.get_offsets()) for cloud in clouds] == counts.tolist()
    assert np.isfinite(np.concatenate([np.ma.getdata(cloud.get_offsets()) for cloud in clouds])).all()
    assert legend(figure.legends[0]) == [f"{name} ({n})" for name, n in zip(names(genres), counts, strict=True)]
    looks = {(tuple(c.get_facecolor()[0]), c.get_paths()[0].vertices.tobytes()) for c in clouds}
    assert len(looks) == genres


def test_pca_map_keeps_the_widest_directions():
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(200, 1))
    features = np.hstack([wide, wide, wide, rng.normal(size=(200, 1))]).astype(np.float32)
    place = plots.flatten(features, "pca", seed=0)
    assert abs(np.corrcoef(place[:, 0], wide[:, 0])[0, 1]) > 0.99


def test_training_curves_shows_the_columns_that_are_there():
    rows = [ROW | {"epoch": str(epoch), "knn_accuracy": "0.3" if epoch % 2 else ""} for epoch in range(1, 6)]
    panels = {axes.get_title(loc="left"): axes for axes in plots.training_curves(rows, dim=2048).axes}
    assert len(panels) == 5
    knn, std = panels["kNN accuracy on validation tracks"], panels["std of the normalised projections"]
    assert knn.lines[0].get_xydata().tolist() == [[1, 0.3], [3, 0.3], [5, 0.3]]
    assert std.lines[1].get_ydata()[0] == 2048**-0.5
    (only,) = plots.training_curves([{"epoch": "1", "loss": "1", "knn_accuracy": ""}]).axes
    assert only.get_title(loc="left") == "loss"


def test_training_curves_of_a_run_that_diverged():
    rows = [{"epoch": 1, "loss": 0.7, "lr": 0.0}, {"epoch": 2, "loss": "nan", "lr": 0.0}]
    loss, rate = plots.training_curves(rows).axes
    assert loss.lines[0].get_xydata().tolist() == [[1, 0.7]]
    assert rate.lines[0].get_ydata().tolist() == [0, 0]


def test_transfer_log_names_the_best_epoch():
    loss, accuracy = plots.transfer_log(LOG).axes
    assert legend(loss.get_legend()) == ["training", "validation"]
    assert [line.get_ydata().tolist() for line in loss.lines] == [[2, 1, 2 / 3], [2.1] * 3]
    assert accuracy.lines[1].get_xydata().tolist() == [[2, 0.45]]
    assert [text.get_text() for text in accuracy.texts] == ["highest: 45.0% in epoch 2"]


def test_label_curve_shows_means_over_the_seeds():
    figure = plots.label_curve(CURVE)
    f1, loss = figure.axes
    train, validation = (container.lines[0] for container in f1.containers)
    assert train.get_xydata() == pytest.approx(np.array([[20, 0.85], [50, 0.85]]))
    assert validation.get_ydata() == pytest.approx([0.2, 0.5])
    assert labels(loss.get_xticklabels()) == ["20", "50"]
    assert set(legend(figure.legends[0])) == {"training", "validation", "gap"}
    plots.label_curve(CURVE[:1]).draw_without_rendering()  # one size and one seed


def test_label_efficiency_shows_means_and_bars_over_a_log_axis():
    figure = plots.label_efficiency(EFFICIENCY, 0.125)
    (axes,) = figure.axes
    (frozen, _, (bars,)), (scratch, _, _) = axes.containers
    aside = 1.04**0.5  # to the left and to the right of their place
    assert frozen.get_xydata() == pytest.approx(np.array([[0.01 / aside, 0.3], [1 / aside, 0.6]]))
    assert scratch.get_xydata() == pytest.approx(np.array([[0.01 * aside, 0.2], [1 * aside, 0.5]]))
    assert frozen.get_marker() != scratch.get_marker()
    (chance,) = (line for line in axes.lines if line.get_label() == "chance")
    assert chance.get_ydata() == [0.125, 0.125]
    reach = np.array([path.vertices[:, 1] for path in bars.get_paths()])
    assert (reach.min(), reach.max()) == pytest.approx((0.3 - 0.02**0.5, 0.6 + 0.02**0.5))
    assert axes.get_ylim()[0] == pytest.approx(0.1 - 0.02)  # what is lowest of all runs is below chance
    assert axes.get_xscale() == "log"
    assert labels(axes.get_xticklabels()) == ["1 %\n57", "100 %\n5,754"]
    assert set(legend(figure.legends[0])) == {"frozen", "scratch", "chance"}
    plots.label_efficiency(EFFICIENCY[:1], 0.125).draw_without_rendering()  # one share and one seed


def test_interval_bars_and_score_dots_show_their_intervals():
    figure = plots.interval_bars([("SimSiam", 0.4, (0.35, 0.47)), ("stats", 0.5, (0.4, 0.6))], 0.125)
    (axes,) = figure.axes
    assert labels(axes.get_yticklabels()) == ["stats   50.0%", "SimSiam   40.0%"]
    assert (legend(figure.legends[0]), axes.get_legend(), len(axes.texts)) == (["chance"], None, 0)  # all outside
    assert [bar.get_width() for bar in axes.patches] == [0.5, 0.4]
    reach = np.array([path.vertices[:, 0] for path in axes.collections[0].get_paths()])
    assert reach == pytest.approx(np.array([[0.4, 0.6], [0.35, 0.47]]))
    assert axes.lines[-1].get_xdata() == [0.125, 0.125]
    spreads = [{"mean": 0.3, "ci95": [0.2, 0.4], "n": 2}, {"mean": 0.35, "ci95": None, "n": 1}]
    figure = plots.score_dots(["none", "mask"], {"kNN": spreads, "linear probe": spreads})
    assert labels(figure.axes[0].get_yticklabels()) == ["none", "mask"]
    assert set(legend(figure.legends[0])) == {"kNN", "linear probe"}
    reach = [path.vertices[:, 0] for path in figure.axes[0].collections[0].get_paths()]
    assert np.array(reach) == pytest.approx(np.array([[0.2, 0.4], [0.35, 0.35]]))


LONG_NAMES = [f"Old-Time / Historic International and Everything Else {index}" for index in range(3)]
PICTURES = {
    "confusion": (plots.confusion, np.eye(3, dtype=int), LONG_NAMES),
    "per_genre": (plots.per_genre, metrics.summarise(*predictions(3), LONG_NAMES)["per_genre"]),
    "per_tag": (
        plots.per_tag,
        {name: {"n_test": 2, "pr_auc": 0.5, "pr_auc_ci95": (0.4, 0.6)} for name in LONG_NAMES},
        8,
    ),
    "reliability": (plots.reliability, *predictions(3)),
    "feature_map": (plots.feature_map, *predictions(3), LONG_NAMES),
    "timeline": (plots.timeline, predictions(3)[0], 100, LONG_NAMES),
    "transfer_log": (plots.transfer_log, LOG),
    "label_curve": (plots.label_curve, CURVE),
    "label_efficiency": (plots.label_efficiency, [{**EFFICIENCY[0], "name": name} for name in LONG_NAMES], 0.125),
    "training_curves": (plots.training_curves, [{"epoch": 1, "loss": 1}]),
    "interval_bars": (plots.interval_bars, [(name, 0.5, (0.4, 0.6)) for name in LONG_NAMES], 0.3),
    "score_dots": (plots.score_dots, LONG_NAMES, {"kNN": [{"mean": 0.3, "ci95": None, "n": 1}] * 3}),
}


@pytest.mark.parametrize("name", PICTURES)
def test_no_name_is_cut_off_or_lost(name):
    draw, *data = PICTURES[name]
    figure = draw(*data, title=LONG)
    figure.draw_without_rendering()
    assert figure.get_suptitle().replace("\n", "").replace(" ", "") == LONG.replace(" ", "")
    drawn = figure.get_tightbbox()  # of everything that is seen, in inches
    assert min(drawn.x0, drawn.y0) >= 0
    assert drawn.x1 <= figure.get_figwidth()
    assert drawn.y1 <= figure.get_figheight()


# ------------------------------------------------------------------ writing


def test_a_picture_is_written_whole(tmp_path):
    plots.write(tmp_path / "picture.png", plots.confusion, [[3, 1], [0, 0]], ["Folk", "Rock"], title="two genres")
    assert [file.name for file in tmp_path.iterdir()] == ["picture.png"]
    height, width = matplotlib.image.imread(tmp_path / "picture.png").shape[:2]
    assert 300 < height < width < 1000


def test_a_name_that_the_font_has_no_letters_for_is_no_warning(tmp_path, recwarn):
    plots.write(tmp_path / "picture.png", plots.timeline, [[0.5, 0.5]], 30, ["Folk", "演歌"], title="夜.mp3")
    assert (tmp_path / "picture.png").exists()
    assert not list(recwarn)


def test_a_picture_that_fails_is_a_warning_and_the_others_are_drawn(tmp_path, monkeypatch, capsys):
    def fail(*args, **options):
        raise ValueError("no such colour")

    monkeypatch.setattr(plots, "feature_map", fail)
    result = make_result(tracks=30, log=LOG, curve=CURVE)
    plots.write_all(tmp_path, result, result.probabilities, title="result")
    assert {file.name for file in tmp_path.iterdir()} == {
        "confusion.png", "per_genre.png", "reliability.png", "transfer_log.png", "label_curve.png",
    }  # fmt: skip
    wanted = f"WARNING: {tmp_path / 'features.png'} could not be drawn (ValueError: no such colour)\n"
    assert capsys.readouterr().out == wanted
    with plots.or_warn("report.html", "written"):
        raise UserError("configuration.json does not exist")
    assert "WARNING: report.html could not be written" in capsys.readouterr().out


def test_pictures_of_a_result_without_epochs(tmp_path):
    result = make_result(tracks=30)
    plots.write_all(tmp_path, result, result.probabilities, title="result")
    assert not (tmp_path / "transfer_log.png").exists()
    assert len(GENRES) == len(result.genres)
