"""Pickles from outside, read without running anything in them.

A pickle is a program that may call any function of any module. This reader first walks over the program without running
it, so that no size in it is believed before the file is seen to hold as much, and then runs it with a handful of names:
numpy arrays and numbers, strings, lists, tuples and dicts. Every other name ends the reading and is named.
"""

from __future__ import annotations

import os
import pickle
import pickletools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import numpy as np

from utils.errors import UserError

MAX_OPERATIONS = 2_000_000  # a ResNet-101 checkpoint with its optimiser has about 100,000
MAX_TUPLES = 30_000  # nested as deep as this they can still be hashed without overflowing the stack
MAX_DEPTH = 100
MAX_LINE = 4096
MAX_BITS = 8192  # of an integer
DTYPE = re.compile(r"[<>|=]?([biufc]\d{1,2}|\?)")
REFUSED = {"PERSID", "INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "EMPTY_SET", "FROZENSET", "ADDITEMS"}
REFUSED |= {"NEXT_BUFFER", "READONLY_BUFFER"}
NUMPY_CORES = ("numpy.core", "numpy._core")


class Refused(Exception):
    """Why a pickle is not read."""


class Maker:
    """A function that a pickle may call: an object that it cannot change."""

    __slots__ = ("make",)

    def __init__(self, make: Callable):
        self.make = make

    def __call__(self, *arguments):
        return self.make(*arguments)

    def __setstate__(self, state):
        raise Refused("it tries to change a function of the reader")


class Inert:
    """Stands for an object that says nothing about weights; whatever it is made of is dropped."""

    __slots__ = ()

    def __new__(cls, *_):
        return object.__new__(cls)

    def __setstate__(self, state):
        """Keep nothing."""


class _Array(np.ndarray):
    """An array whose state is checked before numpy sees it; `_plain` hands out the ndarray."""

    def __setstate__(self, state):
        _, shape, dtype, is_fortran, data = state[-5:]
        super().__setstate__((1, _checked_shape(shape, dtype, data), dtype.dtype, bool(is_fortran), data))


class _Dtype:
    """A number type; a pickle may set its byte order and nothing else."""

    def __init__(self, text: Any, *_):
        if not isinstance(text, str) or not DTYPE.fullmatch(text):
            raise Refused(f"it holds arrays of type {text!r}, not of numbers")
        self.dtype = np.dtype(text)

    def __setstate__(self, state):
        if state[1] not in "<>|=" or any(part is not None for part in state[2:5]):
            raise Refused("it holds arrays of records, not of numbers")
        self.dtype = self.dtype.newbyteorder(state[1])


class OrderedDict(dict):
    """collections.OrderedDict without the attributes that a pickle may hang on it."""

    def __setstate__(self, state):
        """PyTorch keeps version numbers there."""


class _Unpickler(pickle.Unpickler):
    """Knows `names`; what they build together may take `budget` bytes."""

    def __init__(self, stream, encoding: str, budget: int, names: Mapping, find_storage: Callable | None):
        super().__init__(stream, encoding=encoding)
        self.budget, self.find_storage = budget, find_storage
        none = Maker(_refuse_call)
        self.names = {
            ("numpy", "ndarray"): none,
            ("numpy", "dtype"): Maker(_Dtype),
            ("collections", "OrderedDict"): OrderedDict,
            ("_codecs", "encode"): Maker(self._encode),
            ("builtins", "tuple"): Maker(self._tuple),
            ("__builtin__", "tuple"): Maker(self._tuple),
            ("__builtin__", "bytes"): Maker(lambda: b""),  # protocol 2's way to write no bytes
            ("mmengine.logging.history_buffer", "HistoryBuffer"): Inert,
            **{(f"{core}.multiarray", "_reconstruct"): Maker(_reconstruct) for core in NUMPY_CORES},
            **{(f"{core}.multiarray", "scalar"): Maker(self._scalar) for core in NUMPY_CORES},
            **{(f"{core}.numeric", "_frombuffer"): Maker(self._from_buffer) for core in NUMPY_CORES},
            **names,
        }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.names:
            raise Refused(f"it asks for {module}.{name}, which weights have no use for; nothing of it was run")
        return self.names[module, name]

    def persistent_load(self, pid: Any) -> Any:
        if self.find_storage is None:
            raise Refused("it refers to data outside itself")
        return self.find_storage(pid)

    def spend(self, num_bytes: int) -> None:
        self.budget -= num_bytes
        if self.budget < 0:
            raise Refused("it builds more than the file holds")

    def _encode(self, text: str, encoding: str) -> bytes:
        """How Python 2's byte strings arrive in protocol 2."""
        if encoding != "latin1":
            raise Refused(f"it asks for the encoding {encoding!r}")
        self.spend(len(text))
        return text.encode("latin1")

    def _tuple(self, items: list) -> tuple:
        self.spend(8 * len(items))
        return tuple(items)

    def _scalar(self, dtype: _Dtype, data: Any) -> np.generic:
        return self._from_buffer(data, dtype, ())[()]

    def _from_buffer(self, data: Any, dtype: _Dtype, shape: tuple, order: str = "C") -> _Array:
        data = data.encode("latin1") if isinstance(data, str) else bytes(data)
        self.spend(len(data))
        shape = _checked_shape(shape, dtype, data)
        return np.frombuffer(data, dtype.dtype).reshape(shape, order="F" if order == "F" else "C").view(_Array)


def _refuse_call(*_):
    raise Refused("it calls numpy.ndarray, which makes arrays of nothing")


def _reconstruct(*_) -> _Array:
    """An empty array, whose state follows."""
    return _Array(0, np.int8)


def _checked_shape(shape: Any, dtype: Any, data: Any) -> tuple[int, ...]:
    """The shape of an array whose `data` holds exactly as many numbers; nothing is allocated before that is known."""
    if not isinstance(dtype, _Dtype) or not isinstance(data, (bytes, bytearray, str)):
        raise Refused("it holds an array of something other than numbers")
    if not isinstance(shape, tuple) or len(shape) > 32 or any(type(n) is not int or n < 0 for n in shape):
        raise Refused("it holds an array without a shape")
    count = 1
    for side in shape:
        count *= side
    if count * dtype.dtype.itemsize != len(data):
        raise Refused(f"it holds an array of shape {list(shape)[:6]} with {len(data)} bytes of data")
    return shape


class _BoundedStream:
    """Reads for `pickletools` what the stream holds; a longer item is refused before memory is taken for it."""

    def __init__(self, stream: BinaryIO, num_bytes: int):
        self.stream, self.num_bytes, self.tell = stream, num_bytes, stream.tell

    def read(self, length: int) -> bytes:
        if length > self.num_bytes - self.tell():
            raise Refused("it is cut off" if length == 1 else f"it is cut off, or says that an item has {length} bytes")
        return self.stream.read(length)

    def readline(self) -> bytes:
        line = self.stream.readline(MAX_LINE)
        if len(line) == MAX_LINE:
            raise Refused("it has longer lines than any weight file; save arrays by a newer pickle protocol than 0")
        if not line.endswith(b"\n"):
            raise Refused("it is no pickle, or cut off")
        return line


def check_program(stream: BinaryIO, num_bytes: int) -> int:
    """Walk over one pickle from the stream's position without running it; returns the position behind it.

    num_bytes: length of the stream. Raises Refused when an item is larger than what is left of the stream, or the
    program does what no weight file does.
    """
    num_operations = num_tuples = 0
    bounded = _BoundedStream(stream, num_bytes)
    try:
        for operation, argument, _ in pickletools.genops(bounded):
            name = operation.name
            if name in REFUSED:
                raise Refused(f"it uses the operation {name}, which weights have no use for")
            num_operations += 1
            num_tuples += name.startswith("TUPLE")
            if num_operations > MAX_OPERATIONS or num_tuples > MAX_TUPLES:
                raise Refused("it has more items than any weight file")
            # cells of the memo are numbered in order; a high number would make the reader allocate all below it
            if name in ("PUT", "LONG_BINPUT") and argument > num_operations:
                raise Refused("it numbers its items wildly")
            if name in ("LONG1", "LONG4") and argument.bit_length() > MAX_BITS:
                raise Refused("it holds a number of thousands of digits")
            if name == "FRAME" and argument > num_bytes - stream.tell():
                raise Refused(f"it is cut off, or says that an item has {argument} bytes")
    except ValueError as error:  # pickletools knows no such operation or argument
        raise Refused("it is no pickle") from error
    return stream.tell()


def _plain(value: Any, done: dict[int, Any], depth: int = 0) -> Any:
    """The same of plain ndarrays, dicts, lists and tuples; what is shared stays shared."""
    if isinstance(value, _Array):
        return value.view(np.ndarray)
    if not isinstance(value, (dict, list, tuple)):
        if isinstance(value, (Maker, _Dtype, type)):
            raise Refused("it holds functions in place of weights")
        return value
    if id(value) in done:
        return done[id(value)][1]
    if depth > MAX_DEPTH:
        raise Refused("it is nested deeper than any weight file")
    result: Any = {} if isinstance(value, dict) else []
    done[id(value)] = (value, result)  # the value is kept so that its id stays its own
    if isinstance(value, dict):
        for name, item in dict.items(value):
            result[name] = _plain(item, done, depth + 1)
        return result
    result.extend(_plain(item, done, depth + 1) for item in value)
    if isinstance(value, tuple):
        result = tuple(result)
        done[id(value)] = (value, result)
    return result


def read_pickle(
    stream: BinaryIO,
    encoding: str = "latin1",
    names: Mapping[tuple[str, str], Any] | None = None,
    find_storage: Callable[[Any], Any] | None = None,
    extra_bytes: int = 0,
) -> Any:
    """One pickle from the position of a seekable stream, which is left behind it. Raises Refused.

    names: further (module, name) -> what stands for it. find_storage: what a reference to outside data means.
    extra_bytes: length of that data.
    """
    start = stream.tell()
    num_bytes = stream.seek(0, os.SEEK_END)
    stream.seek(start)
    end = check_program(stream, num_bytes)
    stream.seek(start)
    try:
        # without `peek` the unpickler reads no byte too many
        exact = SimpleNamespace(read=stream.read, readline=stream.readline, readinto=stream.readinto)
        budget = 4 * (end - start + extra_bytes) + 65536
        value = _plain(_Unpickler(exact, encoding, budget, names or {}, find_storage).load(), {})
    except (Refused, OSError, MemoryError):
        raise
    except Exception as error:  # the calls of a damaged pickle can fail in any way
        raise Refused(f"it is damaged ({' '.join(str(error).split()) or type(error).__name__})") from error
    stream.seek(end)
    return value


def load_pickle(source: str | Path | BinaryIO, encoding: str = "latin1") -> Any:
    """What a pickle holds, built from arrays, numbers, strings, lists, tuples and dicts alone.

    source: a path or a seekable binary stream. encoding: how byte strings of Python 2 are read.
    Raises UserError naming the file when it cannot be read, is no pickle, is cut off, or asks for anything else.
    """
    is_path = isinstance(source, (str, os.PathLike))
    name = str(source) if is_path else getattr(source, "name", "the stream")
    try:
        if not is_path:
            return read_pickle(source, encoding)
        with open(source, "rb") as stream:
            return read_pickle(stream, encoding)
    except OSError as error:
        raise UserError(f"cannot read {name}: {error.strerror or error}") from error
    except MemoryError as error:
        raise UserError(f"{name}: there is not enough memory to read it") from error
    except Refused as error:
        raise UserError(f"{name} cannot be read as weights: {error}") from error
