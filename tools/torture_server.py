"""Disturb serve.py in every way, over sockets, and see that it keeps what it promised.

python tools/torture_server.py                                      # every cell but the last, some ten minutes
python tools/torture_server.py --only SIGKILL disk --seeds 5
python tools/torture_server.py --only hostile --videos FOLDER       # every file of a folder is uploaded

The server runs the example network, with limits as they are, on a free port of 127.0.0.1. A cell is right when every
job that was accepted (202) ends with the files of a run that was not disturbed, bit for bit; when what was refused was
refused with one line of problem+json; when no half-written file, upload, reservation or open file is left over, and no
process after the server's end; and when the server's log holds no traceback.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools.benchmarks.serve import tree, unlike  # noqa: E402 - the tool is started as a file
from tools.torture_dataset import NETWORK, descendants  # noqa: E402
from tools.torture_training import Wrong, print_verdicts, seeded_verdicts, wait_until_gone  # noqa: E402
from utils.cli import Parser, positive_int, run  # noqa: E402
from utils.errors import UserError  # noqa: E402

V1, OCTETS, JSON = "/api/v1", "application/octet-stream", "application/json"
SECONDS = 180.0  # for the start, an answer, a job and the end of the server
TIDY_SECONDS = 10.0  # after which nothing of what was given up is left
SLOW_SECONDS = 100.0  # within which a client that sends or reads too slowly is ended
DISK_BYTES = 100 << 20  # of a small file system; the server leaves 64 MiB of it free
READER, NETWORKS = "worker_process", "serving.networks"  # in the command lines of the processes below the server
RESULTS = {"segments": "segments.csv", "classes": "record.json", "features": "features.npz"}
ESTABLISHED = 1  # the first byte of tcp_info
FAILED_TWICE = "twice"  # a job may fail when the process that it needs is killed twice in one of its calls


def main() -> None:
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--only", nargs="+", default=[""], metavar="WORDS", help="cells with one of these in the name")
    parser.add_argument("--seeds", type=positive_int, default=3, help="random moments of each (default: %(default)s)")
    parser.add_argument("--videos", metavar="FOLDER", help="files for the cell `hostile files`")
    args = parser.parse_args()
    if args.videos and not os.path.isdir(args.videos):
        raise UserError(f"--videos={args.videos}: no such folder")
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), args.videos)
        print_verdicts(seeded_verdicts(bench, cells(bench, args.seeds), args.only), ("cell", "seed", "result"))


def cells(bench: Bench, num_seeds: int) -> dict[str, tuple[Callable[[random.Random], str], int]]:
    """Cells by name, and how many times each is tried."""
    found = {
        "abandoned uploads": (bench.abandoned, 1),
        "SIGKILL of the server": (bench.server_killed, num_seeds),
        "SIGKILL of reading processes": (lambda rng: bench.process_killed(rng, READER), num_seeds),
        "SIGKILL of the networks' process": (lambda rng: bench.process_killed(rng, NETWORKS), num_seeds),
        "SIGTERM, SIGINT and SIGKILL in mid-job": (bench.ended, num_seeds),
        "full disk": (bench.full_disk, 1),
        "slow clients": (bench.slow, 1),
    }
    if bench.hostile:
        found["hostile files"] = (bench.hostile_files, 1)
    return found


class Failed(Wrong):
    """A job that did."""


class Answer:
    """Of a request. Raises Wrong for a mistake of the server, and a refusal that is not one line of problem+json."""

    def __init__(self, answer: http.client.HTTPResponse):
        self.status, self.body = answer.status, answer.read()
        self.headers = {name.lower(): value for name, value in answer.getheaders()}
        if self.status >= 400 and answer._method != "HEAD":  # type: ignore[attr-defined]
            kind, self.line = self.headers.get("content-type"), self.json().get("detail", "")
            if kind != "application/problem+json" or self.status == 500 or len(self.line.splitlines()) != 1:
                raise Wrong(f"{self.status} is not explained in one line: {self.body[:300]!r}")

    def json(self) -> dict:
        return json.loads(self.body)


class Served:
    """serve.py with the files in `folder`, on a free port; its log is beside them."""

    def __init__(self, folder: Path):
        self.folder, self.log = folder, folder.with_suffix(".log")
        command = [sys.executable, "serve.py", "--port=0", f"--save_dir={folder}", *NETWORK[:2]]
        begin = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*command, "--backend=paddle", "--use_gpu=False"], cwd=ROOT, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + SECONDS
        while not (found := re.search(rb"open http://127\.0\.0\.1:(\d+)/", self.log.read_bytes()[begin:])):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                raise Wrong(f"the server does not start: {self.log.read_text()[-500:]}")
            time.sleep(0.05)
        self.port = int(found[1])

    def call(self, method: str, path: str, body: bytes | None = None, kind: str = OCTETS, **headers: str) -> Answer:
        """One request on a connection of its own; path: below /api/v1."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        with contextlib.closing(connection):
            fields = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, V1 + path, body, fields if body is None else {"Content-Type": kind, **fields})
            return Answer(connection.getresponse())

    def get(self, path: str) -> dict:
        answer = self.call("GET", path)
        if answer.status != 200:
            raise Wrong(f"GET {path}: {answer.status} {answer.line}")
        return answer.json()

    def upload(self, data: bytes, name: str = "video.mp4") -> Answer:
        return self.call("PUT", f"/uploads/{name}", data)

    def post(self, path: str, **body: Any) -> Answer:
        return self.call("POST", path, json.dumps(body).encode(), JSON)

    def connect(self, head: str = "", body: bytes = b"", receive_bytes: int = 0) -> socket.socket:
        """A connection on which so much was sent. receive_bytes: of its buffer; 0: the system's."""
        client = socket.socket()
        if receive_bytes:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        client.connect(("127.0.0.1", self.port))
        client.sendall(head.replace("\n", "\r\n").encode() + body)
        return client

    def held(self) -> tuple[int, int, int]:
        """Bytes in its folder with those reserved, its open files, and its uploads."""
        uploads = len(list((self.folder / "uploads").iterdir()))
        return self.get("/health")["disk_used"], len(os.listdir(f"/proc/{self.process.pid}/fd")), uploads

    def end(self, number: int) -> None:
        """By a signal. Raises Wrong for another status, a process that is left, and a traceback in the log."""
        below = tree(self.process.pid)[1:]
        self.process.send_signal(number)
        try:
            status = self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            raise Wrong(f"the server does not end after signal {number}") from None
        if status != (-number if number == signal.SIGKILL else 128 + number):
            raise Wrong(f"the server ended with status {status} after signal {number}")
        if number != signal.SIGKILL and (left := [pid for pid in below if Path(f"/proc/{pid}").exists()]):
            raise Wrong(f"the server ended before {len(left)} of its processes")
        if left := wait_until_gone(below):
            raise Wrong(f"after signal {number}: {left[0]}")
        if "Traceback" in (said := self.log.read_text(errors="replace")):
            raise Wrong(f"a traceback in the log: {said[said.index('Traceback') :][-800:]}")

    def check_whole(self) -> None:
        """Raise Wrong where a folder lacks its facts, or has what a killed process was writing."""
        for kind, facts in (("jobs", "job.json"), ("uploads", "upload.json")):
            for folder in (self.folder / kind).iterdir():
                names = [file.name for file in folder.iterdir()]
                if facts not in names or any(name.startswith(".") for name in names):
                    raise Wrong(f"left over: {kind}/{folder.name} with {names}")


class Bench:
    """Three videos, three jobs of each, and their results in a run that is not disturbed."""

    def __init__(self, folder: Path, hostile: str | None = None):
        from tests.video_factory import draw_video

        self.folder, self.hostile, self.num_served = folder, hostile, 0
        self.servers: list[Served] = []  # of the cell at hand
        self.answers: Counter = Counter()
        paths = [draw_video(folder / f"{n}.mp4", num_frames=150 + 50 * n, hue=n) for n in range(3)]
        self.videos = [path.read_bytes() for path in paths]
        self.expected: dict[str, bytes] = {}  # by job, as text
        self.seconds = 0.0  # of that run
        self.jobs = [
            (video, options)
            for video in range(3)
            for options in (
                {"task": "segments", "stride_seconds": 0.04 + 0.01 * video},
                {"task": "classes", "views": "10x3"},
                {"task": "features", "stage": "res4", "pooling": "window"},
            )
        ]

    def judged(self, stage: Callable[[random.Random], str], rng: random.Random) -> str:
        """`right` and what was seen, or what is wrong; every server that the cell has left is ended by SIGTERM."""
        self.servers, self.answers = [], Counter()
        try:
            seen = stage(rng)
            for served in self.servers:
                if served.process.poll() is None:
                    served.check_whole()
                    served.end(signal.SIGTERM)
            answers = ", ".join(f"{count} x {status}" for status, count in sorted(self.answers.items()))
            return f"right ({seen}; {answers})"
        except (Wrong, OSError, http.client.HTTPException) as error:
            return f"WRONG: {type(error).__name__}: {error}"
        finally:
            for served in self.servers:
                served.process.kill()
                served.process.wait()

    def start(self, folder: Path | None = None) -> Served:
        self.num_served += 1
        self.servers.append(Served(folder or self.folder / f"data{self.num_served}"))
        return self.servers[-1]

    # ------------------------------------------------------------------------------------------- what is promised

    def submit(self, served: Served, jobs: list | None = None) -> dict[str, tuple]:
        """Upload the videos and ask for the jobs, by default all. Returns those that were accepted, by id."""
        accepted, ids = {}, {}
        for video, options in self.jobs if jobs is None else jobs:
            if video not in ids:
                answer = self.counted(served.upload(unlike(self.videos[video])))
                ids[video] = answer.json().get("video_id", "")
            answer = self.counted(served.post("/jobs", video_id=ids[video], **options))
            if answer.status == 202:
                accepted[answer.json()["id"]] = video, options
        return accepted

    def counted(self, answer: Answer, *statuses: int) -> Answer:
        """statuses: it may have; none: any."""
        self.answers[answer.status] += 1
        if statuses and answer.status not in statuses:
            raise Wrong(f"{answer.status} in place of {statuses}: {answer.body[:200]!r}")
        return answer

    def result(self, served: Served, job: str, options: dict) -> bytes:
        """The file of a job. Raises Failed for one that fails, Wrong for one that is gone or does not end."""
        deadline = time.monotonic() + SECONDS
        while (state := served.get(f"/jobs/{job}"))["state"] not in ("done", "failed", "cancelled"):
            if time.monotonic() > deadline:
                raise Wrong(f"a job is {state['state']} after {SECONDS:g} s: {options}")
            time.sleep(0.1)
        if state["state"] != "done":
            raise Failed(f"a job is {state['state']}: {options}: {state['detail']}")
        return served.call("GET", f"/jobs/{job}/{RESULTS[options['task']]}").body

    def expect(self) -> None:
        """Run the jobs undisturbed, once."""
        if not self.expected:
            served, begin = self.start(), time.monotonic()
            for job, (video, options) in self.submit(served).items():
                self.expected[f"{video} {options}"] = self.result(served, job, options)
            self.seconds = time.monotonic() - begin
            served.end(signal.SIGTERM)
            self.answers.clear()

    def check(self, served: Served, accepted: dict[str, tuple], may_fail: str = "no job") -> str:
        """Raise Wrong unless every accepted job ends as in the undisturbed run, or fails with words that it may."""
        num_failed = 0
        for job, (video, options) in accepted.items():
            try:
                if self.result(served, job, options) != self.expected[f"{video} {options}"]:
                    raise Wrong(f"not the file of the undisturbed run: video {video}, {options}")
            except Failed as error:
                if may_fail not in str(error):
                    raise
                num_failed += 1
        failed = f", {num_failed} failed, killed {may_fail}" if num_failed else ""
        return f"{len(accepted) - num_failed} accepted jobs end as undisturbed{failed}"

    def check_held(self, served: Served, before: tuple[int, int, int]) -> None:
        """Raise Wrong when the server holds more than before, after a while."""
        deadline = time.monotonic() + TIDY_SECONDS
        while any(have > may for have, may in zip(served.held(), before)):
            if time.monotonic() > deadline:
                raise Wrong(f"bytes, open files and uploads are {served.held()}, before {before}")
            time.sleep(0.2)

    # ------------------------------------------------------------------------------------------- cells

    def abandoned(self, rng: random.Random) -> str:
        """Half a body, then the connection is closed or reset; an upload that can be resumed is the file in the end."""
        served, data = self.start(), self.videos[0]
        self.counted(served.upload(data), 201)
        before = served.held()
        for number in range(50):
            size, half = len(data), rng.randrange(1, len(data))
            body = b"%x\r\n" % half + data[:half] if number % 3 == 0 else data[:half]
            client = served.connect(head_of("PUT", "/uploads/half.mp4", None if number % 3 == 0 else size), body)
            leave(client, with_reset=bool(number % 2))
        for number in range(5):
            begun = self.counted(served.post("/uploads", name="whole.mp4", bytes=len(data)), 201).json()["video_id"]
            path = f"/uploads/{begun}"
            leave(
                served.connect(head_of("PATCH", path, len(data), "Upload-Offset: 0\n"), data[: len(data) // 2]),
                with_reset=bool(number % 2),
            )
            deadline = time.monotonic() + TIDY_SECONDS
            while True:  # 409 until the server has seen the end of the other connection
                offset = served.call("HEAD", path).headers["upload-offset"]
                answer = self.counted(served.call("PATCH", path, data[int(offset) :], Upload_Offset=offset), 200, 409)
                if answer.status == 200 or time.monotonic() > deadline:
                    break
                time.sleep(0.05)
            if served.call("GET", f"/videos/{begun}/content").body != data:
                raise Wrong("a resumed upload is not the file")
            self.counted(served.call("DELETE", path), 204)
        self.check_held(served, before)
        return "50 uploads abandoned, 5 resumed"

    def server_killed(self, rng: random.Random) -> str:
        """Twice, while it accepts, decodes and scores; it is started again on the same folder."""
        self.expect()
        served, accepted = self.start(), {}
        for turn in range(2):
            half = served.connect(head_of("PUT", "/uploads/half.mp4", 1 << 20), bytes(5000))
            timer = threading.Timer(rng.uniform(0, (0.5 + turn) * self.seconds), served.process.kill)
            timer.start()
            with contextlib.suppress(OSError, http.client.HTTPException):
                accepted |= self.submit(served, rng.sample(self.jobs, 5))
            timer.join()
            half.close()
            served.process.wait()
            served = self.start(served.folder)
        return self.check(served, accepted | self.submit(served, rng.sample(self.jobs, 2)))

    def process_killed(self, rng: random.Random, word: str) -> str:
        """Four times, at random moments, one of the processes with a word in the command line."""
        self.expect()
        served, killed = self.start(), 0
        accepted = self.submit(served)
        for pause in (rng.uniform(0, self.seconds / 4) for _ in range(4)):
            time.sleep(pause)
            if victims := descendants(served.process.pid, word):
                os.kill(rng.choice(victims), signal.SIGKILL)
                killed += 1
        return f"{killed} killed; {self.check(served, accepted | self.submit(served, self.jobs[:2]), FAILED_TWICE)}"

    def ended(self, rng: random.Random) -> str:
        """By each signal in mid-job: no process stays, and the jobs go on at the next start."""
        self.expect()
        served = self.start()
        accepted = self.submit(served)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
            time.sleep(rng.uniform(0, self.seconds / 4))
            served.end(number)
            served = self.start(served.folder)
        return self.check(served, accepted)

    def full_disk(self, rng: random.Random) -> str:
        """It becomes full in mid-job; the server is killed, started on the full disk, and there is room again."""
        self.expect()
        with small_disk(self.folder / "small") as disk:
            served = self.start(disk.folder / "data")
            accepted = self.submit(served)
            while not any(served.get(f"/jobs/{job}")["num_windows"] for job in accepted):
                time.sleep(0.02)
            job, (_, options) = next(iter(accepted.items()))
            video_id, uploads = served.get(f"/jobs/{job}")["video_id"], served.held()[2]
            for is_restarted in (False, True):
                if is_restarted:
                    served.end(signal.SIGKILL)
                    served = self.start(served.folder)
                disk.fill(served.process.pid)
                for _ in range(3):
                    self.counted(served.upload(unlike(self.videos[0])), 507)
                    answer = self.counted(served.post("/jobs", video_id=video_id, **options), 200, 202, 507)
                    if answer.status != 507:  # a running job has just let go of a page
                        accepted[answer.json()["id"]] = accepted[job]
                time.sleep(2)  # jobs meet the full disk
                if served.held()[2] != uploads:
                    raise Wrong(f"{served.held()[2]} uploads in place of {uploads}")
            disk.free(served.process.pid)
            seen = self.check(served, accepted | self.submit(served, self.jobs[:2]))
            served.check_whole()
            served.end(signal.SIGTERM)
        return f"{disk.kind}: {seen}"

    def slow(self, rng: random.Random) -> str:
        """Clients that send a byte every two seconds, or nothing, or do not read; they are ended, the others go on."""
        self.expect()
        served = self.start()
        large = self.videos[0] + struct.pack(">I4s", 30 << 20, b"free") + bytes((30 << 20) - 8)
        video_id = self.counted(served.upload(large), 201).json()["video_id"]
        content = f"GET {V1}/videos/{video_id}/content HTTP/1.1\nHost: 127.0.0.1\n\n"
        self.check(served, self.submit(served))  # every reading process is there now
        bytes_, num_files, uploads = served.held()
        clients = {
            "nothing": served.connect(),
            "head": served.connect("GET / HTTP/1.1\nHost: 127.0.0.1\nX: "),
            "body": served.connect(head_of("PUT", "/uploads/slow.mp4", 1 << 20)),
            "json": served.connect(head_of("POST", "/jobs", 500, kind=JSON), b"{"),
            "refused body": served.connect(head_of("POST", "/jobs", 500, kind="text/plain")),
            "unread": served.connect(content, receive_bytes=2048),
        }
        accepted, begin, ends, ticks = self.submit(served), time.monotonic(), {}, 0
        while len(ends) < len(clients):
            if (waited := time.monotonic() - begin) > SLOW_SECONDS:
                raise Wrong(f"not ended after {SLOW_SECONDS:g} s: {', '.join(set(clients) - set(ends))}")
            for name, client in clients.items():
                if name not in ends and is_ended(client, sends=name not in ("nothing", "unread") and ticks % 20 == 0):
                    ends[name] = waited
            ticks += 1
            time.sleep(0.1)
        seen = self.check(served, accepted)
        self.check_held(served, (bytes_ + (10 << 20), num_files, uploads + 3))
        return f"ended after {', '.join(f'{s:.0f} s ({name})' for name, s in ends.items())}; {seen}"

    def hostile_files(self, rng: random.Random) -> str:
        """Every file of a folder that may be read is uploaded and classified, in between jobs that must be right. A
        manifest.json says which must be scored (ok) and which must not (error)."""
        self.expect()
        served, folder, manifest = self.start(), Path(str(self.hostile)), {}
        with contextlib.suppress(OSError):
            manifest = {e["name"]: e["expect"] for e in json.loads((folder / "manifest.json").read_bytes())}
        paths = [
            path
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.stat().st_mode & 0o444 and path.name != "manifest.json"
        ]
        states, slowest, wrong = Counter(), (0.0, ""), []
        for number, path in enumerate(paths):
            valid, begin = self.submit(served, [self.jobs[number % 9]]) if number % 9 == 0 else {}, time.monotonic()
            answer = self.counted(
                served.upload(path.read_bytes(), quote_from_bytes(os.fsencode(path.name), safe="")), 201, 422
            )
            state, name = "refused", str(path.relative_to(folder))
            if answer.status == 201:
                job = self.counted(served.post("/jobs", video_id=answer.json()["video_id"], task="classes"), 202).json()
                with contextlib.suppress(Failed):
                    self.result(served, job["id"], {"task": "classes"})
                found = served.get(f"/jobs/{job['id']}")
                state = found["state"]
                if state not in ("done", "failed") or (state == "failed") != (len(found["detail"].splitlines()) == 1):
                    raise Wrong(f"{name}: {state}, {found['detail']!r}")
            if (expected := manifest.get(name)) in ("ok", "error") and (state == "done") != (expected == "ok"):
                wrong.append(f"{name} is {state}, should be {expected}")
            states[state] += 1
            slowest = max(slowest, (time.monotonic() - begin, name))
            self.check(served, valid)
            served.get("/health")
        if wrong:
            raise Wrong("; ".join(wrong))
        counts = ", ".join(f"{count} {state}" for state, count in states.items())
        return f"{counts}; the slowest took {slowest[0]:.1f} s ({slowest[1]})"


# ------------------------------------------------------------------------------------------- clients and disks


def head_of(method: str, path: str, num_bytes: int | None, more: str = "", kind: str = OCTETS) -> str:
    """num_bytes: of the body; None: it comes in chunks."""
    size = f"Content-Length: {num_bytes}" if num_bytes else "Transfer-Encoding: chunked"
    return f"{method} {V1}{path} HTTP/1.1\nHost: 127.0.0.1\nContent-Type: {kind}\n{size}\n{more}\n"


def leave(client: socket.socket, with_reset: bool) -> None:
    if with_reset:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def is_ended(client: socket.socket, sends: bool) -> bool:
    """Whether the other side has closed or reset a connection, of which nothing is read. sends: one byte."""
    client.setblocking(False)
    try:
        if sends:
            client.send(b"1")
        return client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != ESTABLISHED
    except BlockingIOError:
        return False
    except OSError:
        return True


class Disk:
    """A small file system in a folder, or, where none may be mounted, a limit on the files that the server writes."""

    def __init__(self, folder: Path):
        folder.mkdir()
        self.folder = folder
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
        self.is_mounted = os.geteuid() == 0 and subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0
        self.kind = "tmpfs" if self.is_mounted else "RLIMIT_FSIZE"

    def fill(self, pid: int) -> None:
        if not self.is_mounted:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
            return
        with open(self.folder / "filler", "ab", buffering=0) as stream:
            for size in (1 << 20, 1 << 12):
                with contextlib.suppress(OSError):
                    while stream.write(bytes(size)):
                        pass

    def free(self, pid: int) -> None:
        if self.is_mounted:
            (self.folder / "filler").unlink()
        else:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Disk]:
    disk = Disk(folder)
    try:
        yield disk
    finally:
        if disk.is_mounted:
            subprocess.run(["umount", "-l", str(folder)], check=False)


if __name__ == "__main__":
    run(main)
