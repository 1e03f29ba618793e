"""Write a trained network for other programs: audio in, features and genres out, as ONNX and as torch.export.

    python export.py                                                        the model that ships with this suite
    python export.py --exp_path 154874 --transfer fma_small_linear --out genres

The folder <out> holds model.onnx, model.pt2, model.json (sample rate, inputs, outputs, genres, settings) and a
README.md that shows how they are used. The log-mel is made inside, so nothing has to be set up again; audio has to
come at the sample rate that model.json names. The genres are those of a classifier of the experiment, as in
predict.py; where it has none yet, the features of the pre-trained network are the only output.
"""

import importlib.util
import io
import tempfile
import textwrap
import warnings
from pathlib import Path

import utils

PACKAGES = ("onnx", "onnxscript")
README = """# {experiment}

{text}

`model.json` says all this to programs. `model.onnx` and `model.pt2` are the same network:

```python
import onnxruntime
network = onnxruntime.InferenceSession("model.onnx")
{outputs} = network.run(None, {{"waveform": audio}})
```

```python
import torch
network = torch.export.load("model.pt2").module()
{outputs} = network(torch.from_numpy(audio))
```
"""


def get_args_parser():
    parser = utils.script_parser(__doc__)
    parser.add_argument(
        "--exp_path", default=str(utils.SHIPPED),
        help="experiment: its id under --exp_dir, or its path; without it the model that ships is written",
    )  # fmt: skip
    parser.add_argument("--exp_dir", default="exp", help="folder of the experiments")
    parser.add_argument(
        "--transfer",
        help="name of the classifier's folder in the experiment (default: the best on validation, and no baseline "
        "where there is another)",
    )
    parser.add_argument("--out", help="folder to make (default: exported/<experiment>); nothing is overwritten")
    return parser


if __name__ == "__main__":  # --help and wrong flags are answered before what takes seconds to import
    utils.answer_first(get_args_parser())

import torch

from data import logmel
from evaluation import results
from models.layers import num_features
from training import waveform
from training.experiment import Experiment


def main(args):
    missing = [name for name in PACKAGES if not importlib.util.find_spec(name)]
    if missing:
        raise utils.UserError(f"{' and '.join(missing)} missing: pip install -r requirements-optional.txt")
    experiment = Experiment.open(args.exp_path, args.exp_dir)
    out = Path(args.out or Path("exported") / experiment.folder.resolve().name)
    if out.exists():
        raise utils.UserError(f"--out {out} is there already: choose another folder, or remove it")
    result, network = choose(experiment, args.transfer)
    facts = describe(experiment, result, network)
    print(f"writing {result.name if result else experiment.folder}, half a minute or so", flush=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".") as parent:
        made = Path(parent) / "made"
        utils.write_json(made / "model.json", facts)
        utils.write_text(made / "README.md", readme(facts))
        write(network, facts, made)
        made.rename(out)
    print(out / "model.json")


def choose(experiment, name):
    """(result or None, :class:`training.waveform.FromWaveform`) of an experiment. Raises :class:`utils.UserError`."""
    if name or any(experiment.folder.glob("*/result.json")):
        result = results.choose(experiment.folder, name)
        return result, waveform.classifying(experiment, result)
    return None, waveform.pretrained(experiment)


# ------------------------------------------------------------------ what is written


def describe(experiment, result, network):
    """The content of model.json."""
    settings = experiment.settings
    outputs = {"features": {"shape": ["batch", num_features(network.network)], "dtype": "float32"}}
    if result:
        genres = result.genres
        outputs["probabilities"] = {"shape": ["batch", len(genres)], "dtype": "float32", "genres": genres}
    least = max(round(logmel.LEAST_SECONDS * settings.sample_rate), settings.hop_length)
    return {
        "experiment": experiment.folder.resolve().name,
        "transfer": result and result.folder.name,
        "sample_rate": settings.sample_rate,
        "least_samples": least,
        "inputs": {"waveform": {"shape": ["batch", "samples"], "dtype": "float32", "range": [-1, 1]}},
        "outputs": outputs,
        "hears": hears(network),
        "num_crops": network.num_crops,
        "crop_seconds": network.num_frames and settings.seconds_in(network.num_frames),
        "spectrogram": settings.to_json(),
        "torch": torch.__version__,
    }


def hears(network):
    """In words, how much of a clip the network is shown."""
    if network.num_frames is None:
        return "all of a clip at once"
    seconds = network.settings.seconds_in(network.num_frames)
    if network.num_crops > 1:
        return f"{network.num_crops} crops of {seconds:.1f} s, spread evenly over a clip; a shorter one is repeated"
    return (
        f"{seconds:.1f} s in the middle of a clip; a shorter one is repeated. Cut a longer one into pieces of about "
        "that length, and average the logarithms of their answers"
    )


def readme(facts):
    """What model.json says, for people."""
    names = list(facts["outputs"])
    answers = [f"{facts['outputs']['features']['shape'][1]} features"]
    if "probabilities" in names:
        answers.append(f"the probabilities of {', '.join(facts['outputs']['probabilities']['genres'])}")
    text = (
        f"It takes mono audio, float32 from −1 to 1, at {facts['sample_rate']} Hz, as (batch, samples), of any "
        f"number and any length from {facts['least_samples']} samples on, and answers with {' and '.join(answers)}. "
        f"It hears {facts['hears']}. Each clip is measured against its own loudest moment. What was recorded at a "
        "lower sample rate lacks the upper bands, and is taken for dull music."
    )
    text = textwrap.fill(text, 110, break_on_hyphens=False)
    outputs = ", ".join(names) if len(names) > 1 else f"{names[0]},"
    return README.format(experiment=facts["experiment"], text=text, outputs=outputs)


@torch.no_grad()
def write(network, facts, folder):
    """model.pt2 and model.onnx of a :class:`training.waveform.FromWaveform`, for any batch and length."""
    clips = torch.randn(2, 3 * facts["least_samples"])
    network(clips)  # filters and normalisation are cached now, as numbers; the tracer's would stay in the cache
    dynamic = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch says of itself
        program = torch.export.export(network, (clips,), dynamic_shapes={"waveform": dynamic})
        whole = io.BytesIO()  # the writer of files aborts where a disk is full
        torch.export.save(program, whole)
        (folder / "model.pt2").write_bytes(whole.getbuffer())
        names = {"input_names": list(facts["inputs"]), "output_names": list(facts["outputs"])}
        torch.onnx.export(program, **names, dynamo=True, verbose=False).save(folder / "model.onnx")


if __name__ == "__main__":
    utils.run(main, get_args_parser())
