"""The house: which room may import which, what stays free of torch, and that the map is true."""

import ast
import dataclasses
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from common import cli

DOORS = ("generate", "train", "evaluate", "pareto")
ROOMS = [  # an arrow points from a row to any row below it, or within a row
    {"study"},
    {"sweep"},
    set(DOORS),
    {"training", "engine", "scoring", "analysis"},
    {"data", "model"},
    {"kernels"},
    {"flops"},
    {"config"},
    {"common"},
]
FOLDERS = (
    "analysis",
    "bench",
    "common",
    "data",
    "engine",
    "kernels",
    "scoring",
    "sweep",
    "training",
)
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
TORCH_FREE = (
    "flops", "config", "pareto", "analysis.figures", "analysis.published", "analysis.report",
    "scoring", "scoring.jury", "scoring.scoreboard", "data.benchmarks", "data.items", "data.pairs",
    "data.teacher", "data.prompts", "data.answers", "common.cli", "common.files", "common.hub",
)  # fmt: skip


def modules(root: Path) -> dict[str, Path]:
    """{dotted name: file} of the project's modules, tests left out."""
    files = [*root.glob("*.py"), *(f for d in FOLDERS for f in (root / d).rglob("*.py"))]
    names = {".".join(f.relative_to(root).with_suffix("").parts): f for f in files}
    return {name.removesuffix(".__init__"): file for name, file in names.items()}


def imports(file: Path, known) -> set[tuple[str, bool]]:
    """(module of ours that is imported, whether at the top level) of a file."""
    tree, found = ast.parse(file.read_text(encoding="utf-8")), set()
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in known else node.module for name in names]
        found |= {(name, node in tree.body or in_if(node, tree)) for name in names if name in known}
    return found


def in_if(node, tree) -> bool:
    """Whether a node is in an `if` of the top level: an optional package."""
    return any(isinstance(block, ast.If) and node in block.body for block in tree.body)


def faults(root: Path) -> list[str]:
    """Arrows that point up, imports of ours inside functions, and circles."""
    known, wrong, arrows = modules(root), [], {}
    for name, file in known.items():
        arrows[name] = set()
        for target, is_top in sorted(imports(file, known)):
            arrows[name].add(target)
            room, other = name.split(".")[0], target.split(".")[0]
            if room in LEVEL and LEVEL.get(other, -1) < LEVEL[room]:
                wrong.append(f"{name} imports {target}, which stands above it")
            if not is_top and room != "bench":
                wrong.append(f"{name} imports {target} inside a function")
    return wrong + circles(arrows)


def circles(arrows: dict[str, set]) -> list[str]:
    """Modules that import each other, by any path. A package's own parts are below it."""
    left = dict(arrows)
    while leaves := [n for n, to in left.items() if not {t for t in to if t != n} & left.keys()]:
        left = {name: to for name, to in left.items() if name not in leaves}
    return [
        f"in a circle: {name} -> {', '.join(sorted(left[name] & left.keys()))}" for name in left
    ]


def test_every_arrow_points_down_and_there_is_no_circle():
    assert not faults(ROOT)


def test_a_circle_or_an_import_inside_a_function_is_found(tmp_path):
    for folder in FOLDERS:
        (tmp_path / folder).mkdir()
    (tmp_path / "common/cli.py").write_text("from common import files\n")
    (tmp_path / "common/files.py").write_text("from common.cli import flag\n")
    (tmp_path / "config.py").write_text("import train\n")
    (tmp_path / "train.py").write_text("def main():\n    from data import rows\n")
    (tmp_path / "data/rows.py").write_text("")
    wrong = "\n".join(faults(tmp_path))
    assert "in a circle: common.cli -> common.files" in wrong
    assert "config imports train, which stands above it" in wrong
    assert "train imports data.rows inside a function" in wrong


def test_the_root_has_the_doors_and_what_is_studied():
    names = {file.stem for file in ROOT.glob("*.py")}
    assert names == {"study", "model", "config", "flops", *DOORS}
    assert len([file for file in (ROOT / "common").glob("*.py") if file.stem != "__init__"]) == 4


def test_what_needs_no_torch_loads_none():
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, name + ' loads torch'"
    )
    command = [sys.executable, "-c", code, *TORCH_FREE]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("package", ["engine", "kernels", "scoring", "scoring.latex"])
def test_no_submodule_has_the_name_of_a_function_exported_beside_it(package):
    module = importlib.import_module(package)
    submodules = {part.name for part in pkgutil.iter_modules(module.__path__)}
    functions = {name for name, _ in inspect.getmembers(module, inspect.isroutine)}
    assert not submodules & functions


def test_the_readme_s_map_names_every_file_and_no_other():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    mapped = set(re.findall(r"^([\w/]+\.(?:py|csv))  +\S", text, re.MULTILINE))
    files = {f.relative_to(ROOT).as_posix() for f in modules(ROOT).values()}
    files = {f for f in files if (ROOT / f).stat().st_size and not f.startswith("bench/")}
    assert {f for f in files if not f.endswith("__init__.py")} <= mapped
    assert all((ROOT / f).is_file() for f in mapped)


@pytest.mark.parametrize("script", ["study", *DOORS, "flops", "data.pairs", "data.toy"])
def test_every_option_has_a_help_comment(script):
    options = importlib.import_module(script).Options
    comments = cli.documented(options)
    assert list(comments) == [field.name for field in dataclasses.fields(options)]
    assert [name for name, (_, comment) in comments.items() if not comment] == []
