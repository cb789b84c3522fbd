"""The networks as jobs see them. They live in a process of their own (serving/networks.py): this one stays small, and
outlives a crash of theirs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from datareader.worker_process import Arena
from serving.networks import Facts
from utils.child import Child
from utils.errors import RunError, UserError

if TYPE_CHECKING:
    from configs.schema import Config
    from inference.attention import Look
    from inference.backends import BackendSpec

CODE = "import sys; sys.path[0] = sys.argv[3]; from serving.networks import main; main()"
NUM_STARTS = 3  # before a call fails for want of the process

logger = logging.getLogger("serving")


class Engine:
    """Runs calls one after the other, in the order they came.

    A job waits for the answer of a call before it makes the next one, so that jobs take turns, a batch each. Clips of
    several jobs are not put into one batch: scores would depend, in their last digits, on what others compute.

    A process that ends in the middle of a call (out of memory, a crash) is started again, and gets the call once more;
    when it ends again, the call fails.

    specs: of the networks, which calls name by number. use_gpu: as `choose_device` takes it. facts: of each network.
    Raises UserError or RunError when one cannot be built.
    """

    def __init__(self, specs: Sequence[BackendSpec], use_gpu: bool | None = None):
        self.specs, self.use_gpu = specs, use_gpu
        self.busy_seconds, self.num_clips = 0.0, 0
        self._child = Child()
        self._is_ready = self._is_closed = False
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._restart: Future | None = None
        try:
            self.facts: list[Facts] = self._executor.submit(self._start).result()
        except BaseException:
            self.close()
            raise

    # ------------------------------------------------------------------------------------------- calls

    def outputs(self, clips: np.ndarray, network: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """As `Backend.outputs`."""
        self.num_clips += len(clips)
        return self._call(network, "outputs", clips)

    def pooled_features(self, clips: np.ndarray, stage: str) -> np.ndarray:
        """As `inference.features.pooled_features`, of the first network in Paddle, which is built at its first use."""
        self.num_clips += len(clips)
        return self._call(0, "pooled_features", clips, stage)

    def looks(
        self, clip: np.ndarray, frame: int, points: Sequence[tuple[float, float]], block: str | None, num_arrows: int
    ) -> tuple[str, list[Look]]:
        """As `serving.networks.Network.looks`, of the first network."""
        return self._call(0, "looks", clip, frame, points, block, num_arrows)

    def _call(self, network: int, name: str, clips: np.ndarray, *arguments: Any) -> Any:
        """Of a method of `Network`. Raises what it raises, and CancelledError once the engine is closed."""
        return self._executor.submit(self._timed, network, name, clips, arguments).result()

    # ------------------------------------------------------------------------------------------- its own thread

    def _timed(self, *call: Any) -> Any:
        begin = time.monotonic()
        try:
            return self._run(*call)
        finally:
            self.busy_seconds += time.monotonic() - begin

    def _run(self, *call: Any) -> Any:
        for is_last in (False, True):
            self._ensure_started()
            try:
                return self._ask(*call)
            except EOFError:
                if self._is_closed:
                    raise CancelledError from None
                if is_last:
                    raise RunError(f"{self._ended()}, twice with this video; is there memory enough?") from None
                logger.error("%s; it is started again", self._ended())

    def _ask(self, network: int, name: str, clips: np.ndarray, arguments: tuple) -> Any:
        """Raises EOFError when the process ends."""
        self._arena.put(clips)
        try:
            self._child.connection.send((network, name, clips.shape, clips.dtype.str, arguments))
            return self._received()
        except OSError as error:  # in the middle of a message
            raise EOFError from error

    def _ensure_started(self) -> None:
        """Raises UserError, and RunError when the process ends NUM_STARTS times while it starts, which says nothing of
        the video of a call."""
        for num_left in reversed(range(NUM_STARTS)):
            process = self._child.process
            if process is not None:
                if process.poll() is None:
                    return
                logger.error("%s; it is started again", self._ended())
            try:
                self._start()
                return
            except RunError as error:
                if self._is_closed or not num_left:
                    raise
                logger.error("%s; it is tried again", error)

    def _start(self) -> list[Facts]:
        if self._is_closed:
            raise RunError("the server ends")
        self._child.start(CODE)
        self._arena = Arena(self._child.file.fileno())
        try:
            self._child.connection.send((self.specs, self.use_gpu))
            facts = self._received()
        except (EOFError, OSError):
            raise RunError(f"{self._ended()} while it started; is there memory enough?") from None
        except BaseException:
            self._child.close()
            raise
        self._is_ready = True
        return facts

    def _received(self) -> Any:
        kind, value = self._child.connection.recv()
        if kind == "failure":
            raise value
        return value

    def _ended(self) -> str:
        self._is_ready = False
        return f"the process of the network ended ({self._child.close()})"

    # ------------------------------------------------------------------------------------------- its health

    def is_ready(self) -> bool:
        """Whether the networks can compute. Where their process has ended it is started again."""
        process = self._child.process
        if self._is_ready and process is not None and process.poll() is None:
            return True
        if self._restart is None or self._restart.done():
            self._restart = self._executor.submit(self._revive)
        return False

    def _revive(self) -> None:
        try:
            self._ensure_started()
        except (UserError, RunError) as error:
            logger.error("%s", error)

    def close(self) -> None:
        """End the process; a call in work fails."""
        self._is_closed = True
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._child.kill()
        self._executor.shutdown()
        self._child.close()


class Interrupted(Exception):
    """The job was cancelled, or the server stops."""


class JobBackend:
    """A network of the engine as a job sees it: what `BackendSpec` and `Backend` are for predict.py. Every call raises
    Interrupted once the job is to end."""

    def __init__(self, engine: Engine, stop: threading.Event, stopping: threading.Event, network: int = 0):
        self.engine, self.stop, self.stopping, self.network = engine, stop, stopping, network
        self.facts = engine.facts[network]
        self.name, self.precision = self.facts.name, self.facts.precision
        self.precision_choice = self.facts.precision_choice

    @property
    def config(self) -> Config:
        return self.engine.specs[self.network].config

    def weights_file(self) -> str:
        return self.facts.weights

    def build(self) -> JobBackend:
        return self

    def flow(self) -> JobBackend | None:
        """The second network, where there are two streams."""
        return JobBackend(self.engine, self.stop, self.stopping, 1) if len(self.engine.facts) > 1 else None

    def check(self) -> None:
        if self.stop.is_set() or self.stopping.is_set():
            raise Interrupted

    def scores(self, clips: np.ndarray) -> np.ndarray:
        return self.outputs(clips)[0]

    def outputs(self, clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.check()
        found = self.engine.outputs(clips, self.network)
        self.check()
        return found

    def pooled_features(self, clips: np.ndarray, stage: str) -> np.ndarray:
        """As `Engine.pooled_features`."""
        self.check()
        return self.engine.pooled_features(clips, stage)
