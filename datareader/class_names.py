"""Names of the classes: a text file with a name a line, or the zoo's json."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from utils.errors import UserError


def class_key(name: str) -> str:
    """What two spellings of a class name share: underscores are spaces, letter case does not matter."""
    return " ".join(name.replace("_", " ").split()).casefold()


def read_class_names(path: str | os.PathLike, num_classes: int | None = None) -> list[str]:
    """The names in the order of their labels.

    A json file holds {name: label}, {label: name} or a list; a text file holds one name a line, in the labels' order,
    with or without the label (counted from 0 or 1) in front. Quotes around a name are dropped.

    Raises UserError for an unreadable file, labels that are not 0 .. n - 1, repeated names, and a count other than
    `num_classes`.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot read the class names {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"the class names {path} are not UTF-8 text") from error
    is_json = str(path).endswith(".json") or text.lstrip()[:1] in ("{", "[")
    names = _from_json(text, path) if is_json else _from_text(text)
    names = [name.strip().strip("\"'").strip() for name in names]
    seen: dict[str, int] = {}
    for label, name in enumerate(names):
        if not name:
            raise UserError(f"{path}: the name of class {label} is empty")
        if seen.setdefault(class_key(name), label) != label:
            raise UserError(f"{path}: classes {seen[class_key(name)]} and {label} are both called {name!r}")
    if num_classes is not None and len(names) != num_classes:
        raise UserError(f"{path} names {len(names)} classes, but MODEL.num_classes is {num_classes}")
    return names


def _from_text(text: str) -> list[str]:
    lines = [line.strip() for line in text.split("\n")]
    lines = [line for line in lines if line and not line.startswith("#")]
    numbered = [re.fullmatch(r"(\d+)[ \t]+(.+)", line) for line in lines]
    if lines and all(numbered):
        first = int(numbered[0][1])
        if first in (0, 1) and [int(match[1]) for match in numbered] == list(range(first, first + len(lines))):
            return [match[2] for match in numbered]
    return lines


def _from_json(text: str, path: str | os.PathLike) -> list[str]:
    try:
        content = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{path} is no json file: {error}") from error
    if isinstance(content, list) and all(isinstance(name, str) for name in content):
        return content
    pairs: list[tuple] = []
    if isinstance(content, dict) and all(isinstance(label, int) for label in content.values()):
        pairs = [(label, name) for name, label in content.items()]
    elif isinstance(content, dict) and all(isinstance(name, str) for name in content.values()):
        if all(re.fullmatch(r"\d{1,9}", label) for label in content):
            pairs = [(int(label), name) for label, name in content.items()]
        elif all(re.fullmatch(r"\d{1,9}", label) for label in content.values()):
            pairs = [(int(label), name) for name, label in content.items()]
    if not pairs:
        raise UserError(f"{path}: expected {{name: label}}, {{label: name}} or a list of names")
    labels = sorted(label for label, _ in pairs)
    if labels != list(range(len(pairs))):
        raise UserError(f"{path}: the labels are not 0 to {len(pairs) - 1}, each once")
    return [name for _, name in sorted(pairs)]
