"""An array of Slurm jobs: each task computes its share of the parts with a worker of its own (--share).

Nothing but files passes between the tasks. Slurm starts a task again whose machine has died (--requeue).
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
from collections.abc import Sequence

from clusters.dataset import Monitor
from clusters.job import Job
from utils.errors import RunError, UserError
from utils.files import write_text

SCRIPT = """#!/bin/bash
#SBATCH --job-name=classify
#SBATCH --array=0-{last}
#SBATCH --output={logs}/task-%a.txt
#SBATCH --open-mode=append
#SBATCH --requeue
cd {folder} && exec {command} --cluster=local --workers=1 --share="$SLURM_ARRAY_TASK_ID/{count}"
"""


class SlurmArray:
    """An engine. command: the program with its flags, of which a task overrides --cluster and --workers. num_tasks: of
    the array. options: further ones of sbatch, as --partition=gpu."""

    def __init__(self, command: Sequence[str], num_tasks: int, options: Sequence[str]):
        self.command, self.num_tasks, self.options = command, num_tasks, options

    def __call__(self, job: Job, parts: list[int], monitor: Monitor) -> None:
        """Write the script beside the logs, submit it, and wait for its last task. When this process is stopped, the
        array is cancelled."""
        logs = job.files.logs
        text = SCRIPT.format(
            last=self.num_tasks - 1, count=self.num_tasks, logs=logs, folder=shlex.quote(os.getcwd()),
            command=shlex.join(self.command),
        )  # fmt: skip
        script = logs / "array.sh"
        write_text(script, text)
        submitted = _start(["sbatch", "--wait", "--parsable", *self.options, str(script)])
        assert submitted.stdout
        number = submitted.stdout.readline().split(";")[0].strip()  # before it waits; then maybe ;cluster
        print(f"array {number} of {self.num_tasks} tasks; they write to {logs}", flush=True)
        try:
            status = submitted.wait()
        except BaseException:
            with contextlib.suppress(UserError):
                _start(["scancel", number]).wait()
            raise
        if not number:
            raise UserError(f"sbatch took no job (exit status {status}); its message is above, the script is {script}")
        if not all(job.is_done(job.part(part)) for part in parts):
            raise RunError(f"array {number} has ended with parts missing; see {logs}, start the same command again")


def _start(command: list[str]) -> subprocess.Popen:
    try:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    except FileNotFoundError as error:
        raise UserError(f"--cluster slurm needs {command[0]}; start it where Slurm is") from error
