"""CRC-32C (Castagnoli), the checksum of TensorFlow's and LevelDB's files, fast enough in NumPy for tens of megabytes.

A long input is cut into lanes whose checksums are computed side by side, a byte of each at once, and joined in pairs:
a checksum is linear over GF(2), and `length` zero bytes behind an input multiply its register by a fixed 32 x 32
matrix.
"""

from __future__ import annotations

from functools import cache

import numpy as np

POLYNOMIAL = 0x82F63B78  # bits reversed
SHORT = 1 << 14  # bytes; shorter inputs go byte by byte
MASK_DELTA = 0xA282EAD8


def crc32c(data: bytes | memoryview) -> int:
    """The CRC-32C of `data`; 0xe3069283 for b"123456789"."""
    return _update(0xFFFFFFFF, np.frombuffer(data, np.uint8)) ^ 0xFFFFFFFF


def masked_crc32c(data: bytes | memoryview) -> int:
    """The form in which files store it: turned right by 15 bits, plus a constant (LevelDB's format)."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + MASK_DELTA) & 0xFFFFFFFF


@cache
def _table() -> np.ndarray:
    """The register uint32 [256] after each byte."""
    values = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = np.where(values & 1, values >> 1 ^ np.uint32(POLYNOMIAL), values >> 1).astype(np.uint32)
    return values


def _update(register: int, data: np.ndarray) -> int:
    """The register after the bytes `data`."""
    table = _table()
    if data.size < SHORT:
        entries = table.tolist()
        for byte in data.tolist():
            register = register >> 8 ^ entries[(register ^ byte) & 0xFF]
        return register
    num_lanes = 1 << min(16, data.size.bit_length() - 6)
    length = data.size // num_lanes
    lanes = data[: num_lanes * length].reshape(num_lanes, length)
    registers = np.zeros(num_lanes, np.uint32)
    registers[0] = register
    for k in range(length):
        registers = registers >> np.uint32(8) ^ table[(registers & np.uint32(0xFF)) ^ lanes[:, k]]
    shift = _zero_bytes(length)
    while registers.size > 1:
        registers = _product(shift, registers[0::2]) ^ registers[1::2]
        shift = _product(shift, shift)
    return _update(int(registers[0]), data[num_lanes * length :])


def _product(matrix: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Matrix (uint32 [32], a column each) times vectors (uint32, a bit each row) over GF(2)."""
    result = np.zeros_like(vectors)
    for bit in range(32):
        result ^= matrix[bit] * (vectors >> np.uint32(bit) & np.uint32(1))
    return result


def _zero_bytes(length: int) -> np.ndarray:
    """The matrix of `length` zero bytes."""
    units = np.uint32(1) << np.arange(32, dtype=np.uint32)
    power, result = units >> np.uint32(8) ^ _table()[units & np.uint32(0xFF)], units
    while length:
        if length & 1:
            result = _product(power, result)
        power = _product(power, power)
        length >>= 1
    return result
