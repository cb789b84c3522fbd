"""Kill workers and the driver of tools/classify_dataset.py at random moments, and compare with a run never disturbed.

python tools/torture_dataset.py                      # five seeds on the example network, some minutes
python tools/torture_dataset.py --cluster ray        # also the whole of Ray is killed

120 lines name videos of the demo, drawn here, and one that does not exist; parts are of five. A run is right when
every file is that of the undisturbed run bit for bit, whose rows are the lines, each once, with the probabilities of
predict.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from clusters.memory import children  # noqa: E402 - the tool is started as a file
from data.dataset.demo.make_videos import make_dataset  # noqa: E402
from utils.cli import Parser, positive_int, run  # noqa: E402
from utils.errors import RunError  # noqa: E402
from utils.files import write_text  # noqa: E402

NUM_LINES, PART, VIEWS = 121, 5, "1xwhole"
NETWORK = [
    "--weights=examples/demo_network/NONLOCAL.pdparams", "--config=examples/demo_network/config.yaml",
    f"--views={VIEWS}",
]  # fmt: skip


def main() -> None:
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--cluster", choices=("local", "ray"), default="local", help="as the tool's (default: %(default)s)"
    )
    parser.add_argument("--seeds", type=positive_int, default=5, help="runs that are disturbed (default: %(default)s)")
    parser.add_argument("--kills", type=positive_int, default=4, help="in each of them (default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_dataset(folder / "demo", num_train=1, num_valid=1, num_test=5, num_workers=1)
        lines = [str(path) for path in sorted(folder.glob("demo/test/*.mp4"))] * 4
        lines = [*lines[:77], "/no/such/video.mp4", *lines[77 : NUM_LINES - 1]]
        write_text(folder / "list.txt", "".join(f"{line}\n" for line in lines))
        begin = time.monotonic()
        wait_for(start(folder, "undisturbed", args.cluster))
        seconds = time.monotonic() - begin
        compare_with_predict(folder, "undisturbed")
        print(f"undisturbed: {seconds:.0f} s, {NUM_LINES} rows, as predict.py has them", flush=True)
        for seed in range(args.seeds):
            killed = disturb(folder, f"seed {seed}", args.cluster, random.Random(seed), args.kills)
            compare_files(folder, f"seed {seed}")
            print(f"seed {seed}: {', '.join(killed)}: the same files, bit for bit", flush=True)


def start(folder: Path, out: str, cluster: str) -> subprocess.Popen:
    """The driver of a run."""
    command = [
        sys.executable,
        "tools/classify_dataset.py",
        f"--input={folder / 'list.txt'}",
        f"--output={folder / out}",
    ]
    flags = [f"--cluster={cluster}", "--workers=2", f"--part={PART}", "--keep=topk:3", *NETWORK]
    with open(folder / f"{out}.txt", "ab") as log:
        return subprocess.Popen([*command, *flags], cwd=ROOT, stdout=log, stderr=log, start_new_session=True)


def wait_for(driver: subprocess.Popen) -> None:
    """The end of a run; one video is an error. Raises RunError."""
    if driver.wait() != 2:
        raise RunError(f"the run ended with status {driver.returncode}, not with that of a missing video")


def disturb(folder: Path, out: str, cluster: str, rng: random.Random, num_kills: int) -> list[str]:
    """A run in which so many processes are killed: each after a few more parts, and at a random moment of the next.
    Returns what was killed, and how many parts were there then."""
    killed, driver = [], start(folder, out, cluster)
    victims = {"driver": "", "worker": "ray::Worker" if cluster == "ray" else "clusters.worker"}
    if cluster == "ray":
        victims["Ray"] = "raylet/raylet"
    while len(killed) < num_kills:
        goal = num_parts(folder, out) + rng.randint(0, 4)
        while num_parts(folder, out) < goal and driver.poll() is None:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.5))
        if driver.poll() is not None:
            break
        victim = rng.choice(sorted(victims))
        processes = [driver.pid] if victim == "driver" else descendants(driver.pid, victims[victim])
        if not processes:
            continue
        os.kill(rng.choice(processes), signal.SIGKILL)
        killed.append(f"{victim} at {num_parts(folder, out)} parts")
        if victim != "worker":
            driver.wait()
            driver = start(folder, out, cluster)
    wait_for(driver)
    return killed


def num_parts(folder: Path, out: str) -> int:
    """How many parts are done."""
    return len(list((folder / out).glob("parts/*/part-*")))


def descendants(process: int, word: str) -> list[int]:
    """The processes below a process whose command line has a word (Linux)."""
    found = []
    for child in children(process):
        with contextlib.suppress(OSError):  # it has just ended
            if word in Path(f"/proc/{child}/cmdline").read_text(errors="replace"):
                found.append(child)
        found += descendants(child, word)
    return found


def compare_files(folder: Path, out: str) -> None:
    """Raise RunError unless two runs have the same files."""
    files = [
        {file.relative_to(folder / name): file.read_bytes() for file in (folder / name).glob("parts/*/part-*")}
        for name in ("undisturbed", out)
    ]
    if files[0] != files[1]:
        names = sorted(str(name) for name in files[0].keys() | files[1] if files[0].get(name) != files[1].get(name))
        raise RunError(f"{out}: not the files of the undisturbed run: {', '.join(names)}")


def compare_with_predict(folder: Path, out: str) -> None:
    """Raise RunError unless a run has the rows that predict.py has for the list."""
    import pyarrow.parquet as pq

    command = [sys.executable, "predict.py", f"--filelist={folder / 'list.txt'}", f"--save_dir={folder / 'predicted'}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # as many as each of two workers has on two cores
    subprocess.run([*command, "--infer_topk=3", *NETWORK], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    records = json.loads((folder / "predicted/predictions.json").read_text(encoding="utf-8"))
    rows = [row for file in sorted((folder / out).glob("parts/*/part-*")) for row in pq.read_table(file).to_pylist()]
    if [row["id"] for row in rows] != list(range(NUM_LINES)):
        raise RunError(f"{out}: its rows are not the {NUM_LINES} lines of the list")
    for row, record in zip(rows, records):
        probabilities = [entry["probability"] for entry in record.get("top", [])]
        found = (row["path"], row["error"], row["top_probability"] or [])
        if found != (record["path"], record.get("error"), probabilities):
            raise RunError(f"{out}: the row {row['id']} is not what predict.py says")


if __name__ == "__main__":
    run(main)
