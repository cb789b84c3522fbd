"""Stop a tiny training in every way at every moment, go on with --resume=auto, and compare with a run never stopped.

python tools/torture_training.py                     # every cell of the table, some minutes
python tools/torture_training.py --only save --processes 2

A cell is a signal, the moment it comes at, and the number of processes. The run is held at the moment while the signals
are sent. A cell is right when the run ended as it should (a signal: exit status 128 + its number with one process, no
traceback; kill -9: killed), every checkpoint that it announced is on the disk, not more than the steps since the last
announced one are lost, no reading process is left, and the resumed run ends with the same weights, best weights,
optimiser state, averages and validations, bit for bit.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402 - the tool is started as a file

from utils.cli import run  # noqa: E402
from utils.errors import RunError  # noqa: E402

HOLD = "TORTURE_HOLD"  # moment:iteration:folder, for the process that is stopped
MOMENTS = {  # the iteration it comes at; epochs have 3 steps, checkpoints inside epochs come every 2
    "step": 5,
    "last step of an epoch": 6,
    "save": 4,
    "save of an epoch": 6,
    "precise norms": 6,
    "validation": 6,
    "publication": 9,
}
SIGNALS = {
    1: ("SIGINT", "SIGTERM", "SIGKILL", "SIGTERM twice"),
    2: (
        "SIGINT to the group",
        "SIGTERM to rank 1",
        "SIGTERM to the launcher",
        "SIGTERM to all",
        "SIGKILL of rank 0",
        "SIGKILL of rank 1",
        "SIGKILL of the launcher",
    ),
}
SECONDS = 240.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", nargs="+", default=[""], metavar="WORDS", help='cells with one of these in "signal, moment"'
    )
    parser.add_argument("--processes", type=int, choices=(1, 2), help="default: both")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts = [args.processes] if args.processes else [1, 2]
        print_verdicts(verdicts(Path(folder), counts, args.only), ("processes", "signal", "moment", "result"))


def verdicts(folder: Path, counts: list[int], only: list[str]) -> Iterator[tuple]:
    """A row of each cell."""
    for count in counts:
        bench = Bench(folder / str(count), count)
        for name in SIGNALS[count]:
            for moment in MOMENTS:
                if any(words in f"{name}, {moment}" for words in only):
                    yield count, name, moment, bench.cell(name, moment)


class Wrong(Exception):
    """What a cell should not show."""


def seeded_verdicts(bench: Any, cells: dict[str, tuple[Callable, int]], only: list[str]) -> Iterator[tuple]:
    """(name, seed, verdict) of each cell with one of these words in the name. cells: by name, and how many seeds each
    is tried with. bench.judged(cell, random.Random) gives a verdict."""
    for name, (cell, num_seeds) in cells.items():
        for seed in range(num_seeds if any(words in name for words in only) else 0):
            yield name, seed, bench.judged(cell, random.Random(seed))


def print_verdicts(rows: Iterable[tuple], heads: tuple[str, ...]) -> None:
    """Print rows that end in a verdict as they come, then as a table. Raises RunError unless all are right."""
    from tabulate import tabulate

    found = []
    for row in rows:
        found.append(row)
        print(" | ".join(map(str, row)), flush=True)
    print(tabulate(found, heads, tablefmt="github"))
    num_wrong = sum(not row[-1].startswith("right") for row in found)
    if num_wrong:
        raise RunError(f"{num_wrong} of {len(found)} cells are wrong")
    print(f"{len(found)} cells, all right")


class Bench:
    """Videos, configuration and the run that is never stopped, for one number of processes."""

    def __init__(self, folder: Path, count: int):
        from tests.script_runs import make_videos, tiny_config, write_list

        folder.mkdir(parents=True)
        self.folder, self.count, self.num_cells = folder, count, 0
        videos = make_videos(folder / "videos", 6 * count, 3)
        keys = {
            "batch_size": 2 * count, "epoch": 3, "ema_decay": 0.9, "precise_bn_batches": 2, "checkpoint_interval": 2,
            "num_reader_threads": 1,
        }  # fmt: skip
        self.config = tiny_config(folder, write_list(folder / "list.txt", videos), **keys)
        done = self.start(folder / "straight", {})
        if done.wait(SECONDS):
            raise RunError(f"the run that is not stopped fails:\n{self.said(folder / 'straight')}")

    def start(self, save_dir: Path, env: dict, *flags: str) -> subprocess.Popen:
        """train.py, or its launcher, in a session of its own."""
        save_dir.mkdir(parents=True, exist_ok=True)
        script = [str(Path(__file__).resolve())] if env else ["train.py"]
        if self.count > 1:
            script = ["-m", "paddle.distributed.launch", f"--nproc_per_node={self.count}",
                      f"--log_dir={save_dir}/launch", *script]  # fmt: skip
        command = [
            sys.executable, "-u", *script, f"--config={self.config}", f"--save_dir={save_dir}", "--log_interval=1",
            "--fix_random_seed=True", "--use_gpu=False", *flags,
        ]  # fmt: skip
        with open(save_dir / "said.txt", "a", encoding="utf-8") as said:
            return subprocess.Popen(
                command, cwd=ROOT, stdout=said, stderr=said, start_new_session=True, env={**os.environ, **env}
            )

    @staticmethod
    def said(save_dir: Path) -> str:
        files = [save_dir / "said.txt", *sorted(save_dir.glob("launch/workerlog.*"))]
        return "\n".join(file.read_text(errors="replace") for file in files if file.exists())

    def cell(self, name: str, moment: str) -> str:
        """One cell's result: `right`, and what was lost; or what is wrong."""
        self.num_cells += 1
        save_dir = self.folder / f"cell{self.num_cells}"
        hold = save_dir / "hold"
        hold.mkdir(parents=True)
        process = self.start(save_dir, {HOLD: f"{moment}:{MOMENTS[moment]}:{hold}"})
        try:
            ranks = self.wait_for_hold(process, hold)
            readers = children(ranks)
            send(name, process.pid, ranks)
            (hold / "go").touch()
            status = process.wait(SECONDS)
        except (subprocess.TimeoutExpired, TimeoutError) as error:
            return f"WRONG: no end ({error}): {self.said(save_dir)[-500:]}"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        wrong = wait_until_gone([*ranks, *readers])
        said = self.said(save_dir)
        wrong += self.check_end(name, status, said, may_finish=moment == "publication")
        announced = [int(text) for text in iterations_announced(said, save_dir)]
        wrong += self.check_disk(save_dir, announced)
        resumed = self.start(save_dir, {}, "--resume=auto")
        if resumed.wait(SECONDS):
            return f"WRONG: the resumed run fails: {self.said(save_dir)[-500:]}"
        wrong += self.compare(save_dir)
        if wrong:
            return f"WRONG: {'; '.join(wrong)}"
        return f"right (stopped at {MOMENTS[moment]}, went on from {announced[-1] if announced else 0})"

    def wait_for_hold(self, process: subprocess.Popen, hold: Path) -> list[int]:
        """The ranks' process numbers, when all of them are held."""
        deadline = time.monotonic() + SECONDS
        while len(held := sorted(hold.glob("rank*"))) < self.count:
            if process.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError("the run did not come to the moment")
            time.sleep(0.02)
        return [int(file.read_text()) for file in held]

    def check_end(self, name: str, status: int, said: str, may_finish: bool) -> list[str]:
        """Wrong ends. may_finish: nothing is left to do but what the signal cannot break off."""
        if "Traceback" in said:
            return [f"a traceback: {said[said.index('Traceback') :][-400:]}"]
        if status == 0 and may_finish:
            return []
        if self.count > 1:
            return [] if status else ["the exit status says that all went well"]
        expected = {"SIGINT": 130, "SIGTERM": 143, "SIGKILL": -9, "SIGTERM twice": -15}[name]
        return [] if status == expected else [f"exit status {status} in place of {expected}"]

    def check_disk(self, save_dir: Path, announced: list[int]) -> list[str]:
        """Announced checkpoints that are not there, though the last ones are never pruned."""
        from training.checkpoint import newest_checkpoint

        problems: list[str] = []
        newest = newest_checkpoint(save_dir, problems.append)
        iteration = newest.state["iteration"] if newest else 0
        if announced and iteration < announced[-1]:
            problems.append(f"iteration {announced[-1]} was announced, {iteration} is on the disk")
        return problems

    def compare(self, save_dir: Path) -> list[str]:
        """How the resumed run differs from the one never stopped."""
        from weights.safe_pickle import load_pickle

        straight, wrong = self.folder / "straight", []
        names = sorted(p.name for p in straight.glob("NONLOCAL*.pd*"))
        if "NONLOCAL_best.pdparams" not in names or "NONLOCAL_epoch2.pdopt" not in names:
            wrong.append(f"the run that is not stopped leaves only {names}")
        for name in names:
            if not (save_dir / name).exists():
                wrong.append(f"{name} is missing")
                continue
            one, two = load_pickle(straight / name), load_pickle(save_dir / name)
            differing = [key for key in one if key not in two or not np.array_equal(one[key], two[key])]
            if differing or len(one) != len(two):
                wrong.append(f"{name} differs ({len(differing)} of {len(one)} arrays, first {differing[:1]})")
        for kind, keys in (("train", ("iteration", "loss", "top1")), ("valid", ("iteration", "loss", "top1"))):
            if table(straight, kind, keys) != table(save_dir, kind, keys):
                wrong.append(f"the rows of {kind} differ")
        return wrong


def table(save_dir: Path, kind: str, keys: tuple[str, ...]) -> list[tuple]:
    rows = map(json.loads, (save_dir / "log.jsonl").read_text().splitlines())
    return [tuple(row[key] for key in keys) for row in rows if row["kind"] == kind]


def iterations_announced(said: str, save_dir: Path) -> list[str]:
    """Iterations of the checkpoints that the run said it saved, in order."""
    found = []
    for line in said.splitlines():
        name = line.rpartition("saved ")[2].partition(";")[0]
        if line.startswith("saved ") and name.startswith(str(save_dir)):
            word = Path(name).name.partition("_")[2]
            found.append(str(3 * (int(word[5:]) + 1)) if word.startswith("epoch") else word[4:])
    return found


def send(name: str, pid: int, ranks: list[int]) -> None:
    """Send what a cell is called after. pid: of the run's first process, the leader of its group."""
    if name == "SIGINT to the group":
        os.killpg(pid, signal.SIGINT)
    elif name == "SIGTERM to all":
        for number in (pid, *ranks):
            os.kill(number, signal.SIGTERM)
    elif name == "SIGTERM twice":
        os.kill(pid, signal.SIGTERM)
        time.sleep(0.5)  # two signals that come together are one to the kernel
        os.kill(pid, signal.SIGTERM)
    else:
        word, _, target = name.replace(" of ", " to ").partition(" to ")
        os.kill(ranks[int(target[5:])] if target.startswith("rank") else pid, getattr(signal, word))


def children(pids: list[int]) -> list[int]:
    """The children of processes (Linux), their reading processes."""
    files = [Path(f"/proc/{pid}/task/{pid}/children") for pid in pids]
    tasks = [task for pid in pids for task in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(number) for file in {*files, *tasks} if file.exists() for number in file.read_text().split()]


def wait_until_gone(pids: list[int]) -> list[str]:
    """Those that are still alive after a while."""
    deadline = time.monotonic() + 60
    while alive := [pid for pid in pids if Path(f"/proc/{pid}").exists() and not is_zombie(pid)]:
        if time.monotonic() > deadline:
            return [f"processes {alive} are left"]
        time.sleep(0.05)
    return []


def is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def held_training() -> None:
    """train.py that stops at the moment named in the environment until the file `go` is there; a rank of the run."""
    moment, iteration, folder = os.environ[HOLD].split(":", 2)
    rank = int(os.environ.get("PADDLE_TRAINER_ID", "0"))
    os.chdir(ROOT)
    from utils.runtime import prepare_environment

    prepare_environment()
    import train
    from training import trainer

    def hold(seconds: float = SECONDS) -> None:
        marker = Path(folder) / f"rank{rank}"
        if marker.exists():
            return
        part = Path(folder) / f".part{rank}"
        part.write_text(str(os.getpid()))
        part.rename(marker)
        while seconds and not (Path(folder) / "go").exists():
            time.sleep(0.02)

    def held_before(owner, name: str, is_moment) -> None:
        original = getattr(owner, name)

        def wrapper(*args, **kwargs):
            if is_moment(*args):
                hold()
            return original(*args, **kwargs)

        setattr(owner, name, wrapper)

    class_, number = trainer.Trainer, int(iteration)
    if moment in ("step", "last step of an epoch"):
        held_before(class_, "step", lambda self, *_: self.iteration + 1 == number)
    elif moment.startswith("save"):
        if rank:  # the others wait for the first, which writes
            held_before(class_, "save", lambda self, *_: self.iteration == number and hold(0))
        else:
            held_before(os, "replace", lambda _, target: str(target).endswith(SAVED_FILES[moment]))
    else:
        name = {"precise norms": "estimate_statistics", "validation": "validate", "publication": "publish"}[moment]
        if name == "publish":
            held_before(class_, name, lambda self, *_: self.iteration == number)
        else:
            count = iter(range(1000))
            wanted = number // 3 - 1
            held_before(trainer, name, lambda *_: next(count) == wanted)
    run(train.main)


SAVED_FILES = {"save": "NONLOCAL_iter4.pdparams", "save of an epoch": "NONLOCAL_epoch1.pdparams"}

if __name__ == "__main__":
    if HOLD in os.environ:
        held_training()
    else:
        run(main)
