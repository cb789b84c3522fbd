"""The server under load, on this machine: python tools/benchmark.py serve --clients 1 2 4 8 16 --seconds 60

closed   N clients, each with one video at a time: upload, job, events to the end, at once the next
open     videos arrive at a fixed rate, whatever the server does; a latency counts from the moment of arrival, so that
         a slow answer delays none of the others' clocks (no coordinated omission)
predict  predict.py --segments on a folder of videos: the ceiling of what the server can do
soak     with --soak_seconds=1200: 1,000 videos arrive evenly over that time, and the server's memory grows by so much
upload   with --upload_gb=2: a video of that size, and the memory of the process that receives it

A serve.py of its own runs the example network, or --config and --weights; every upload is another file (a few unused
bytes at its end), so that nothing is answered from what is known. Waiting is from the upload's first byte. The clients
share the machine with the server; what they take of it is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tools.benchmarks.harness import machine, machine_line
from utils.cli import gigabytes, positive_int, positive_seconds
from utils.errors import RunError
from utils.files import write_json

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples/demo_network"
OCTETS = {"Content-Type": "application/octet-stream"}
QUANTILES = (50, 95, 99)
SOAK_VIDEOS = 1000


def main(argv: list[str]) -> None:
    args = _parse(argv)
    from tabulate import tabulate

    video = Path(args.video).read_bytes()
    network = [f"--config={args.config}", f"--weights={args.weights}", f"--backend={args.backend}"]
    rows = []
    with tempfile.TemporaryDirectory() as folder, running_server(folder, network, max(args.clients)) as server:
        closed_loop(server, video, max(args.clients), 1.0)  # starts the reading processes
        before, begin, used = server.open_files_and_zombies(), time.monotonic(), time.process_time()
        for number in args.clients:
            rows.append({"load": f"closed, {number}", **closed_loop(server, video, number, args.seconds)})
        ceiling = max(row["videos/s"] for row in rows)
        for ratio in args.rates:
            load = open_loop(server, video, ratio * ceiling, args.seconds)
            rows.append({"load": f"open, {ratio * ceiling:.2f}/s", **load})
        clients = (time.process_time() - used) / (time.monotonic() - begin)
        memory = server.slope()
        soak = None
        if args.soak_seconds:
            begin, seconds = time.monotonic(), args.soak_seconds
            rows.append({"load": "soak", **open_loop(server, video, SOAK_VIDEOS / seconds, seconds)})
            soak = server.slope(begin)
        after = server.open_files_and_zombies()
        upload = upload_mb(server, video, args.upload_gb) if args.upload_gb else None
    num_jobs = sum(row["jobs"] for row in rows)
    predicted = predict_rate(network, video, args.predict_videos)
    print(tabulate(rows, headers="keys", floatfmt=".2f"))
    print(f"predict.py: {predicted:.2f} videos/s; the server's best is {ceiling / predicted:.2f} of it")
    print(
        f"memory of the server's tree: {memory:+.2f} MB a minute over the whole run; the clients: {clients:.2f} cores"
    )
    if soak is not None:
        print(f"memory during the soak: {soak:+.2f} MB a minute")
    (files, zombies), (files_after, zombies_after) = before, after
    print(f"{num_jobs} jobs done; open files: {files}, then {files_after}; zombies: {zombies}, then {zombies_after}")
    if upload:
        print(f"{args.upload_gb / 1e9:g} GB received: at most {upload[0]:.0f} MB (PSS), {upload[1]:.0f} MB (RSS)")
    found = machine()
    print(f"machine: {machine_line(found)}")
    if args.json:
        facts: dict[str, object] = {
            "predict_videos_per_second": predicted,
            "ratio": ceiling / predicted,
            "mb_per_minute": memory,
        }
        facts.update(
            jobs=num_jobs, open_files=[files, files_after], zombies=[zombies, zombies_after], client_cores=clients,
            soak_mb_per_minute=soak, upload_mb=upload,
        )  # fmt: skip
        write_json(
            Path(args.json), {"benchmark": "serve", "rows": rows, **facts, "command": sys.argv, "machine": found}
        )
        print(f"written to {args.json}")


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmark.py serve", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", nargs="+", type=positive_int, default=[1, 2, 4, 8, 16], help="of closed loops")
    parser.add_argument(
        "--rates", nargs="*", type=positive_seconds, default=[0.5, 0.9],
        help="of open loops, as parts of the best closed one (default: 0.5 0.9)",
    )  # fmt: skip
    parser.add_argument("--seconds", type=positive_seconds, default=60.0, help="of each load (default: %(default)g)")
    parser.add_argument(
        "--predict_videos", type=positive_int, default=200, help="for predict.py (default: %(default)s)"
    )
    parser.add_argument("--video", default=str(ROOT / "examples/clip.mp4"), help="an mp4 file (default: the example)")
    parser.add_argument("--config", default=str(EXAMPLE / "config.yaml"), help="of the network (default: the example)")
    parser.add_argument("--weights", default=str(EXAMPLE / "NONLOCAL.pdparams"), help="of the network")
    parser.add_argument("--backend", default="auto", help="as for predict.py (default: %(default)s)")
    parser.add_argument("--soak_seconds", type=positive_seconds, help="soak the server for so many seconds, too")
    parser.add_argument("--upload_gb", type=gigabytes, metavar="GB", help="upload a video of this size, too")
    parser.add_argument("--json", help="write the results here")
    return parser.parse_args(argv)


def unlike(video: bytes) -> bytes:
    """The same mp4 with another content: a box of random bytes at its end, which readers skip."""
    return video + (24).to_bytes(4, "big") + b"free" + os.urandom(16)


# ------------------------------------------------------------------------------------------- the server


@dataclass
class Running:
    """A server. memory: (seconds, MB of `memory_mb`) of its tree, sampled while it runs."""

    process: subprocess.Popen
    port: int
    memory: list[tuple[float, ...]] = field(default_factory=list)

    def sample(self) -> None:
        while self.process.poll() is None:
            self.memory.append((time.monotonic(), *tree_mb(self.process.pid)))
            time.sleep(1)

    def peak(self, since: float) -> float:
        return max((pss for at, pss, *_ in self.memory if at >= since), default=float("nan"))

    def open_files_and_zombies(self) -> tuple[int, int]:
        """Of the whole tree, once no job is in work."""
        time.sleep(1)
        folders = [Path(f"/proc/{pid}") for pid in tree(self.process.pid)]
        files = num_zombies = 0
        for folder in folders:
            with contextlib.suppress(OSError):
                num_zombies += "\nState:\tZ" in (folder / "status").read_text()
                files += len(list((folder / "fd").iterdir()))
        return files, num_zombies

    def slope(self, since: float = 0.0) -> float:
        """MB a minute by which what is of no file has grown, in the second half of the samples."""
        samples = [sample for sample in self.memory if sample[0] >= since]
        half = np.array(samples[len(samples) // 2 :])
        return float(np.polyfit(half[:, 0] / 60, half[:, 3], 1)[0]) if len(half) > 2 else float("nan")


@contextlib.contextmanager
def running_server(folder: str, network: list[str], num_clients: int):
    flags = [f"--save_dir={folder}", "--port=0", f"--active_jobs={min(16, num_clients)}"]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "serve.py"), *network, *flags], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        found = next(filter(None, (re.match(r"open http://[^:]*:(\d+)/", line) for line in process.stdout)), None)
        if found is None:
            raise RunError("serve.py did not start; its message stands above")
        server = Running(process, int(found[1]))
        threading.Thread(target=server.sample, daemon=True).start()
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def tree_mb(pid: int) -> np.ndarray:
    """`memory_mb` of a process and its descendants."""
    return sum((memory_mb(each) for each in tree(pid)), np.zeros(3))


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    found, waiting = [], [pid]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        with contextlib.suppress(OSError, ValueError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
    return found


def memory_mb(pid: int) -> np.ndarray:
    """Proportional set size, resident set size, and the part of the first that is of no file: what other processes do
    changes the rest. 0 for a process that has ended."""
    with contextlib.suppress(OSError):
        words = [line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]]
        size = {each[0]: int(each[1]) / 1024 for each in words}
        return np.array([size["Pss:"], size["Rss:"], size["Pss_Anon:"] + size["Pss_Shmem:"]])
    return np.zeros(3)


# ------------------------------------------------------------------------------------------- the clients


@dataclass
class Visit:
    """One video from its upload to the end of its job. arrival: when it was due. first, last: seconds until the first
    window and the end; rejected: the server was full."""

    port: int
    video: bytes
    arrival: float | None = None
    first: float = float("nan")
    last: float = float("nan")
    windows: int = 0
    rejected: bool = False

    def make(self) -> Visit:
        begin = self.arrival if self.arrival is not None else time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        with contextlib.closing(connection):
            connection.request("PUT", "/api/v1/uploads/clip.mp4", unlike(self.video), OCTETS)
            answer = connection.getresponse()
            found = json.loads(answer.read())
            if answer.status != 201:
                self.rejected = True
                return self
            body = json.dumps({"video_id": found["video_id"], "task": "segments"})
            connection.request("POST", "/api/v1/jobs", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            job = json.loads(answer.read())
            if answer.status != 202:
                self.rejected = True
                return self
            connection.request("GET", f"/api/v1/jobs/{job['id']}/events")
            kind = ""
            for line in connection.getresponse():
                if line.startswith(b"event: "):
                    kind = line[7:].strip().decode()
                    if kind == "window":
                        self.windows += 1
                        if self.windows == 1:
                            self.first = time.monotonic() - begin
            if kind != "done":
                raise RunError(f"a job ended with {kind!r}")
            self.last = time.monotonic() - begin
        return self


def closed_loop(server: Running, video: bytes, number: int, seconds: float) -> dict[str, float]:
    """`number` clients, each with one video at a time."""
    begin = time.monotonic()

    def client(_: int) -> list[Visit]:
        visits = []
        while time.monotonic() - begin < seconds:
            visits.append(Visit(server.port, video).make())
        return visits

    with ThreadPoolExecutor(number) as pool:
        visits = [visit for visits in pool.map(client, range(number)) for visit in visits]
    return summary(server, visits, begin)


def open_loop(server: Running, video: bytes, rate: float, seconds: float) -> dict[str, float]:
    """`rate` videos arrive a second, evenly."""
    begin = time.monotonic()
    with ThreadPoolExecutor(48) as pool:
        waiting = []
        for number in range(max(1, int(rate * seconds))):
            arrival = begin + number / rate
            time.sleep(max(0.0, arrival - time.monotonic()))
            waiting.append(pool.submit(Visit(server.port, video, arrival).make))
        visits = [future.result() for future in waiting]
    return summary(server, visits, begin)


def summary(server: Running, visits: list[Visit], begin: float) -> dict[str, float]:
    taken = time.monotonic() - begin
    good = [visit for visit in visits if not visit.rejected]
    row: dict[str, float] = {
        "jobs": len(good),
        "videos/s": len(good) / taken,
        "windows/s": sum(v.windows for v in good) / taken,
    }
    for name, values in (("first", [v.first for v in good]), ("done", [v.last for v in good])):
        for quantile in QUANTILES:
            row[f"{name} p{quantile} s"] = float(np.percentile(values, quantile)) if values else float("nan")
    return {**row, "rejected": len(visits) - len(good), "peak MB": server.peak(begin)}


def upload_mb(server: Running, video: bytes, size: int) -> tuple[float, float]:
    """The largest PSS and RSS of the server's own process while it receives a video of `size` bytes, in MB."""
    block, found, done = bytes(1 << 20), [np.zeros(3)], threading.Event()
    rest = max(8, min(size - len(video), 0xFFFFFFFF))  # one unused box

    def watch() -> None:
        while not done.wait(0.05):
            found.append(memory_mb(server.process.pid))

    def body() -> Iterator[bytes]:
        yield video + rest.to_bytes(4, "big") + b"free"
        for first in range(8, rest, len(block)):
            yield block[: rest - first]

    watcher = threading.Thread(target=watch)
    watcher.start()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
    try:
        with contextlib.closing(connection):
            headers = {**OCTETS, "Content-Length": str(len(video) + rest)}
            connection.request("PUT", "/api/v1/uploads/large.mp4", body(), headers)
            answer = connection.getresponse()
            text = answer.read().decode()
            if answer.status != 201:
                raise RunError(f"the upload of {size} bytes was refused: {text}")
    finally:
        done.set()
        watcher.join()
    pss, rss, _ = np.max(found, axis=0)
    return float(pss), float(rss)


def predict_rate(network: list[str], video: bytes, number: int) -> float:
    """Videos a second of predict.py, without its start: of `number` videos against one."""
    seconds = []
    for count in (1, 1 + number):
        with tempfile.TemporaryDirectory() as folder:
            for i in range(count):
                (Path(folder) / f"{i}.mp4").write_bytes(unlike(video))
            flags = [f"--video_path={folder}", "--segments", f"--save_dir={folder}/out", "--precision=float32"]
            begin = time.monotonic()
            done = subprocess.run(
                [sys.executable, str(ROOT / "predict.py"), *network, *flags], cwd=ROOT, stdout=subprocess.DEVNULL
            )
            if done.returncode:
                raise RunError("predict.py failed; its message stands above")
            seconds.append(time.monotonic() - begin)
    return number / (seconds[1] - seconds[0])
