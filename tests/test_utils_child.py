"""Child processes end with the program that started them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.script_runs import ROOT

PROGRAM = """
from utils.child import Child
child = Child()
child.start("import time; time.sleep(30)")
print(child.process.pid, flush=True)
"""


def test_no_child_is_left_when_the_program_ends():
    """Not even one that nobody has closed and that does not look whether its parent lives."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 and not Path(f"/proc/{done.stdout.strip()}").exists()
