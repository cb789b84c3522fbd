"""The process that holds the networks, started by serving/engine.py; importing this does not import Paddle.

It answers one call after the other: clips come through the shared memory, everything else through the connection.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import numpy as np

from datareader.worker_process import Arena
from inference.attention import Look, find_looks, named_blocks
from inference.auto_precision import PrecisionChoice
from inference.features import check_stage, pooled_features
from utils.errors import RunError, UserError
from utils.parallel import end_with_parent
from utils.runtime import choose_device, prepare_environment, release_memory

if TYPE_CHECKING:
    from inference.backends import BackendSpec
    from models.recognizer import Recognizer


@dataclass(frozen=True)
class Facts:
    """name, precision, precision_choice: of the backend. device: "cpu" or "gpu". stages, blocks: names of the network's
    stages and of its non-local blocks. weights: their file."""

    name: str
    precision: str
    precision_choice: PrecisionChoice | None
    device: str
    stages: list[str]
    blocks: list[str]
    weights: str


class Network:
    """One of those that the process holds. spec: of it. use_gpu: as `choose_device` takes it.

    Raises UserError and RunError when it cannot be built.
    """

    def __init__(self, spec: BackendSpec, use_gpu: bool | None):
        self.spec = spec
        self._eager: Recognizer | None = None
        device = choose_device(use_gpu)
        stages, blocks = self._layers()
        self.backend = backend = spec.build()
        infer = spec.config.INFER
        size = infer.video_length, infer.crop_size, infer.crop_size
        backend.scores(np.zeros((1, spec.config.INPUT.channels, *size), np.float32))  # ready is what has scored a clip
        self.facts = Facts(
            backend.name, backend.precision, backend.precision_choice, device, stages, blocks, spec.weights_file()
        )

    def _layers(self) -> tuple[list[str], list[str]]:
        from models import build_model

        model = build_model(self.spec.config)
        names = list(model.stage_names), list(named_blocks(model))
        del model
        release_memory()
        return names

    def outputs(self, clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `Backend.outputs`."""
        return self.backend.outputs(clips)

    def pooled_features(self, clips: np.ndarray, stage: str) -> np.ndarray:
        """As `inference.features.pooled_features`. Raises UserError for a stage that the network does not have."""
        check_stage(self.eager(), stage)
        return pooled_features(self.eager(), clips, stage)

    def looks(
        self, clip: np.ndarray, frame: int, points: Sequence[tuple[float, float]], block: str | None, num_arrows: int
    ) -> tuple[str, list[Look]]:
        """Name of the block and looks of `inference.attention.find_looks`; without points, of the strongest one."""
        found = find_looks(self.eager(), clip, frame, points, block=block, num_points=1, num_arrows=num_arrows)
        return found[:2]

    def eager(self) -> Recognizer:
        """The network in Paddle, for what an export does not have: built at its first use."""
        if self._eager is None:
            self._eager = self.spec.build_eager().model
        return self._eager


def main() -> None:
    """Answer until the server ends, however it does."""
    end_with_parent()  # in the middle of a call, too
    connection, arena = Connection(int(sys.argv[1])), Arena(int(sys.argv[2]))
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        specs, use_gpu = connection.recv()
        networks: list[Network] = []

        def build() -> list[Facts]:
            prepare_environment()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Paddle has a handler of its own, which prints a stack
            networks[:] = [Network(spec, use_gpu) for spec in specs]
            sys.stdout.flush()  # what the backend says of itself
            return [network.facts for network in networks]

        connection.send(answer(build))
        while networks:
            number, name, shape, dtype, arguments = connection.recv()
            connection.send(answer(getattr(networks[number], name), arena.get(shape, dtype), *arguments))


def answer(function: Callable[..., Any], *arguments: Any) -> tuple[str, Any]:
    """("value", what it returns) or ("failure", what it raises): UserError, RunError, or RuntimeError for a mistake."""
    try:
        return "value", function(*arguments)
    except (UserError, RunError) as error:
        return "failure", error
    except MemoryError:
        return "failure", RunError("out of memory; choose a smaller INFER.batch_size")
    except Exception as error:
        traceback.print_exc()
        return "failure", RuntimeError(f"{type(error).__name__}: {error}")
