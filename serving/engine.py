"""The one thread that owns the networks. Every job calls it as if the network were its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from utils.runtime import choose_device, release_memory

if TYPE_CHECKING:
    from configs.schema import Config
    from inference.backends import Backend, BackendSpec
    from models.recognizer import Recognizer

T = TypeVar("T")


class Engine:
    """Runs calls one after the other, in the order they came.

    A job waits for the answer of a call before it makes the next one, so that jobs take turns, a batch each. Clips of
    several jobs are not put into one batch: scores would depend, in their last digits, on what others compute.

    spec: of the network. use_gpu: as `choose_device` takes it. Raises UserError or RunError when it cannot be built.
    """

    def __init__(self, spec: BackendSpec, use_gpu: bool | None = None):
        self.spec = spec
        self.busy_seconds, self.num_clips = 0.0, 0
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._eager: Recognizer | None = None
        try:
            self.device = self.run(choose_device, use_gpu)
            self.stages, self.blocks = self.run(self._layers)
            self.backend: Backend = self.run(spec.build)
        except BaseException:
            self._executor.shutdown()
            raise

    def _layers(self) -> tuple[list[str], list[str]]:
        """The names of the network's stages and of its non-local blocks."""
        from inference.attention import named_blocks
        from models import build_model

        model = build_model(self.spec.config)
        names = list(model.stage_names), list(named_blocks(model))
        del model
        release_memory()
        return names

    def run(self, function: Callable[..., T], *args: Any) -> T:
        """function(*args), computed in the engine's thread. Not to be called from it, nor from the event loop."""
        return self._executor.submit(self._timed, function, *args).result()

    def _timed(self, function: Callable[..., T], *args: Any) -> T:
        begin = time.monotonic()
        try:
            return function(*args)
        finally:
            self.busy_seconds += time.monotonic() - begin

    def outputs(self, clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `Backend.outputs`."""
        self.num_clips += len(clips)
        return self.run(self.backend.outputs, clips)

    def eager(self) -> Recognizer:
        """The network in Paddle, for what an export does not have: built at its first use."""
        return self.run(self._build_eager)

    def _build_eager(self) -> Recognizer:
        if self._eager is None:
            self._eager = self.spec.build_eager().model
        return self._eager

    def close(self) -> None:
        """After the call in work."""
        self._executor.shutdown(cancel_futures=True)


class Interrupted(Exception):
    """The job was cancelled, or the server stops."""


class JobBackend:
    """The engine as a job sees it: what `BackendSpec` and `Backend` are for predict.py. Every call raises Interrupted
    once the job is to end."""

    def __init__(self, engine: Engine, stop: threading.Event, stopping: threading.Event):
        self.engine, self.stop, self.stopping = engine, stop, stopping
        self.name, self.precision = engine.backend.name, engine.backend.precision
        self.precision_choice = engine.backend.precision_choice

    @property
    def config(self) -> Config:
        return self.engine.spec.config

    def weights_file(self) -> str:
        return self.engine.spec.weights_file()

    def build(self) -> JobBackend:
        return self

    def check(self) -> None:
        if self.stop.is_set() or self.stopping.is_set():
            raise Interrupted

    def scores(self, clips: np.ndarray) -> np.ndarray:
        return self.outputs(clips)[0]

    def outputs(self, clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.check()
        found = self.engine.outputs(clips)
        self.check()
        return found

    def pooled_features(self, clips: np.ndarray, stage: str) -> np.ndarray:
        """As `inference.features.pooled_features`."""
        from inference.features import pooled_features

        self.check()
        self.engine.num_clips += len(clips)
        return self.engine.run(pooled_features, self.engine.eager(), clips, stage)
