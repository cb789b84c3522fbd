"""The rules of docs/design.md that a machine can check."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FIXED_NAMES = [
    "models/nonlocal_model", "configs", "datareader", "metrics", "train.py", "eval.py", "predict.py", "run.sh",
    "data/dataset/nonlocal",
]  # fmt: skip
PACKAGES = {
    "clusters", "configs", "datareader", "inference", "metrics", "models", "serving", "tasks", "tools", "training",
    "utils", "weights",
}  # fmt: skip
MAY_IMPORT = {
    "clusters": {"configs", "datareader", "inference", "utils"},
    "configs": {"models", "utils"},  # models: the table of families only, when a file is loaded
    "datareader": {"configs", "utils"},
    "metrics": {"configs", "utils"},
    "models": {"configs", "utils"},
    "weights": {"configs", "models", "utils"},
    "inference": {"configs", "datareader", "models", "tasks", "weights", "utils"},
    "serving": {"configs", "datareader", "inference", "models", "tasks", "weights", "utils"},
    "tasks": {"configs", "metrics", "utils"},
    "training": {"configs", "datareader", "models", "tasks", "weights", "utils"},
    "utils": set(),
}


def imported_packages(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {name.split(".")[0] for name in names} & PACKAGES


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_folder_imports_only_what_the_design_lets_it(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        assert imported_packages(path) <= MAY_IMPORT[package] | {package}, path


def test_nothing_outside_tools_imports_tools():
    for path in [*ROOT.glob("*.py"), *ROOT.glob("data/**/*.py")]:
        assert "tools" not in imported_packages(path), path


def test_only_the_script_imports_the_server():
    paths = [*ROOT.glob("*.py"), *(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))]
    users = {path.relative_to(ROOT).parts[0] for path in paths if "serving" in imported_packages(path)}
    assert users <= {"serving", "serve.py", "tools"}


def test_the_names_that_users_of_the_zoo_know_exist():
    assert [name for name in FIXED_NAMES if not (ROOT / name).exists()] == []


def project_modules() -> dict[str, Path]:
    """Every module of the program by its full name."""
    files = [*ROOT.glob("*.py"), *(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))]
    names = {path: path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for path in files}
    return {name.removesuffix(".__init__"): path for path, name in names.items()}


def imported_at_once(path: Path, modules: dict[str, Path]) -> set[str]:
    """The project's modules that are run when this one is imported (not those of TYPE_CHECKING or of functions)."""
    found: set[str] = set()
    waiting = list(ast.parse(path.read_text(encoding="utf-8")).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in modules else node.module or "" for name in whole}
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            waiting += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
    return found & modules.keys()


def test_no_module_imports_itself_by_way_of_others():
    modules = project_modules()
    left = {name: imported_at_once(path, modules) for name, path in modules.items()}
    while leaves := [name for name, imports in left.items() if not imports & left.keys()]:
        for name in leaves:
            del left[name]
    assert {name: sorted(imports & left.keys()) for name, imports in left.items()} == {}


def test_decoding_is_reached_by_its_door_alone():
    """And it imports nothing of the reader's upper files."""
    modules = project_modules()
    inside = {name for name in modules if name.startswith("datareader.decoding.")}
    assert inside
    for name, path in modules.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        imports = {node.module for node in nodes} | {f"{node.module}.{a.name}" for node in nodes for a in node.names}
        if name in inside or name == "datareader.decoding":
            upper = {module for module in imports & modules.keys() if module.startswith("datareader")}
            assert upper <= inside | {"datareader.decoding"}, path
        else:
            assert not imports & inside, path
