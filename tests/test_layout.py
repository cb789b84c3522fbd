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
    "configs", "datareader", "inference", "metrics", "models", "tasks", "tools", "training", "utils", "weights",
}  # fmt: skip
MAY_IMPORT = {
    "configs": {"models", "utils"},  # models: the table of families only, when a file is loaded
    "datareader": {"configs", "utils"},
    "metrics": {"configs", "utils"},
    "models": {"configs", "utils"},
    "weights": {"configs", "models", "utils"},
    "inference": {"configs", "datareader", "models", "tasks", "weights", "utils"},
    "training": {"configs", "datareader", "metrics", "models", "tasks", "weights", "utils"},
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


def test_the_names_that_users_of_the_zoo_know_exist():
    assert [name for name in FIXED_NAMES if not (ROOT / name).exists()] == []
