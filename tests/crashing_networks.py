"""In place of serving.networks.Network: networks that compute nothing and end as they are told."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import serving.networks
from utils.errors import UserError


class Network:
    """spec: a folder for marks; with the name "refused" or "killed", how the start ends. A file `kills` there holds as
    many letters as starts are to be killed."""

    def __init__(self, spec: Path, use_gpu: bool | None):
        if spec.name == "refused":
            raise UserError("no such network")
        if spec.name == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        kills = spec / "kills"
        if kills.exists() and (left := kills.read_text()):
            kills.write_text(left[1:])
            os.kill(os.getpid(), signal.SIGKILL)
        self.mark = spec / "mark"
        self.facts = "facts"

    def outputs(self, clips):
        return clips + 1, clips.shape

    def pooled_features(self, clips, stage):
        """Killed in this call: "always", or "once"."""
        if stage == "always" or not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return clips + 2

    def looks(self, clip, *question):
        raise ZeroDivisionError(question)


def main() -> None:
    serving.networks.Network = Network  # type: ignore[assignment, misc]
    serving.networks.prepare_environment = lambda: None  # Paddle is not needed
    serving.networks.main()
