"""Weights of this program's own files into a network."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from utils.errors import UserError
from utils.safe_pickle import load_pickle


@dataclass
class LoadReport:
    path: str
    num_loaded: int
    left_out: list[str] = field(default_factory=list)

    def summary(self) -> str:
        rest = f"; left out: {', '.join(self.left_out)}" if self.left_out else ""
        return f"loaded {self.num_loaded} tensors from {self.path}{rest}"


def load_weights(model, path, *, partial: bool = False) -> LoadReport:
    arrays = load_pickle(Path(path))
    state = model.state_dict()
    head = [n for n in ("head.weight", "head.bias") if n in arrays and partial and arrays[n].shape != tuple(state[n].shape)]
    missing = [n for n in state if n not in arrays]
    extra = [n for n in arrays if n not in state]
    wrong = [n for n in state if n in arrays and n not in head and np.shape(arrays[n]) != tuple(state[n].shape)]
    if missing or extra or wrong:
        bad = (missing + extra + wrong)[0]
        raise UserError(f"{path} is of another network: {len(missing)} missing, {len(extra)} left over, {len(wrong)} of another shape; first: {bad}")
    model.set_state_dict({n: arrays[n] for n in state if n not in head})
    return LoadReport(str(path), len(state) - len(head), head)


def fetch_weights(name: str) -> str:
    raise UserError("pass --weights=FILE")
