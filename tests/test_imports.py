"""The import rule: utils ← {data, augment, models, evaluation} ← training ← scripts ← benchmarks, nothing across.

And that importing anything runs nothing: every script can be imported, tested and forked.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("data", "augment", "models", "evaluation")
SCRIPTS = sorted(path.stem for path in ROOT.glob("*.py") if path.stem != "utils")
OURS = {"utils", *ROOMS, "training", "benchmarks", *SCRIPTS}
MODULES = sorted([*ROOT.glob("*.py"), *(path for room in OURS for path in (ROOT / room).glob("**/*.py"))])
every_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))

# calls that may stand at the top level: each only makes a small object, and reads, writes and computes nothing
PURE = {
    "Augmentation", "Case", "Defaults", "Fraction", "Job", "LinearSegmentedColormap.from_list", "Path", "Protocol",
    "Size", "TABLE.splitlines", "dataclasses.field", "dict", "field", "frozenset", "lazily", "list", "math.log",
    "threading.Lock",
    "map(str.split, TABLE.splitlines())",
}  # fmt: skip
# a decorator is a call as well, with or without brackets: each of these only wraps what it stands on
DECORATORS = {
    "classmethod", "contextlib.contextmanager", "dataclass", "distributed.first_only", "functools.cache",
    "functools.cached_property", "functools.lru_cache", "property", "staticmethod", "torch.inference_mode",
    "torch.no_grad",
}  # fmt: skip


# ------------------------------------------------------------------ who imports whom


def allowed_in(place):
    """What a file may import of ours; ``place`` is its path from the root."""
    room = Path(place).parts[0]
    if room == "utils.py":
        return set()
    if room in ROOMS:
        return {room, "utils"}
    if room == "benchmarks":  # they measure the scripts, with what others of them have made
        return OURS
    return {*ROOMS, "training", "utils"}  # training itself and scripts


def faults_of_imports(source, place):
    """What a source text at ``place`` imports against the rule, as text."""
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
            if node.level:
                yield f"line {node.lineno}: relative import"
            if any(alias.name == "*" for alias in node.names):
                yield f"line {node.lineno}: star import"
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            names = [word.value for word in node.args[:1] if isinstance(word, ast.Constant)]
            if not names or names[0].startswith("."):
                yield f"line {node.lineno}: import of a name that is not written out"
        for name in names:
            if name.split(".")[0] in OURS - allowed_in(place):
                yield f"line {node.lineno}: {place} imports {name}"


@every_module
def test_imports_follow_the_rule(path):
    place = path.relative_to(ROOT).as_posix()
    assert not list(faults_of_imports(path.read_text(encoding="utf-8"), place))


@pytest.mark.parametrize(
    ("place", "source", "good"),
    [
        ("utils.py", "import json", True),
        ("utils.py", "import data", False),
        ("utils.py", "def f():\n    from models import heads", False),
        ("data/crops.py", "import utils\nfrom data import folder\nfrom data.folder import open_folder", True),
        ("data/crops.py", "from augment import audio", False),
        ("evaluation/plots.py", "import models.heads as heads", False),
        ("models/heads.py", "from training.task import Task", False),
        ("models/heads.py", "import transfer", False),
        ("data/deep/er.py", "import evaluation", False),
        ("training/task.py", "import augment, models\nfrom training.loop import train", True),
        ("training/task.py", "import transfer", False),
        ("training/task.py", "from benchmarks import augmentations", False),
        ("transfer.py", "from training import task\nfrom data import crops\nimport utils", True),
        ("transfer.py", "import train_simsiam", False),
        ("transfer.py", "def main(args):\n    from benchmarks import augmentations", False),
        ("benchmarks/augmentations.py", "import augment\nfrom training import loop\nimport utils", True),
        ("benchmarks/steps.py", "import train_simsiam\nfrom benchmarks import made_up", True),
        ("data/crops.py", "from . import folder", False),
        ("data/crops.py", "from data.folder import *", False),
        ("data/crops.py", "importlib.import_module('numpy')\n__import__('data.folder')", True),
        ("data/crops.py", "def f():\n    return importlib.import_module('models.heads')", False),
        ("data/crops.py", "from importlib import import_module\nimport_module('training')", False),
        ("data/crops.py", "__import__('augment')", False),
        ("transfer.py", "def f(name):\n    return importlib.import_module(name)", False),
        ("transfer.py", "importlib.import_module(f'data.{name}')", False),
        ("data/crops.py", "importlib.import_module(name='data.' + name)", False),
        ("data/crops.py", "importlib.import_module('.heads', 'models')", False),
    ],
)
def test_the_rule_itself(place, source, good):
    assert (not list(faults_of_imports(source, place))) == good


# ------------------------------------------------------------------ what runs at import


def runs_at_import(source):
    """The statements and calls that importing a source text would run, as text."""
    body = ast.parse(source).body
    yield from runs_in(body, at_the_top=True)


def runs_in(body, at_the_top=False):
    for number, node in enumerate(body):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from decorations(node)
            yield from calls_in([node.args, *filter(None, [node.returns])])  # defaults and annotations
        elif isinstance(node, ast.ClassDef):
            yield from decorations(node)
            yield from calls_in([*node.bases, *(word.value for word in node.keywords)])
            yield from runs_in(node.body)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            yield from calls_in([node])
        elif not (
            isinstance(node, (ast.Import, ast.ImportFrom, ast.Pass))
            or (number == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))  # docstring
            or (at_the_top and is_main_guard(node))
        ):
            yield f"line {node.lineno}: {ast.unparse(node)}"


def is_main_guard(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'" and not node.orelse


def decorations(node):
    """Decorators that are none of ``DECORATORS``, and calls in the brackets of those that are."""
    for one in node.decorator_list:
        name, inside = (one.func, [*one.args, *one.keywords]) if isinstance(one, ast.Call) else (one, [])
        if ast.unparse(name) not in DECORATORS:
            yield f"line {one.lineno}: @{ast.unparse(one)}"
        yield from calls_in(inside)


def calls_in(nodes):
    """Calls of what is not ``PURE``, but for those that wait inside of a lambda."""
    for node in nodes:
        if isinstance(node, ast.Lambda):
            yield from calls_in([node.args])
            continue
        if isinstance(node, ast.Call) and not PURE & {ast.unparse(node), ast.unparse(node.func)}:
            yield f"line {node.lineno}: {ast.unparse(node)}"
        yield from calls_in(ast.iter_child_nodes(node))


@every_module
def test_nothing_runs_at_import(path):
    assert not list(runs_at_import(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "source",
    [
        '"""What it is."""',
        "import json\nfrom pathlib import Path",
        "X = 1\nY: int = 2\nA, B = (1, 2), [X, *Z]\nTABLE = {'a': X * 2, **OTHER}\nNAME = f'{X}'",
        "ROOT = Path(__file__).parent / 'x'",
        "_ONE_AT_A_TIME = threading.Lock()",
        "MAP = LinearSegmentedColormap.from_list('blue', ['#fff', '#00f'])",
        "FAMILY = {'flip': Augmentation('a flip', 0.5, lambda x, on, setup: flip(x, on))}",
        "NAMES = frozenset({'a'})\nNEPER = math.log(10) / 10\nPAIRS = [x for x in (1, 2)]",
        "def f(x, y=3, *, z=(1, 2)):\n    return expensive(x)",
        "@functools.lru_cache(maxsize=8)\ndef f():\n    return expensive()",
        "@contextlib.contextmanager\ndef f(x: int | None, *args: str) -> list[int]:\n    yield expensive()",
        "class A:\n    @property\n    def f(self):\n        @anything\n        def g(): pass\n        return g",
        "@dataclass(frozen=True)\nclass A(B):\n    'Doc.'\n    x: dict = field(default_factory=dict)\n    y = 1",
        "class A:\n    def f(self):\n        return expensive()",
        "async def f():\n    await expensive()",
        "if __name__ == '__main__':\n    main()",
    ],
)
def test_what_may_stand_at_the_top(source):
    assert not list(runs_at_import(source))


@pytest.mark.parametrize(
    "source",
    [
        "X = expensive()",
        "X: int = expensive()",
        "X = 1 + [expensive()][0]",
        "X = {'a': [expensive() for _ in range(3)]}",
        "X = Path(find()).parent",
        "X = Path(__file__).read_text()",
        "X = torch.device('cuda').type",
        "X = f'{expensive()}'",
        "X = list(map(expensive, y))",
        "X[expensive()] = 1",
        "X = (lambda: 1)()",
        "expensive()",
        "torch.set_num_threads(1)",
        "X += 1",
        "del X",
        "assert X",
        "for x in y:\n    pass",
        "with open('x') as file:\n    pass",
        "try:\n    import x\nexcept ImportError:\n    x = None",
        "if X:\n    import x",
        "if __name__ == '__main__':\n    main()\nelse:\n    expensive()",
        "if __name__ != '__main__':\n    expensive()",
        "if __name__ == '__main__' or expensive():\n    main()",
        "X = 1\n'a string in the middle'\nexpensive",
        "def f(x=expensive()):\n    pass",
        "def f(*, x=expensive()):\n    pass",
        "@register(expensive())\ndef f():\n    pass",
        "@register\ndef f():\n    pass",
        "@register\nclass A:\n    pass",
        "@functools.lru_cache(maxsize=expensive())\ndef f():\n    pass",
        "@property\n@register\ndef f():\n    pass",
        "@(lambda f: expensive())\ndef f():\n    pass",
        "class A:\n    @register\n    def f(self):\n        pass",
        "def f(x: expensive()):\n    pass",
        "def f(*args: expensive(), y: int = 1):\n    pass",
        "def f() -> list[expensive()]:\n    pass",
        "class A:\n    async def f(self, *, x: expensive()):\n        pass",
        "class A:\n    x: expensive() = 1",
        "X = lambda x=expensive(): x",
        "class A:\n    x = expensive()",
        "class A:\n    expensive()",
        "class A(base()):\n    pass",
        "class A(metaclass=meta()):\n    pass",
        "class A:\n    def f(self, x=expensive()):\n        pass",
        "class A:\n    if __name__ == '__main__':\n        expensive()",
    ],
)
def test_what_may_not_stand_at_the_top(source):
    assert list(runs_at_import(source))


@every_module
def test_what_takes_a_second_to_import_waits_until_it_is_used(path):
    """So that a run begins soon; explorer.py, which one script imports, computes with it at once."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    names = {alias.name for node in body if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in body if isinstance(node, ast.ImportFrom)}
    assert path.stem == "explorer" or not {name for name in names if name.startswith(("sklearn", "scipy.stats"))}


# ------------------------------------------------------------------ scripts


RUN = [name for name in SCRIPTS if name != "hear_siamusic"]  # which others import


@pytest.mark.parametrize("name", [*RUN, "benchmarks/augmentations", "data/download", "data/synthetic"])
def test_scripts_have_parser_and_main(name):
    tree = ast.parse((ROOT / f"{name}.py").read_text(encoding="utf-8"))
    assert {"get_args_parser", "main"} <= {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert is_main_guard(tree.body[-1])
