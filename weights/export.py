"""Our networks' tensors under the names of other programs, as files that need no pickle."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np

from weights.names import NAMINGS
from weights.safe_pickle import Refused


def export_arrays(arrays: Mapping[str, np.ndarray], target: str) -> dict[str, np.ndarray]:
    """{their name: numbers} of a network's tensors, bit by bit the same; the classifier as [classes, channels].

    Raises Refused when `target` has no name for a tensor.
    """
    naming, result = NAMINGS[target], {}
    for ours, array in arrays.items():
        name = naming.name(ours)
        if not name:
            raise Refused(f"{target} has no tensor like {ours}")
        is_head = ours == "head.weight" and naming.head_is_transposed
        result[name] = np.ascontiguousarray(array.T if is_head else array)
    return result


def write_safetensors(stream: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    """float32 arrays as a safetensors file."""
    header, place = {}, 0
    for name, array in arrays.items():
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [place, place + array.nbytes]}
        place += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    stream.write(struct.pack("<Q", len(text)) + text)
    for array in arrays.values():
        stream.write(np.ascontiguousarray(array, "<f4").data)
