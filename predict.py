"""Print the genres of your own audio files, with a classifier that transfer.py trained.

    python predict.py --exp_path 154874 song.mp3 another.flac
    python predict.py --exp_path 154874 --json *.mp3

Of several classifiers in an experiment, the one with the highest validation accuracy speaks, or --transfer NAME.
"""

import json
from pathlib import Path

import torch

import utils
from data import audio, dataset, features
from models import classifier


def get_args_parser():
    parser = utils.script_parser(__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE", help="audio files: mp3, wav, flac, ogg, m4a …")
    parser.add_argument("--exp_path", required=True, help="experiment: its id under --exp_dir, or its path")
    parser.add_argument("--exp_dir", default="exp", help="folder of the experiments")
    parser.add_argument("--transfer", help="name of the classifier's folder in the experiment")
    parser.add_argument("--top", type=int, default=3, help="genres to show for each file")
    parser.add_argument("--num_crops", type=int, default=10, help="crops spread over a file, averaged")
    parser.add_argument("--json", action="store_true", help="print one JSON list with all genres instead of a table")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    return parser


def main(args):
    device = utils.pick_device(args.device)
    experiment = utils.find_experiment(args.exp_path, args.exp_dir)
    configuration = utils.read_json(experiment / "configuration.json")
    transfer, result = choose_transfer(experiment, args.transfer)
    extractor = features.build(configuration["spectrogram"])
    network = classifier.load(experiment, configuration, transfer, result, device)

    answers, unreadable = [], 0
    for file in args.files:
        try:
            probabilities = predict(network, extractor, file, configuration, result, args.num_crops, device)
        except audio.AudioError as error:
            unreadable += 1
            answers.append({"file": file, "error": str(error)})
            continue
        genres = sorted(zip(result["genres"], probabilities, strict=True), key=lambda pair: -pair[1])
        answers.append({"file": file, "genres": dict(genres)})
    print(json.dumps(answers, indent=2, ensure_ascii=False) if args.json else table(answers, args.top))
    if unreadable == len(args.files):
        raise utils.UserError("none of the files could be read")


def choose_transfer(experiment, name):
    """(folder, result) of the named classifier, or of the best on validation. Raises :class:`utils.UserError`."""
    there = {file.parent.name: utils.read_json(file) for file in sorted(experiment.glob("*/result.json"))}
    if not there:
        raise utils.UserError(f"{experiment} has no classifier yet: run transfer.py --exp_path {experiment.name}")
    if name and name not in there:
        raise utils.UserError(f"{experiment} has no classifier '{name}'; there are: {', '.join(there)}")
    name = name or max(there, key=lambda key: there[key]["validation_accuracy"])
    return experiment / name, there[name]


@torch.no_grad()
def predict(network, extractor, file, configuration, result, num_crops, device):
    """Probabilities (list of C floats) of one file: logits averaged over crops spread evenly over it."""
    settings = configuration["spectrogram"]
    x = dataset.decode(torch.from_numpy(extractor(Path(file))), settings).to(device)
    if "num_layers" in settings:  # embeddings are of the whole file
        return network(x[None])[0].softmax(0).tolist()
    num_frames = round(result["crop_seconds"] * settings["sample_rate"] / settings["hop_length"])
    crops = dataset.cut_evenly(x, num_frames, num_crops)
    logits = network(dataset.Normalisation(**configuration["normalisation"])(crops))
    return logits.float().mean(0).softmax(0).tolist()


def table(answers, top):
    width = max(len(answer["file"]) for answer in answers)
    lines = []
    for answer in answers:
        if "error" in answer:
            lines.append(f"{answer['file']:{width}}  could not be read: {answer['error']}")
            continue
        best = list(answer["genres"].items())[:top]
        lines.append(f"{answer['file']:{width}}  " + "  ".join(f"{genre} {p:.0%}" for genre, p in best))
    return "\n".join(lines)


if __name__ == "__main__":
    utils.run(main, get_args_parser())
