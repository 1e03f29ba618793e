"""Train a genre classifier on a pre-trained experiment and test it, once, on every test track.

    python transfer.py --exp_path 154874 --size small                         fine-tune all weights
    python transfer.py --exp_path 154874 --size small --protocol linear       linear probe on frozen features
    python transfer.py --num_epochs 100 --batch_size 64 --size small --aug image --exp_path 154874   the paper's
    python transfer.py --exp_path 154874 --size small --protocol linear --sweep_layers    the layer, by validation
    python transfer.py --size small --protocol scratch --backbone resnet18    supervised, without an experiment
    python transfer.py --size small --protocol linear --baseline stats        what plain mean and deviation reach
    python transfer.py --exp_path 154874 --size small --protocol linear --labels genres_all    tags, several a track
    python transfer.py --dataset NAME --protocol scratch --backbone samplecnn supervised, on waveforms
    python transfer.py --dataset NAME --train_sizes 280,560,840,1120 --num_seeds 5    on embeddings, no experiment

Trains on the training split, chooses (epoch, penalty) on the validation split (not with --label_fraction, nor with
--train_split validation), and writes exp/<id>/<dataset>_<protocol>/: result.json, predictions.csv, confusion.csv,
pictures, transfer.pth, and the page exp/<id>/report.html. Of embeddings (preprocessing.py --features music2vec …) it
trains the head alone.
"""

import argparse
import dataclasses
import time
from pathlib import Path

import augment
import models
import utils


def get_args_parser():
    parser = utils.script_parser(__doc__)

    group = parser.add_argument_group("what to classify, and with what")
    group.add_argument("--exp_path", help="experiment: its id under --exp_dir, or its path")
    group.add_argument("--exp_dir", default="exp", help="folder of the experiments")
    group.add_argument("--size", choices=["small", "medium"], help="FMA of this size: short for --dataset fma_<size>")
    group.add_argument("--dataset", help="spectrogram folder <data_dir>/<dataset>_npy (default: the experiment's)")
    group.add_argument("--data_dir", help="folder of the spectrogram folders (default: the experiment's, or data)")
    group.add_argument(
        "--protocol", choices=["finetune", "linear", "mlp", "scratch"],
        help="finetune: all weights, from a linear probe, which is kept (epoch 0) where no epoch is better on "
        "validation. linear: one layer on frozen features. mlp: --hidden layers on frozen features. "
        "scratch: the same network from random weights, supervised (default: finetune; of embeddings mlp)",
    )  # fmt: skip
    group.add_argument(
        "--layer",
        help="features, of an experiment or of random weights: backbone (default), projector, stage1, stage2 …, "
        "or several joined by +, also with stats, mfcc or kmeans (stage3+stage4+stats); of embeddings: all (default; "
        "a sum with learned weights) or the number of one layer, 0 being what enters the first",
    )  # fmt: skip
    group.add_argument(
        "--sweep_layers", action="store_true",
        help="with linear: in place of --layer, probe every stage, the projector and some sums on the validation "
        "tracks, list them in layers.csv and layers.png, and go on with the best: only that one is tested",
    )  # fmt: skip
    group.add_argument(
        "--baseline", choices=models.BASELINES,
        help="with linear or mlp, in place of the experiment's features: those of random networks, mean and "
        "deviation of each mel band (stats) or of 20 MFCCs, or a k-means dictionary of spectrogram columns",
    )  # fmt: skip
    group.add_argument(
        "--backbone", choices=models.BACKBONES,
        help="without --exp_path (default: resnet18, for waveforms samplecnn)",
    )  # fmt: skip

    group.add_argument(
        "--pool", choices=models.POOLS, default=models.POOLS[1],
        help="without --exp_path: how the last map is read out, see train_simsiam.py --help",
    )  # fmt: skip

    group = parser.add_argument_group("labels")
    group.add_argument(
        "--labels", metavar="genres_all|CSV",
        help="several tags of each track in place of its one genre: every genre of FMA's (tags.csv of the dataset: "
        "python -m data.tags --help), or any table with the columns track_id,tag; judged by PR-AUC and ROC-AUC",
    )  # fmt: skip
    group.add_argument(
        "--top_tags", type=utils.count, default=50, help="with --labels: the most frequent tags of the training split"
    )
    group.add_argument(
        "--train_split", choices=["training", "validation"], default="training",
        help="validation: train on the validation tracks alone, as the original work did; the penalty is chosen by "
        "cross-validation among them, and the last epoch is kept",
    )  # fmt: skip
    group.add_argument(
        "--test_split", choices=["test", "validation"], default="test",
        help="validation: leave the test tracks alone, for runs that something will be chosen by",
    )  # fmt: skip
    group.add_argument(
        "--label_fraction", type=utils.fraction, default=1.0,
        help="share of the training labels, of every genre; below 1 no validation label has a part: the penalty is "
        "chosen by cross-validation in the labels given, and the last epoch is kept",
    )  # fmt: skip
    group.add_argument(
        "--refit", action="store_true",
        help="linear: once the penalty is chosen, fit again on training and validation tracks together, then test",
    )  # fmt: skip
    group.add_argument(
        "--num_seeds", type=utils.count, help="repeat with so many seeds and report mean ± std (default: 1, random 5)"
    )

    group.add_argument(
        "--train_sizes", type=utils.counts,
        help="with linear and mlp: also train on so many tracks, a,b,c, stratified and nested, with --num_seeds "
        "seeds, and draw the learning curve of training and validation; no test track has a part in it",
    )  # fmt: skip

    group = parser.add_argument_group("head (of mlp)")
    group.add_argument("--hidden", type=utils.counts, default="1024,512,128", help="widths of the hidden layers")
    group.add_argument(
        "--dropout", type=utils.parts, default="0.5", help="after each hidden layer, or one share for each: a,b"
    )
    group.add_argument(
        "--batch_norm", action=argparse.BooleanOptionalAction, default=True, help="BatchNorm after each hidden layer"
    )

    group = parser.add_argument_group("optimisation (of mlp, finetune and scratch; linear runs to its optimum)")
    group.add_argument(
        "--num_epochs", type=utils.count,
        help="passes over the training tracks (default: finetune 10, mlp and scratch 30); finetune and scratch: "
        "of few tracks several passes are one epoch",
    )  # fmt: skip
    group.add_argument(
        "--patience", type=utils.whole, default=0,
        help="stop when validation has not improved for so many epochs; 0: never",
    )  # fmt: skip
    group.add_argument(
        "--batch_size", type=utils.count, help="tracks in a batch (default: 64, of fewer than 256 tracks a quarter)"
    )
    group.add_argument("--lr", type=utils.positive, help="of AdamW (default: finetune 3e-4, mlp and scratch 1e-3)")
    group.add_argument("--weight_decay", type=utils.not_negative, default=0.01, help="of AdamW")
    group.add_argument(
        "--layer_decay", type=utils.share, default=1.0,
        help="finetune: each stage of the network learns at this share of the rate of the stage above it",
    )  # fmt: skip
    group.add_argument(
        "--aug",
        help="augments finetune and scratch: see train_simsiam.py --help (default: spec, of waveforms none)",
    )
    group.add_argument(
        "--mixup", type=utils.not_negative, default=0.4,
        help="finetune and scratch blend pairs of tracks and their labels, by shares from Beta(a, a); 0: none",
    )  # fmt: skip
    group.add_argument("--lam", type=utils.share, help="as of train_simsiam.py: the share of the track itself")
    group.add_argument(
        "--aug_p", type=utils.share, help="probability of applying each augmentation (default: its own)"
    )

    group = parser.add_argument_group("crops")
    group.add_argument("--crop_seconds", type=utils.seconds, help="length of a crop (default: the experiment's)")
    group.add_argument(
        "--num_crops", type=utils.count,
        help="crops of a track, averaged (default: 5; where neither this nor --crop_seconds is given, the backbone "
        "frames, stats, mfcc and kmeans hear the whole track at once)",
    )  # fmt: skip

    group = parser.add_argument_group("running")
    group.add_argument("--seed", type=utils.whole, default=0, help="first seed")
    group.add_argument("--device", type=utils.device, default="auto", help="auto, cpu or cuda")
    utils.precision_flags(group)
    group.add_argument(
        "--keep_features", action=argparse.BooleanOptionalAction, default=True,
        help="linear and mlp: keep the frozen features in exp/<id>/features, where the next run finds them; dropped "
        "when the arrays, the weights or the code change",
    )  # fmt: skip
    group.add_argument(
        "--compile", action="store_true",
        help="finetune and scratch: compile the network (torch.compile), see train_simsiam.py --help",
    )  # fmt: skip
    group.add_argument(
        "--cache", choices=["auto", "device", "ram", "disk"], default="auto",
        help="where spectrograms are held: all on the device, all in memory, or read from disk as they are needed, "
        "which is for sets of any size; auto: where there is room, in this order",
    )  # fmt: skip
    group.add_argument(
        "--save_features", action="store_true",
        help="also write the features, averaged over each track's crops: features.npy (N, D), labels.npy (N,), "
        "track_ids.txt and tracks.csv (track_id,genre_top,split,artist), all in the order training, validation, test",
    )  # fmt: skip
    return parser


if __name__ == "__main__":  # --help and wrong flags are answered before what takes seconds to import
    utils.answer_first(get_args_parser())

import torch

from evaluation import plots, report, results
from models import heads
from models.classifier import Classifier
from training import distributed
from training.compiled import compile_in_place
from training.frozen import SHOWN_TRACKS, FrozenFeatures, evenly, fit_norms
from training.given import Run, curve_sizes, learn_curve, mean_features, prepare, result_of, save_features
from training.labels import open_labels
from training.layer_sweep import best_layer, describe_sweep, sweep_layers, write_sweep
from training.networks import state_of
from training.options import open_given, resolve
from training.supervised import apply, fit, fit_head, layer_wise
from training.task import Task
from training.views import LabelledViews, Views


def main(args):
    device = utils.pick_device(args.device)
    torch.backends.cudnn.benchmark = True
    begin = time.perf_counter()

    experiment, folder = open_given(args)
    check_room(experiment.folder if experiment else args.exp_dir)
    flags = resolve(args, experiment, folder)
    kind = open_labels(flags.labels, folder, flags.top_tags)
    task = Task(folder, device, flags.train_split, flags.test_split, flags.cache, kind)
    given = prepare(task, experiment, flags)
    sizes = curve_sizes(given)
    swept = sweep_layers(given) if flags.sweep_layers else []
    if swept:
        print(describe_sweep(swept))
        given = prepare(task, experiment, given.flags.but(layer=best_layer(swept)))

    curve = learn_curve(given, sizes) if sizes else []
    runs = runs_of(given)

    found = [result_of(run, given, time.perf_counter() - begin, curve) for run in runs]
    features = mean_features(given, runs[0]) if flags.save_features else None
    write(given, runs[0], found, swept, features)


def check_room(folder):
    """Raises :class:`utils.UserError`, before the hours that training may take, where no result can be written."""
    weights = Path(folder) / "pre.pth"  # transfer.pth may be as large
    utils.check_writable(folder, weights.stat().st_size if weights.is_file() else 0)


@distributed.first_only
def write(given, run, found, swept, features):
    """The folder of the transfer: ``run`` is the first of the runs whose results are ``found``."""
    task, flags, folder = given.task, given.flags, given.task.folder
    experiment = given.experiment.made(flags.exp_dir)
    transfer = results.new_transfer(experiment.folder, f"{folder.dataset}_{task.kind.mark}{flags.protocol}")
    with results.making(transfer):
        utils.save_weights(transfer / "transfer.pth", state_of(given.network, run.build, run.head))
        if swept:
            write_sweep(transfer, swept, task)
        weights = utils.digest(transfer / "transfer.pth")
        result = dataclasses.replace(results.over_seeds(found), weights=weights).write(transfer)
    if flags.save_features:
        save_features(transfer, task, features)
    print_summary(result, task.kind)
    title = f"{experiment.folder.name}: {transfer.name}, {result.network_name}"
    plots.write_all(transfer, result, run.features.cpu().numpy(), title=title)
    with plots.or_warn(experiment.folder / "report.html", "written"):
        report.write_report(experiment.folder)
    print(transfer / "result.json")


def print_summary(result, kind):
    if len(result.curve):
        print(f"macro-F1 by size of the training set, mean over the seeds ({result.folder / 'label_curve.png'}):")
        for size, row in result.curve.groupby("train_size").mean().iterrows():
            training, validation = row["train_macro_f1"], row["validation_macro_f1"]
            print(f"  {size:6} tracks  training {training:.3f}  validation {validation:.3f}")
    print(f"\n{result}")
    if result.few:
        print(f"  {result.few}")
    print(f"  {kind.picture.format(result.folder)}")
    print(f"  everything on one page: {result.folder.parent / 'report.html'}")


# ------------------------------------------------------------------ protocols: each (given, seed) → Run


def runs_of(given):
    """A :class:`Run` for each seed, one alone where a seed changes nothing."""
    train, seed, number = PROTOCOLS[given.flags.protocol], given.flags.seed, given.flags.num_seeds
    if number > 1 and not given.by_chance:
        print(f"--num_seeds {number}: no seed changes the classifier of all tracks, so it is trained and tested once")
        number = 1
    elif seed and not given.by_chance:
        print(f"note: --seed {seed} changes nothing here: every seed has this classifier, and this result")
    return [train(given, seed + other) for other in range(number)]


def linear(given, seed):
    """Linear probe: one layer on frozen features, its penalty chosen."""
    return head_on_frozen(given, seed)


def mlp(given, seed):
    """Hidden layers on frozen features; by default the head of the original work."""
    return head_on_frozen(given, seed)


def head_on_frozen(given, seed):
    """A head on features that are computed once."""
    options = given.flags.head
    task, labelled, features = given.task, given.labelled(seed), given.frozen(seed)
    recipe = given.recipe(seed, len(labelled))
    train, validation, test = (features.of(*part) for part in (
        (task.train, labelled), (task.validation,), (task.test,)
    ))  # fmt: skip
    if test.ndim == 4:
        options = {**options, "num_layers": test.shape[2]}
    utils.set_seed(seed)  # whatever was drawn by now, or was not, since it was kept
    head, log, chosen = fit_head(
        train, task.labels[0][labelled], validation, task.labels[1],
        len(task.genres), options, recipe,
    )  # fmt: skip
    number = len(labelled)
    if given.flags.refit:
        known, labels = torch.cat([train.mean(1), validation.mean(1)]), torch.cat(task.labels[:2])
        task.kind.refit(head, known, labels, chosen["C"])
        number = len(labels)
    seen = test.mean(1) if test.ndim == 3 else apply(head[:2], test)[:, 0]  # of several layers, their learned mixture
    return Run(lambda: features.network, head, apply(head, test), seen, log, chosen, number, options)


def finetune(given, seed):
    """All weights, from a linear probe onwards (Kumar et al. 2022), so that random heads undo no features.

    Norms learn, too, as they did in pre-training: the probe is that of norms which are measured as they will be after
    every epoch. Where training makes it no better on validation, the result is this probe, epoch 0. With few labels
    nothing is chosen.
    """
    task, labelled, backbone = given.task, given.labelled(seed), given.backbone(seed)
    settle(given, backbone, given.shown_tracks())
    features, recipe = FrozenFeatures(lambda: backbone, given.cut), given.recipe(seed, len(labelled))
    train, validation = features.of(task.train, labelled), features.of(task.validation)
    labels = task.labels[0][labelled]
    head, _, _ = fit_head(train, labels, validation, task.labels[1], len(task.genres), given.flags.head, recipe)
    network = Classifier(backbone, head)
    groups = layer_wise(network, recipe.lr, given.flags.layer_decay)
    return train_whole(given, network, groups, labelled, recipe, given.shown_tracks(), keep_start=True)


def scratch(given, seed):
    """The supervised network, from random weights. Of tracks without labels it knows what each mel band is like."""
    labelled, backbone = given.labelled(seed), given.backbone(seed)
    head = heads.genre_head(backbone.num_features, len(given.task.genres), **given.flags.head).to(given.task.device)
    network, recipe = Classifier(backbone, head), given.recipe(seed, len(labelled))
    groups = layer_wise(network, recipe.lr, layer_decay=1.0)
    return train_whole(given, network, groups, labelled, recipe, labelled[evenly(len(labelled), SHOWN_TRACKS)])


def train_whole(given, network, groups, labelled, recipe, shown, keep_start=False):
    """Backbone and head on augmented crops of the labelled tracks; norms are measured on the tracks ``shown``."""
    task, cut, flags = given.task, given.cut, given.flags
    distributed.check_divides(recipe.batch_size)
    network = distributed.synchronised(network)
    augmentation = augment.build(flags.aug, task.folder.settings, flags.lam, flags.aug_p)
    views = Views(task.train, augmentation, cut.normalise, cut.num_frames)
    labels = task.kind.targets(task.labels[0], len(task.genres))
    batches = LabelledViews(views, labels, labelled, recipe.batch_size, flags.mixup)
    if flags.compile:
        compile_in_place(network, task.device)

    def after_epoch(one):
        settle(given, one.backbone, shown)

    def judge(one):
        return apply(one.head, cut.extract(one.backbone, task.validation))

    log, chosen = fit(network, groups, batches, judge, task.labels[1], recipe, after_epoch, keep_start)
    test = cut.extract(network.backbone, task.test)
    logits = apply(network.head, test)
    return Run(lambda: network.backbone, network.head, logits, test.mean(1), log, chosen, len(labelled), flags.head)


def settle(given, backbone, shown):
    """Norms have the statistics of these training tracks: those of averaged weights are nobody's."""
    fit_norms(backbone, dataclasses.replace(given.cut, num_crops=1).mixed(given.task.train, shown))


PROTOCOLS = {"linear": linear, "mlp": mlp, "finetune": finetune, "scratch": scratch}


if __name__ == "__main__":
    utils.run(distributed.together(main), get_args_parser())
