"""One script for several jobs: `python tools/SCRIPT.py NAME ...` calls main(argv) of the module NAME stands for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping

from utils.errors import UserError


def dispatch(script: str, doc: str, jobs: Mapping[str, str]) -> None:
    """Call the job that the first argument names. jobs: name -> module.

    Raises UserError, with the names there are, for another word.
    """
    if sys.argv[1:2] in ([], ["-h"], ["--help"]):
        print(f"{doc}\nnames: {', '.join(jobs)}")
        return
    name = sys.argv[1]
    if name not in jobs:
        raise UserError(f"{script}.py {name}: there are {', '.join(jobs)}")
    importlib.import_module(jobs[name]).main(sys.argv[2:])
