"""Kill and stop parts of a tiny training on two nodes of this machine; its supervisors must bring it to the same end.

python tools/torture_nodes.py                       # every cell, some fifteen minutes on 2 cores
python tools/torture_nodes.py --only SIGKILL --seeds 5
python tools/torture_nodes.py --only elastic --etcd_python ENV/bin/python      # docs/training.md says what ENV needs

A node is `bash run.sh train ... --restarts 3` with PADDLE_NNODES=2 and PADDLE_MASTER=127.0.0.1:PORT: a supervisor,
Paddle's launcher, one training process. A cell is right when both nodes end as they should and the weights, optimiser
state, averages, validations and training rows are those of an undisturbed run of two processes, bit for bit.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402 - the tool is started as a file

from tools.torture_training import Bench, Wrong, children, print_verdicts, seeded_verdicts, table  # noqa: E402
from training.checkpoint import read_states  # noqa: E402
from utils.cli import Parser, positive_int, run  # noqa: E402

HOOK = "TORTURE_NODES"  # of hooked_training
SILENCE_SECONDS = 15.0  # for the cell that waits for it
NUM_RESTARTS = 3
SECONDS = 400.0
NAMESPACE, ADDRESSES = "nonlocal", ("10.77.0.1", "10.77.0.2")  # of the cell that cuts a network
KEPT_NORMS = (  # with these the losses do not depend on the number of processes
    "-o", "TRAIN.freeze_norms=True", "-o", "TRAIN.dropout_rate=0.0", "-o", "MODEL.bn_init_gamma=0.5",
    "-o", "NONLOCAL.bn_init_gamma=0.5",
)  # fmt: skip


def main() -> None:
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--only", nargs="+", default=[""], metavar="WORDS", help="cells with one of these in the name")
    parser.add_argument("--seeds", type=positive_int, default=2, help="random moments of each (default: %(default)s)")
    parser.add_argument("--etcd_python", help="Python with Paddle, etcd3 and protobuf below 4, for the cell `elastic`")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Nodes(Path(folder) / "bench")
        table_of_cells = cells(bench, args.seeds)
        if args.etcd_python:
            table_of_cells["elastic: launcher and process of one of two nodes killed"] = (
                lambda rng: bench.elastic(args.etcd_python), 1,
            )  # fmt: skip
        print_verdicts(seeded_verdicts(bench, table_of_cells, args.only), ("cell", "seed", "result"))


def cells(bench: Nodes, num_seeds: int) -> dict[str, tuple[Callable[[random.Random], str], int]]:
    """Cells by name, and how many times each is tried."""
    return {
        "undisturbed": (bench.undisturbed, 1),
        "SIGKILL of the process of node 0": (lambda rng: bench.killed(rng, 0), num_seeds),
        "SIGKILL of the process of node 1": (lambda rng: bench.killed(rng, 1), num_seeds),
        "SIGKILL of launcher and process of node 1": (lambda rng: bench.killed(rng, 1, with_launcher=True), num_seeds),
        "SIGKILL of the process of node 1 at its start": (bench.killed_at_the_start, 1),
        "SIGSTOP of the process of node 0": (lambda rng: bench.stopped(0), 1),
        "SIGSTOP of the process of node 1": (lambda rng: bench.stopped(1), 1),
        "SIGTERM to the supervisor of node 1": (bench.terminated, num_seeds),
        "SIGKILL at the same iteration each time": (bench.always_killed, 1),
        "wrong usage": (bench.refused, 1),
        "shards in place of files": (bench.from_shards, 1),
        "2, 1, 2 processes": (bench.changing, 1),
        "network cut (needs root and iproute2)": (bench.cut_off, 1),
    }


class Nodes(Bench):
    """Two nodes of one process each, beside the undisturbed run of two processes on one node."""

    def __init__(self, folder: Path):
        begin = time.monotonic()
        super().__init__(folder, 2)
        self.straight_seconds = time.monotonic() - begin
        self.save_dir = folder
        self.nodes: list[subprocess.Popen] = []  # of the cell at hand
        self.statuses: list[int] = []

    def judged(self, cell: Callable[[random.Random], str], rng: random.Random) -> str:
        """`right` and what was seen, or what is wrong."""
        self.num_cells += 1
        self.save_dir = self.folder / f"cell{self.num_cells}"
        self.nodes = []
        try:
            return f"right ({cell(rng)})"
        except (Wrong, subprocess.TimeoutExpired) as error:
            return f"WRONG: {error}; {self.all_said()[-1500:]}"
        finally:
            self.end_all()

    def start_nodes(self, hook: str = "", *flags: str, namespaces: Sequence[str] = ()) -> None:
        """Start both; `hook` is for `hooked_training`, which then takes the place of train.py."""
        addresses = ADDRESSES if namespaces else ("127.0.0.1", "127.0.0.1")
        port = free_port()
        self.save_dir.mkdir(parents=True, exist_ok=True)
        training = [
            f"--save_dir={self.save_dir}", "--log_interval=1", "--fix_random_seed=True", "--use_gpu=False",
            f"--restarts={NUM_RESTARTS}", *flags,
        ]  # fmt: skip
        command = ["bash", "run.sh", "train", "NONLOCAL", str(self.config), *training]
        if hook:
            launch = [sys.executable, "-m", "paddle.distributed.launch", str(Path(__file__).resolve())]
            command = [sys.executable, "-m", "training.supervisor", *launch, f"--config={self.config}", *training]
        for number in range(2):
            env = {
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "PADDLE_NNODES": "2", "PADDLE_MASTER": f"{addresses[0]}:{port}", "PADDLE_NPROC_PER_NODE": "1",
                "POD_IP": addresses[number],
                "PADDLE_LOG_DIR": str(self.save_dir / f"launch{number}"), HOOK: hook,
            }  # fmt: skip
            with open(self.save_dir / f"node{number}.txt", "ab") as said:
                self.nodes.append(
                    subprocess.Popen(
                        [*(["ip", "netns", "exec", namespaces[number]] if namespaces else []), *command],
                        cwd=ROOT, stdout=said, stderr=said, start_new_session=True, env=env,
                    )
                )  # fmt: skip

    def launcher(self, number: int) -> int | None:
        """The process of a node's launcher, the supervisor's child."""
        return next(iter(children([self.nodes[number].pid])), None)

    def process(self, number: int) -> int:
        """The training process of a node, when it is there."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            launcher = self.launcher(number)
            for pid in children([launcher]) if launcher else []:
                if is_training(pid):
                    return pid
            time.sleep(0.02)
        raise Wrong(f"node {number} starts no process")

    def wait_for(self, *statuses: int) -> None:
        """Wait until both nodes have ended, with these exit statuses."""
        deadline = time.monotonic() + SECONDS
        found = tuple(node.wait(max(1.0, deadline - time.monotonic())) for node in self.nodes)
        if found != statuses:
            raise Wrong(f"the nodes ended with {found} in place of {statuses}")

    def check_equal(self) -> None:
        if wrong := self.compare(self.save_dir):
            raise Wrong("; ".join(wrong))

    def all_said(self) -> str:
        files = [*sorted(self.save_dir.glob("node*.txt")), *sorted(self.save_dir.glob("launch*/workerlog.*"))]
        return "\n".join(file.read_text(errors="replace") for file in files)

    def end_all(self) -> None:
        """End what a failed cell has left."""
        for number, node in enumerate(self.nodes):
            left = children([launcher]) if (launcher := self.launcher(number)) else []
            for pid in [node.pid, *([launcher] if launcher else []), *left]:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            node.wait()

    # --------------------------------------------------------------------------------------------------- the cells

    def undisturbed(self, rng: random.Random) -> str:
        begin = time.monotonic()
        self.start_nodes()
        self.wait_for(0, 0)
        self.check_equal()
        return f"{time.monotonic() - begin:.0f} s"

    def killed(self, rng: random.Random, number: int, with_launcher: bool = False) -> str:
        """kill -9 at a random moment from the one on at which the processes have found each other."""
        self.start_nodes()
        other, victim = self.process(1 - number), self.process(number)
        self.wait_for_text("training on cpu")
        time.sleep(rng.uniform(0, 0.4 * self.straight_seconds))
        if not Path(f"/proc/{victim}").exists():
            self.wait_for(0, 0)
            self.check_equal()
            return "the run had ended before"
        launcher = self.launcher(number) if with_launcher else None
        for pid in [launcher, victim] if launcher else [victim]:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        seconds = self.seconds_until_gone(other)
        self.wait_for(0, 0)
        self.check_equal()
        where = [line for line in self.all_said().splitlines() if line.startswith("the run failed")]
        moment = where[0].partition("is of iteration ")[2].split(";")[0] if where else "none"
        return f"killed after iteration {moment}; the other process ended {seconds:.1f} s later"

    def wait_for_text(self, text: str) -> None:
        deadline = time.monotonic() + SECONDS
        while text not in self.all_said():
            if time.monotonic() > deadline:
                raise Wrong(f"nobody says {text!r}")
            time.sleep(0.05)

    def killed_at_the_start(self, rng: random.Random) -> str:
        """kill -9 before the processes have found each other: the other one waits, up to its limit."""
        self.start_nodes(f"join {SILENCE_SECONDS:.0f}")
        other, victim = self.process(0), self.process(1)
        os.kill(victim, signal.SIGKILL)
        seconds = self.seconds_until_gone(other)
        self.wait_for(0, 0)
        self.check_equal()
        return f"the limit was {SILENCE_SECONDS:.0f} s; the other process ended after {seconds:.1f} s"

    def seconds_until_gone(self, pid: int) -> float:
        begin = time.monotonic()
        while Path(f"/proc/{pid}").exists():
            if time.monotonic() - begin > SECONDS:
                raise Wrong(f"process {pid} of the other node is left")
            time.sleep(0.02)
        return time.monotonic() - begin

    def stopped(self, number: int) -> str:
        """SIGSTOP of one process: the other ends and says why; SIGCONT, and both are started again."""
        self.start_nodes(f"silence {SILENCE_SECONDS}")
        self.wait_for_iteration(3)
        process, other = self.process(number), self.process(1 - number)
        os.kill(process, signal.SIGSTOP)
        seconds = self.seconds_until_gone(other)
        os.kill(process, signal.SIGCONT)
        if "has not answered for" not in self.all_said():
            raise Wrong("the time-out is not told")
        self.wait_for(0, 0)
        self.check_equal()
        return f"the limit was {SILENCE_SECONDS:.0f} s; the other process ended after {seconds:.1f} s"

    def wait_for_iteration(self, number: int) -> None:
        log, deadline = self.save_dir / "log.jsonl", time.monotonic() + SECONDS
        while not (log.exists() and f'"iteration": {number}' in log.read_text()):
            if time.monotonic() > deadline:
                raise Wrong(f"the run does not come to iteration {number}")
            time.sleep(0.02)

    def terminated(self, rng: random.Random) -> str:
        """SIGTERM to one node stops the run on both, with a checkpoint; the same lines continue it."""
        self.start_nodes("slow 0.3")
        self.stop_after(rng.randrange(1, 6), self.nodes[1])
        self.start_nodes("", "--resume=auto")
        self.wait_for(0, 0)
        self.check_equal()
        return f"exit statuses {self.statuses[0]} and {self.statuses[1]}, none started again; the same lines continued"

    def always_killed(self, rng: random.Random) -> str:
        """A run that always dies at the same iteration is given up after the third time."""
        self.start_nodes("kill 5")
        self.wait_for(1, 1)
        count = self.all_said().count("for the 3rd time: given up")
        if count != 2:
            raise Wrong(f"{count} supervisors say that they give up")
        return "both supervisors gave up after the third failure"

    def refused(self, rng: random.Random) -> str:
        """Only the first process knows that the folder is used; neither node is started again."""
        self.save_dir.mkdir(parents=True)
        for file in (self.folder / "straight").glob("NONLOCAL_epoch*"):
            (self.save_dir / file.name).write_bytes(file.read_bytes())
        self.start_nodes()
        self.wait_for(2, 2)
        if "starting it again" in self.all_said():
            raise Wrong("a node was started again")
        return "exit status 2 on both, none started again"

    def from_shards(self, rng: random.Random) -> str:
        """The same videos as members of shards."""
        shards = self.folder / "shards"
        packing = [sys.executable, "tools/pack_dataset.py", str(self.folder / "list.txt"), "--out", str(shards)]
        subprocess.run(packing, cwd=ROOT, check=True, capture_output=True)
        packed = shards / "list.txt"
        self.start_nodes("", "-o", f"TRAIN.filelist={packed}", "-o", f"VALID.filelist={packed}")
        self.wait_for(0, 0)
        self.check_equal()
        return f"{packed.read_text().count('.tar#')} members"

    def changing(self, rng: random.Random) -> str:
        """Two processes, then one, then two, on norms that keep their statistics: the losses of two throughout."""
        self.start_nodes("slow 0.3", *KEPT_NORMS)
        self.stop_after(2, self.nodes[1])
        iterations = [self.iteration()]
        alone = self.start_alone("slow 0.3", *KEPT_NORMS, "--resume=auto")
        self.stop_after(iterations[0] + 2, alone)
        iterations.append(self.iteration())
        self.start_nodes("", *KEPT_NORMS, "--resume=auto")
        self.wait_for(0, 0)
        return f"changed after iterations {iterations[0]} and {iterations[1]}; {self.compare_losses()}"

    def compare_losses(self) -> str:
        """How far the losses are from those of two processes throughout, on norms that keep their statistics."""
        straight = self.folder / "frozen"
        if not straight.exists() and self.start(straight, {}, *KEPT_NORMS).wait(SECONDS):
            raise Wrong(f"the run to compare with fails: {self.said(straight)}")
        expected, found = (dict(table(folder, "train", ("iteration", "loss"))) for folder in (straight, self.save_dir))
        furthest = max(abs(found.get(i, np.inf) - loss) / loss for i, loss in expected.items())
        if furthest > 1e-5:
            raise Wrong(f"losses differ by {furthest:.1e}")
        return f"losses differ by {furthest:.0e} at most"

    def cut_off(self, rng: random.Random) -> str:
        """Two network namespaces; the link between them loses all packets for a while."""
        names = [f"{NAMESPACE}{number}" for number in range(2)]
        try:
            for name in names:
                ip("netns", "delete", name, check=False)  # of a run that was killed
                ip("netns", "add", name)
            ip("link", "add", "link0", "netns", names[0], "type", "veth", "peer", "name", "link1", "netns", names[1])
            for number, name in enumerate(names):
                ip("-n", name, "addr", "add", f"{ADDRESSES[number]}/24", "dev", f"link{number}")
                for device in ("lo", f"link{number}"):
                    ip("-n", name, "link", "set", device, "up")
            self.start_nodes("slow 0.3", namespaces=names)
            self.wait_for_iteration(3)
            processes = [self.process(number) for number in range(2)]
            ip("-n", names[0], "link", "set", "link0", "down")
            first = self.seconds_until_gone(processes[0])
            last = first + self.seconds_until_gone(processes[1])
            ip("-n", names[0], "link", "set", "link0", "up")
            self.wait_for(0, 0)
        finally:
            self.end_all()
            for name in names:
                ip("netns", "delete", name, check=False)
        self.check_equal()
        return f"both processes had ended {last:.0f} s later"

    def elastic(self, python: str) -> str:
        """The launcher's elastic mode, with etcd: the other node goes on alone, without a supervisor."""
        self.save_dir.mkdir()
        url = f"127.0.0.1:{free_port()}"
        etcd = ["etcd", "--data-dir", str(self.save_dir / "etcd")]
        etcd += [f"--{side}-client-urls=http://{url}" for side in ("listen", "advertise")]
        etcd += [f"--listen-peer-urls=http://127.0.0.1:{free_port()}"]
        with open(self.save_dir / "etcd.txt", "w") as said:
            server = subprocess.Popen(etcd, stdout=said, stderr=said)
        try:
            for number in range(2):
                launch = [
                    python, "-m", "paddle.distributed.launch", f"--master=etcd://{url}", "--nnodes=1:2",
                    "--nproc_per_node=1", "--elastic_level=1", "--elastic_timeout=5", "--job_id=torture",
                    f"--log_dir={self.save_dir}/launch{number}", str(Path(__file__).resolve()),
                    f"--config={self.config}", f"--save_dir={self.save_dir}", "--log_interval=1",
                    "--fix_random_seed=True", "--use_gpu=False", "--resume=auto", *KEPT_NORMS,
                ]  # fmt: skip
                with open(self.save_dir / f"node{number}.txt", "w") as said:
                    self.nodes.append(
                        subprocess.Popen(launch, cwd=ROOT, stdout=said, stderr=said, env={**os.environ, HOOK: "slow 1"})
                    )
            self.wait_for_iteration(4)
            (victim,) = filter(is_training, children([self.nodes[1].pid]))
            for pid in (self.nodes[1].pid, victim):
                os.kill(pid, signal.SIGKILL)
            begin, iteration = time.monotonic(), self.iteration()
            self.wait_for_text("resumed from")
            seconds = time.monotonic() - begin
            self.wait_for(0, -signal.SIGKILL)
        finally:
            server.terminate()
            server.wait()
        return f"killed after iteration {iteration}; going on alone {seconds:.0f} s later; {self.compare_losses()}"

    def start_alone(self, hook: str, *flags: str) -> subprocess.Popen:
        """One process without a launcher, in the folder of the cell."""
        command = [
            sys.executable, str(Path(__file__).resolve()), f"--config={self.config}", f"--save_dir={self.save_dir}",
            "--log_interval=1", "--fix_random_seed=True", "--use_gpu=False", *flags,
        ]  # fmt: skip
        with open(self.save_dir / "node0.txt", "ab") as said:
            process = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said, env={**os.environ, HOOK: hook})
        self.nodes = [process]
        return process

    def stop_after(self, iteration: int, process: subprocess.Popen) -> None:
        """SIGTERM to one node; all end, none with status 0."""
        self.wait_for_iteration(iteration)
        process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + SECONDS
        self.statuses = [node.wait(max(1.0, deadline - time.monotonic())) for node in self.nodes]
        if 0 in self.statuses or "starting it again" in self.all_said():
            raise Wrong(f"the nodes ended with {self.statuses}, or one was started again")
        self.nodes = []

    def iteration(self) -> int:
        """Of the newest checkpoint."""
        return max(state["iteration"] for _, state in read_states(self.save_dir))


def is_training(pid: int) -> bool:
    """Whether a process is a training one, and not a helper of the launcher or its fork."""
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        return "paddle.distributed.launch" not in words and any(word.startswith("--save_dir=") for word in words)
    return False


def ip(*words: str, check: bool = True) -> None:
    """The command `ip` (iproute2), which changes networks for root only."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if check and done.returncode:
        raise Wrong(f"ip {' '.join(words)}: {done.stderr}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def hooked_training() -> None:
    """train.py with one thing changed: a limit (`silence SECONDS`, `join SECONDS`), `kill ITERATION` for all, or
    `slow SECONDS` a step."""
    os.chdir(ROOT)
    what, _, value = os.environ[HOOK].partition(" ")
    from utils import heartbeat, parallel
    from utils.runtime import prepare_environment

    prepare_environment()
    import train
    from training.trainer import Trainer

    step = Trainer.step

    def changed_step(self, *args):
        if what == "kill" and self.iteration + 1 == int(value):
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(float(value) if what == "slow" else 0.0)
        return step(self, *args)

    Trainer.step = changed_step
    if what == "silence":
        heartbeat.SILENCE_SECONDS, heartbeat.GRACE_SECONDS = float(value), 5.0
    if what == "join":
        parallel.JOIN_SECONDS = int(value)
    run(train.main)


if __name__ == "__main__":
    if os.environ.get(HOOK):
        hooked_training()
    else:
        run(main)
