"""Make of an experiment the model that ships with the suite: what predict.py uses where no --exp_path is given.

    python -m benchmarks.ship --exp_path 154874 --transfer fma_small_coarse_linear --listen path/to/gtzan

Writes an ordinary experiment folder with what predicting needs and nothing else: configuration.json, the weights
(matrices in half precision), the classifier's result.json, and CARD.md, whose every number comes from these files.
--listen FOLDER also asks it about music of FOLDER/<genre>/<file>, as far as those genres have a counterpart.
"""

import contextlib
import re
import tempfile
from pathlib import Path

import utils

MAX_BYTES = 5_000_000
TITLE = "# The model that ships\n"
EXPECTED = {  # genre of a --listen folder → what FMA would most likely call it
    "hiphop": "Hip-Hop", "rock": "Rock", "metal": "Rock", "pop": "Pop", "classical": "Instrumental",
    "country": "Folk",
}  # fmt: skip
OURS = r"CARD\.md|configuration\.json|pre\.pth|heard\.json|note\.txt"
HERE = {"data_dir": "data", "exp_dir": "exp", "exp_path": "ID", "resume": None}  # flags that name places, as defaults


def get_args_parser():
    parser = utils.script_parser(__doc__)
    parser.add_argument("--exp_path", required=True, help="experiment: its id under --exp_dir, or its path")
    parser.add_argument("--exp_dir", default="exp", help="folder of the experiments")
    parser.add_argument("--transfer", required=True, help="name of the classifier's folder in the experiment")
    parser.add_argument(
        "--listen", metavar="FOLDER",
        help=f"<genre>/<audio file> to ask it about, of the genres {', '.join(EXPECTED)}; the card tells how many "
        "are answered as expected",
    )  # fmt: skip
    parser.add_argument("--note", metavar="TEXT", help="what no file says, for the card: how this one was chosen")
    parser.add_argument("--out", default=str(utils.SHIPPED), help="folder to make, or to make anew")
    return parser


if __name__ == "__main__":  # --help and wrong flags are answered before what takes seconds to import
    utils.answer_first(get_args_parser())

from data.logmel import SUFFIXES
from evaluation import results, statistics, tables
from training.experiment import Experiment
from training.networks import Network, check_digest


def main(args):
    utils.check_name("--transfer", args.transfer)
    experiment = Experiment.open(args.exp_path, args.exp_dir)
    result = results.read(experiment.folder / args.transfer)
    check_digest(result.folder / "transfer.pth", result.weights)
    check_digest(experiment.folder / "pre.pth", result.network["pretrained"])
    out = Path(args.out).resolve()
    with utils.locked(out):
        check_replaceable(out, experiment.folder.resolve())
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".") as parent:
            made, before = Path(parent) / "made", Path(parent) / "before"
            with said_of(experiment.folder):
                copy(experiment, result, made)
            size = sum(file.stat().st_size for file in made.rglob("*") if file.is_file())
            if size > MAX_BYTES:
                raise utils.UserError(f"{size / 1e6:.1f} MB are too much to ship, {MAX_BYTES / 1e6:g} are allowed")
            heard = listen(made, Path(args.listen)) if args.listen else {}
            if heard:
                utils.write_json(made / "heard.json", heard)
            if args.note:
                utils.write_text(made / "note.txt", args.note + "\n")
            with said_of(experiment.folder):
                utils.write_text(made / "CARD.md", card(made))
            exchange(out, before, made)
    print(out / "CARD.md")


@contextlib.contextmanager
def said_of(folder):
    """What is missing or no such thing in a file of ``folder`` becomes a :class:`utils.UserError`."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        what = f"configuration.json or result.json is not as it was written ({type(error).__name__}: {error})"
        raise utils.UserError(f"{folder}: {what}") from None


def exchange(out, before, made):
    """``made`` takes the place of ``out``, which goes to ``before``, or stays where that fails."""
    if out.exists():
        out.rename(before)
    try:
        made.rename(out)
    except BaseException:
        if before.exists():
            before.rename(out)
        raise


def check_replaceable(out, source):
    """Raises :class:`utils.UserError` where ``out`` holds anything that this command has not written there."""
    if out == source or out in source.parents or source in out.parents:
        raise utils.UserError(f"--out {out} would replace the experiment it is made of: choose another folder")
    there = [path.relative_to(out).as_posix() for path in out.rglob("*") if not path.is_dir()]
    others = [name for name in there if not re.fullmatch(r"[^/]+/(result\.json|transfer\.pth)|" + OURS, name)]
    complete = {"CARD.md", "configuration.json"} <= set(there)
    ours = complete and (out / "CARD.md").read_bytes().startswith(TITLE.encode())
    if out.exists() and (not out.is_dir() or others or not ours):
        raise utils.UserError(f"--out {out} is there and is no model that this command made: choose another folder")


# ------------------------------------------------------------------ what is copied


def copy(experiment, result, to):
    """configuration.json, weights and result.json; pre.pth where transfer.pth does not hold all weights."""
    transfer = result.folder.name
    whole = Network(**result.network).saved_whole
    for file in [f"{transfer}/transfer.pth"] + ([] if whole else ["pre.pth"]):
        utils.save_weights(to / file, in_half(utils.load_weights(experiment.folder / file)))
    configuration = utils.read_json(experiment.folder / "configuration.json")
    utils.write_json(to / "configuration.json", without_places(configuration))
    content = without_places(utils.read_json(result.folder / "result.json"))
    content["weights"] = utils.digest(to / transfer / "transfer.pth")  # they are other files now
    content["network"]["pretrained"] = None if whole else utils.digest(to / "pre.pth")
    utils.write_json(to / transfer / "result.json", content)


def in_half(state):
    """Matrices as float16; vectors, among them the variances of BatchNorm, stay as they are."""
    return {name: x.half() if x.is_floating_point() and x.ndim > 1 else x for name, x in state.items()}


def without_places(content):
    """A configuration or a result whose flags and command name no folder of the machine it was made on."""
    flags = {name: HERE.get(name, value) for name, value in content["flags"].items()}
    script, *words = content["versions"]["command"].split(" ")
    command = re.sub(r" --(data_dir|exp_dir)[ =]\S+", "", " ".join(["", *words]))
    command = "python " + Path(script).name + re.sub(r" --exp_path[ =]\S+", " --exp_path ID", command)
    return {**content, "flags": flags, "versions": {**content["versions"], "command": command}}


# ------------------------------------------------------------------ what it says of other music


def listen(experiment, folder):
    """{genre: {"expected": genre of the classifier, "right": number, "of": number}}, by predict.py.

    Raises :class:`utils.UserError` where there is no file of a known genre.
    """
    heard = {}
    for genre, expected in EXPECTED.items():
        found = (path for path in (folder / genre).glob("*") if path.is_file())
        files = sorted(path for path in found if path.suffix.lower() in SUFFIXES)
        if not files:
            continue
        with tempfile.TemporaryDirectory() as there:
            truth = Path(there) / "truth.csv"
            utils.write_csv(truth, ["track_id", "genre_top"], [[file.stem, expected] for file in files])
            said = utils.call("predict.py", "--exp_path", experiment, "--truth", truth, *files)
        right, of = map(int, re.match(r"(\d+) of (\d+) right", said).groups())
        names = [file.name for file in files]
        heard[genre] = {"expected": expected, "right": right, "of": of, "files": names}
    if not heard:
        raise utils.UserError(f"--listen {folder} has none of the folders {', '.join(EXPECTED)} with files in it")
    return heard


# ------------------------------------------------------------------ the card


def commits_of(*made):
    """Of what was made, each once, in their order."""
    return dict.fromkeys(one.versions.get("git_commit") or "?" for one in made)


def card(folder):
    """The text of CARD.md; every number in it is from the files in ``folder``."""
    experiment = Experiment.read(folder)
    note = folder / "note.txt"
    (result,) = (results.read(file.parent) for file in folder.glob("*/result.json"))
    return CARD.format(
        network=f"{result.network['method']} {result.network['backbone']}", protocol=result.protocol,
        layer=result.network["layer"],
        n_train=result.n_train, learned_from=result.train_split.replace("+", " and "),
        dataset=result.dataset, about=ABOUT.get(result.dataset, ""),
        genres=", ".join(result.genres), num_genres=len(result.genres),
        sample_rate=experiment.settings.sample_rate, seconds=experiment.settings.seconds_in(1),
        window=1000 * experiment.settings.n_fft / experiment.settings.sample_rate,
        commits=" and ".join(commits_of(experiment, result)),
        note=note.read_text(encoding="utf-8").strip() if note.is_file() else "",
        crop=result.crop_seconds,
        pretrain=experiment.versions["command"], transfer=result.versions["command"], name=result.folder.name,
        figures=figures(result), genre_table=genre_table(result), heard=heard_of(folder / "heard.json"),
        listen=" --listen GTZAN" if (folder / "heard.json").is_file() else "",
        calibration=tables.number(result.metrics["calibration_error"], times=100, digits=0),
    )  # fmt: skip


def figures(result):
    numbers = result.metrics
    accuracy = tables.with_interval(numbers["accuracy"], numbers["accuracy_ci95"])
    return (
        f"Accuracy on the {numbers['n_test']} {result.test_split} tracks: **{accuracy}** (95 % interval over the "
        f"{numbers.get('resampled', 'tracks')}), macro-F1 {numbers['macro_f1']:.3f}; "
        f"chance is {1 / len(result.genres):.3f}."
    )


def genre_table(result):
    rows = [
        [genre, str(row["support"]), tables.number(row["recall"], 2), tables.number(row["precision"], 2)]
        for genre, row in result.metrics["per_genre"].items()
    ]
    return tables.markdown(["genre", "tracks", "of these found", "right when it says so"], rows, "lrrr")


def heard_of(file):
    if not file.is_file():
        return "Not measured."
    heard = utils.read_json(file)
    rows = [[genre, row["expected"], f"{row['right']} of {row['of']}"] for genre, row in heard.items()]
    right, of = (sum(row[key] for row in heard.values()) for key in ("right", "of"))
    low, high = statistics.share_interval(right, of)
    rows.append(["all", "", f"{right} of {of} [{low:.2f}, {high:.2f}]"])
    return f"{HEARD}\n\n{tables.markdown(['music', 'expected', 'answered so [95 %]'], rows, 'llr')}"


HEARD = """\
Clips of another collection, GTZAN (Tzanetakis & Cook 2002), under the name that FMA would most likely give to their
genre. Genres without a counterpart (jazz, blues, reggae, disco) are left out. The clips end at 11 kHz, see below. The
interval takes each clip for one of its own, though several may be of one artist."""


ABOUT = {  # what no file says of a dataset
    "fma_small_coarse": """
They are of FMA-small (Defferrard et al. 2017), under their artists' Creative Commons terms. What is called the
test split is FMA's own validation split; earlier recipes were tested on it, too. FMA's own test split has no part
in this.""",
}


CARD = TITLE + """\

`python predict.py song.mp3` uses it: a network pre-trained without labels ({network}) and a classifier
({protocol}, on `{layer}`) of {num_genres} genres: {genres}.
Weights and figures only, no music.

## Data

`{dataset}`: log-mel spectrograms at {sample_rate} Hz, windows of {window:.0f} ms, one every {seconds:.2f} s,
in dB relative to the loudest moment of each 30 s clip. The network was pre-trained on the training tracks without
their labels, the classifier learned from {n_train} {learned_from} tracks.{about}

## Made by

```sh
{pretrain}
{transfer}
python -m benchmarks.ship --exp_path ID --transfer {name}{listen}
```

Made at commit {commits}; later ones round otherwise. The figures were measured before the matrices
were stored in half precision.
{note}

## How often it is right

{figures}

{genre_table}

## Other people's music

{heard}

## What it cannot do

- It knows {num_genres} genres and always names one of them. They are what the artists called their own music.
- Its percentages are only roughly probabilities: that of the likeliest genre is off by {calibration}
  points on average (expected calibration error, 15 bins, on the test tracks).
- It hears windows of {window:.0f} ms, one every {seconds:.2f} s, each nearly alone: hardly rhythm or melody.
- A file whose sample rate is below {sample_rate} Hz lacks the upper bands. predict.py continues them from those
  below, which is a guess. A file that was converted upwards from a lower rate does not show that it lacks them,
  and is taken for dull music.
- It was trained and tested on clips of 30 s. Long files are heard in pieces of {crop:.0f} s; of shorter ones nothing
  was measured but the clips above, where they are short.
- predict.py makes its own spectrograms, the arrays above were made by another program: nearly the same, not quite.
- It is for looking at collections and for research, not for deciding about anybody's music. The weights are under the
  licence of the code; the licences of the tracks, some of them non-commercial, are their artists'.
"""


if __name__ == "__main__":
    utils.run(main, get_args_parser())
