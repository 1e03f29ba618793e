"""Every flag that is a number knows its range: nonsense ends in one sentence, and a flag without a range is found."""

import ast
import importlib
import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import utils

ROOT = Path(__file__).resolve().parents[2]
INSIDE = {  # what each type takes, and what it refuses
    utils.count: (["1", "1000000000"], ["0", "1000000001", "1.5"]),
    utils.whole: (["0", "1000000000"], ["-1", "1000000001", "1.5"]),
    utils.positive: (["1e-9", "1e30"], ["0", "-0.1", "1.1e30"]),
    utils.not_negative: (["0", "1e6"], ["-1e-9", "1000001"]),
    utils.share: (["0", "1"], ["-0.1", "1.1"]),
    utils.part: (["0", "0.99"], ["-0.1", "1"]),
    utils.fraction: (["0.01", "1"], ["0", "1.1"]),
    utils.fractions: (["1", "0.01,1"], ["0.1,0", "0.1,"]),
    utils.seconds: (["0.1", "3600"], ["0", "3601"]),
    utils.counts: (["1", "3,2"], ["3,0", "3,,2", "3.5"]),
    utils.parts: (["0", "0.5,0.25"], ["0.5,1", "0.5,"]),
}
NONSENSE = ["nan", "inf", "-inf", "-1", "1e309", "9" * 5000, "", " ", "x", "0x10", "1,nan", "½", "\n"]
DEVICES = ["mps:7", "meta", "cuda:64", "cuda:-1", "quantum", "", "cpu:3"]


def has_parser(path):
    """Whether the file is a script."""
    names = (getattr(node, "name", None) for node in ast.parse(path.read_text(encoding="utf-8")).body)
    return "get_args_parser" in names


SCRIPTS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in [*ROOT.glob("*.py"), *ROOT.glob("*/*.py")]
    if path.parent.name != "tests" and has_parser(path)
)
every_script = pytest.mark.parametrize("script", SCRIPTS)


def parser_of(script):
    return importlib.import_module(script).get_args_parser()


def numbers_of(parser):
    """(type, name) of every flag that is a number, none of which is required here."""
    for one in [*parser._actions, *parser._mutually_exclusive_groups]:
        one.required = False
    return [(action.type, action.option_strings[0]) for action in parser._actions if action.type in INSIDE]


def refusal(parser, name, text, capsys):
    """The last line that argparse prints of a value, or None where it is taken."""
    code = None
    try:
        parser.parse_known_args([f"{name}={text}"])
    except SystemExit as end:
        code = end.code
    assert code in (None, 2)
    return capsys.readouterr().err.splitlines()[-1] if code else None


def test_the_scripts_are_found():
    assert {"train_simsiam", "transfer", "preprocessing", "benchmarks.recipe", "data.synthetic"} < {*SCRIPTS}


@every_script
def test_every_number_has_a_range(script):
    for action in parser_of(script)._actions:
        name = "/".join(action.option_strings) or action.dest
        known = {None, utils.device, utils.flags, utils.genre_flags, utils.validation_flags, *INSIDE}
        one_text = name.endswith("_flags")  # of another script: narrower kinds of utils.flags
        assert action.type in known or one_text, f"{name} takes any {action.type.__name__}"
        assert action.type or not re.fullmatch(r"[-\d.,e]+", str(action.default)), f"{name} has no range"
        assert (name == "--device") == (action.type is utils.device)


@pytest.mark.parametrize("kind", INSIDE, ids=lambda kind: kind.__name__)
def test_the_ends_of_a_range(kind):
    good, bad = INSIDE[kind]
    for text in good:
        assert np.isfinite(kind(text)).all()
    for text in bad:
        with pytest.raises(utils.argparse.ArgumentTypeError, match=r"^'.*' is not a "):
            kind(text)


@every_script
def test_nonsense_is_refused_in_one_sentence(script, capsys):
    parser = parser_of(script)
    for (_, name), text in itertools.product(numbers_of(parser), NONSENSE):
        said = refusal(parser, name, text, capsys)
        assert said, f"{name} takes {text!r}"
        assert re.search(rf"error: argument {name}: '.*' is not a ", said)


@every_script
def test_whatever_is_taken_is_in_range(script, capsys):
    """Numbers of every size, at random."""
    chance, parser = np.random.default_rng(0), parser_of(script)
    for kind, name in numbers_of(parser):
        for exponent in chance.uniform(-330, 330, 10):
            text = f"{chance.choice(['', '-'])}{chance.uniform(1, 10):.3f}e{exponent:.0f}"
            assert refusal(parser, name, text, capsys) or 0 <= np.min(kind(text)) <= np.max(kind(text)) <= 1e30


@pytest.mark.parametrize("name", DEVICES)
def test_a_device_that_is_not_there_is_refused(name, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    with pytest.raises(utils.argparse.ArgumentTypeError, match="use "):
        utils.device(name)


def test_a_device_that_is_there_is_taken(monkeypatch):
    assert [utils.device(name) for name in ("auto", "cpu")] == ["auto", "cpu"]
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    assert [utils.device(name) for name in ("cuda", "cuda:1")] == ["cuda", "cuda:1"]
