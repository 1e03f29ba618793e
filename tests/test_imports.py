"""The import rule: scripts → {models, augment, data, evaluation} → utils, and nothing across."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("models", "augment", "data", "evaluation")
SCRIPTS = sorted(path.stem for path in ROOT.glob("*.py") if path.stem != "utils")
MODULES = sorted([*ROOT.glob("*.py"), *(path for room in ROOMS for path in (ROOT / room).glob("*.py"))])


def names_imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert all(alias.name != "*" for alias in node.names), f"{path}: star import"
            yield node.module


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_rule(path):
    ours = {name.split(".")[0] for name in names_imported(path)} & {*ROOMS, *SCRIPTS, "utils"}
    room = path.parent.name if path.parent != ROOT else None
    if path.stem == "utils" and room is None:
        allowed = set()
    elif room:
        allowed = {room, "utils"}
    else:
        allowed = {*ROOMS, "utils"}
    assert ours <= allowed, f"{path.name} imports {sorted(ours - allowed)}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_runs_at_import(path):
    """Only definitions, constants, imports and the main guard stand at the top level."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.If)
        assert is_docstring or isinstance(node, kinds), f"{path.name}:{node.lineno}"
        if isinstance(node, ast.If):
            assert "__name__" in ast.unparse(node.test)


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_have_parser_and_main(name):
    tree = ast.parse((ROOT / f"{name}.py").read_text(encoding="utf-8"))
    assert {"get_args_parser", "main"} <= {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
