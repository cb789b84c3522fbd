"""One script for several jobs: `python tools/SCRIPT.py NAME ...` calls main(argv) of tools/SCRIPT_NAME.py."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from utils.errors import UserError


def dispatch(script: str, doc: str, not_jobs: tuple[str, ...] = ()) -> None:
    """Call the job that the first argument names. Raises UserError, with the names there are, for another word."""
    files = Path(__file__).parent.glob(f"{script}_*.py")
    names = sorted({file.stem[len(script) + 1 :] for file in files} - set(not_jobs))
    if sys.argv[1:2] in ([], ["-h"], ["--help"]):
        print(f"{doc}\nnames: {', '.join(names)}")
        return
    name = sys.argv[1]
    if name not in names:
        raise UserError(f"{script}.py {name}: there are {', '.join(names)}")
    importlib.import_module(f"{script}_{name}").main(sys.argv[2:])
