"""Break the program in one place at a time and see whether its tests notice.

python tools/mutate.py                      # every entry of tests/mutants.json, an hour or two
python tools/mutate.py --only norms         # those with this word in the name

An entry has a name, a file, `old` (text that occurs in it exactly once), `new` in its place, and the tests that should
fail then. Tests run in a copy of the working tree. Ends with status 1 when a mutant survives or its text has moved.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from utils.cli import positive_int, run  # noqa: E402 - the tool is started as a file
from utils.errors import RunError, UserError  # noqa: E402

TESTS_FAILED = 1  # pytest's exit status; others mean that no test ran


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("list", nargs="?", default=str(ROOT / "tests/mutants.json"), help="default: %(default)s")
    parser.add_argument("--only", default="", help="mutants with this word in the name")
    parser.add_argument("--limit_s", type=positive_int, default=900, help="seconds for one; then it counts as noticed")
    args = parser.parse_args()
    mutants = [mutant for mutant in read_list(Path(args.list)) if args.only in mutant["name"]]
    verdicts = []
    with tempfile.TemporaryDirectory() as folder:
        copy_tree(Path(folder))
        for mutant in mutants:
            verdicts.append(verdict(mutant, Path(folder), args.limit_s))
            print(f"{verdicts[-1]:8} | {mutant['name']} | {mutant['file']}", flush=True)
    print(f"{len(verdicts)} mutants: {', '.join(f'{verdicts.count(word)} {word}' for word in sorted(set(verdicts)))}")
    if set(verdicts) - {"noticed"}:
        raise RunError("some mutants were not noticed")


def read_list(path: Path) -> list[dict]:
    """The entries of a list; UserError when it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a list of mutants ({error})") from error


def copy_tree(folder: Path) -> None:
    """The files that git knows, as they are in the working tree."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def verdict(mutant: dict, folder: Path, limit_seconds: int) -> str:
    """`noticed`, `SURVIVED`, or `MOVED` when the text to change does not occur exactly once."""
    file = folder / mutant["file"]
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    if text.count(mutant["old"]) != 1:
        return "MOVED"
    file.write_text(text.replace(mutant["old"], mutant["new"]), encoding="utf-8")
    command = [sys.executable, "-B", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-o",
               "addopts=", *mutant["tests"]]  # fmt: skip
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, timeout=limit_seconds, env={**os.environ, "PYTHONPATH": ""}
        )
        return "noticed" if done.returncode == TESTS_FAILED else "SURVIVED"
    except subprocess.TimeoutExpired:
        return "noticed"
    finally:
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    run(main)
