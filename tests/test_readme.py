"""Every command of the README and of the docs is one that the scripts understand."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands():
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        pattern = r"(?:^|`|\| )\s*python3? ((?:-m \w+\.)?\w+(?:\.py)? ?[^`|\n#→]*)"
        for command in re.findall(pattern, text, flags=re.MULTILINE):
            if "--help" not in command and "-m venv" not in command:
                yield page.name, command.strip()


def test_there_are_commands():
    assert len(list(commands())) > 8


@pytest.mark.parametrize(("page", "command"), [pytest.param(*pair, id=pair[1][:60]) for pair in commands()])
def test_command_is_understood(page, command):
    name, *flags = shlex.split(command.removeprefix("-m "))
    parser = importlib.import_module(name.removesuffix(".py")).get_args_parser()
    if "…" not in command:
        parser.parse_args(flags)


def test_links_of_the_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(((?!https?:)[^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
