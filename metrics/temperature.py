"""Temperature: one number that makes probabilities as sharp as they are right (Guo et al. 2017).

s_T = softmax(log(max(s, 1e-12)) / T). The mean over views stands for a network's probabilities, its logarithm for
logits; scaling each view's logits before the mean would give other numbers. The order of the classes never changes.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from metrics.probabilities import log_probabilities, own_probability, softmax
from utils.errors import UserError
from utils.files import write_json

LARGEST_LOG = 3.0  # temperatures from e^-3 to e^3
TOLERANCE = 1e-5  # of log T


def apply_temperature(scores: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities [..., K] at a temperature above 0: 1 changes nothing, less sharpens, more flattens; float64."""
    return softmax(log_probabilities(scores) / temperature)


def fit_temperature(scores: np.ndarray, labels: np.ndarray) -> float:
    """The T in [e^-3, e^3] that minimises the negative log-likelihood of labels, int [N], N >= 1.

    scores: probabilities [N, K].

    The loss is convex in b = 1 / T, so Newton's steps on its derivative mean_i (E_i[z] - z_i,y_i), z = log s, find the
    one minimum; a step that leaves the bracket is replaced by the bracket's geometric middle.
    """
    z = log_probabilities(scores)
    z -= z.max(axis=1, keepdims=True)
    own = own_probability(z, labels)
    low, high, b = math.exp(-LARGEST_LOG), math.exp(LARGEST_LOG), 1.0
    while math.log(high / low) > TOLERANCE:
        p = np.exp(b * z)
        p /= p.sum(axis=1, keepdims=True)
        mean = np.einsum("ik,ik->i", p, z)
        p *= z
        slope, curvature = float((mean - own).mean()), float((np.einsum("ik,ik->i", p, z) - mean**2).mean())
        if slope == 0:
            break
        low, high = (low, b) if slope > 0 else (b, high)
        step = b - slope / curvature if curvature > 0 else 0.0
        step = step if low < step < high else math.sqrt(low * high)
        b, change = step, abs(math.log(step / b))
        if change < TOLERANCE:
            break
    return 1 / b


def held_out_temperature(scores: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """Scores at temperatures that their own labels did not choose.

    folds: int [N], two values or more; the videos of a fold get the temperature of all others.
    Returns probabilities float64 [N, K] and the temperature of each fold.
    """
    scaled, temperatures = np.empty(scores.shape), []
    for fold in np.unique(folds):
        held_out = folds == fold
        temperatures.append(fit_temperature(scores[~held_out], labels[~held_out]))
        scaled[held_out] = apply_temperature(scores[held_out], temperatures[-1])
    return scaled, temperatures


def save_temperature(path: str | Path, temperature: float, num_videos: int, list_sha256: str) -> None:
    """Write temperature.json, atomically: the temperature, and on how many videos of which list it was found."""
    write_json(path, {"temperature": temperature, "num_videos": num_videos, "list_sha256": list_sha256})


def parse_temperature(text: str) -> float:
    """A temperature given as a number above 0, or as a temperature.json. Raises UserError."""
    try:
        value = float(text)
    except ValueError:
        value = _read(text)
    if isinstance(value, (int, float)) and 0 < value < math.inf:
        return float(value)
    raise UserError(f"--temperature={text}: a temperature is a number above 0")


def _read(path: str) -> float:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))["temperature"]
    except OSError as error:
        raise UserError(f"--temperature={path}: neither a number nor a file ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"--temperature={path} is no temperature.json") from error
