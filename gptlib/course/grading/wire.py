"""Plain values as bytes and back, between processes of which one is not trusted.

A tree of JSON says what the values are; texts and the numbers of tensors follow as they lie in memory.
Reading it runs nothing and makes only plain values, so many and so large at most, which is why it is no
pickle.
"""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import numpy as np
import torch

from gptlib.course.comparing import (
    DEEPEST,
    DTYPES,
    LARGEST,
    LARGEST_INT,
    MOST_VALUES,
    RANGE_BITS,
    Opaque,
    TooLarge,
    plain,
)
from gptlib.course.judging import Outcome

LARGEST_TREE = 16 * 2**20  # bytes
LONGEST_LOOK = 300  # characters
COLLECTIONS = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}


def encode(value: Any) -> bytes:
    """The value as bytes, after it was made plain. Raises TooLarge."""
    blobs = bytearray()
    tree = json.dumps(_node(plain(value), blobs)).encode()
    if len(tree) > LARGEST_TREE:
        raise TooLarge("it gave back too many values to look at")
    return struct.pack(">Q", len(tree)) + tree + blobs


def decode(data: bytes) -> Any:
    """The value in bytes that `encode` gave. ValueError for any other bytes."""
    try:
        (length,) = struct.unpack_from(">Q", data)
        if length > LARGEST_TREE:
            raise ValueError("the tree is too large")
        tree = json.loads(data[8 : 8 + length])
        return _Decoder(memoryview(data)[8 + length :]).value(tree, 0)
    except (
        struct.error,
        AttributeError,
        TypeError,
        KeyError,
        IndexError,
        OverflowError,
        RecursionError,
        RuntimeError,
    ) as error:
        raise ValueError(f"not what encode gives: {error}") from error


def encode_outcome(outcome: Outcome) -> bytes:
    """An outcome as bytes; one whose value is too large says so as its problem."""
    try:
        return encode(vars(outcome))
    except TooLarge as error:
        return encode(vars(Outcome(problem=str(error))))


def decode_outcome(data: bytes) -> Outcome:
    """The outcome in these bytes. ValueError if there is none in them."""
    fields = decode(data)
    if not isinstance(fields, dict) or fields.keys() != vars(Outcome()).keys():
        raise ValueError("not an outcome")
    problem, changed, gradients = fields["problem"], fields["changed"], fields["gradients"]
    sound = (
        (problem is None or isinstance(problem, str))
        and isinstance(changed, tuple)
        and all(type(place) is int for place in changed)
        and isinstance(gradients, tuple | None)
        and all(isinstance(gradient, torch.Tensor | None) for gradient in gradients or ())
        and isinstance(fields["late"], bool)
    )
    if not sound:
        raise ValueError("not an outcome")
    return Outcome(**{**fields, "problem": problem and problem[:500]})


def _node(value: Any, blobs: bytearray) -> list[Any]:
    """The node of the tree for a plain value. What is long goes to the blobs, and its place into the tree."""

    def place(data: bytes) -> tuple[int, int]:
        start = len(blobs)
        blobs.extend(data)
        return start, len(data)

    kind = type(value)
    if value is None or value is ...:
        return ["none" if value is None else "ellipsis"]
    if kind is bool:
        return ["bool", value]
    if kind is int:
        return ["int", hex(value)]
    if kind is float:
        return ["float", value.hex()]
    if kind is str:
        return ["str", *place(value.encode("utf-8", "surrogatepass"))]
    if kind is bytes:
        return ["bytes", *place(value)]
    if kind is torch.dtype:
        return ["dtype", str(value)[6:]]
    if kind is range:
        return ["range", [hex(number) for number in (value.start, value.stop, value.step)]]
    if kind is Opaque:
        return ["opaque", value.text[:LONGEST_LOOK]]
    if kind is np.ndarray:
        return ["array", _node(torch.from_numpy(value), blobs)]
    if kind is torch.Tensor:
        numbers = value.cpu().reshape(-1).view(torch.uint8).numpy().tobytes()
        return ["tensor", str(value.dtype)[6:], list(value.shape), *place(numbers)]
    if kind is dict:
        return ["dict", [[_node(key, blobs), _node(held, blobs)] for key, held in value.items()]]
    return [kind.__name__, [_node(item, blobs) for item in value]]


class _Decoder:
    """Reads a tree that may say anything, within the bounds that `plain` keeps."""

    def __init__(self, blobs: memoryview) -> None:
        self.blobs = blobs
        self.values = 0
        self.bytes = 0

    def value(self, node: Any, depth: int) -> Any:
        if depth > DEEPEST + 2 or not isinstance(node, list):
            raise ValueError("not a tree of values")
        kind, *parts = node
        self._count(1)
        if kind in ("none", "ellipsis"):
            return None if kind == "none" else ...
        if kind in COLLECTIONS:
            return COLLECTIONS[kind](self.value(part, depth + 1) for part in parts[0])
        if kind == "dict":
            return {self.value(key, depth + 1): self.value(held, depth + 1) for key, held in parts[0]}
        if kind == "bool" and isinstance(parts[0], bool):
            return parts[0]
        if kind == "opaque" and isinstance(parts[0], str):
            return Opaque(parts[0][:LONGEST_LOOK])
        if kind == "int":
            return self._int(parts[0], LARGEST_INT)
        if kind == "float" and len(parts[0]) < 40:
            return float.fromhex(parts[0])
        if kind == "array":
            return self.value(parts[0], depth + 1).numpy()
        if kind == "range":
            numbers = range(*(self._int(part, RANGE_BITS) for part in parts[0]))
            self._count(len(numbers))
            return numbers
        if kind == "dtype":
            return DTYPES[parts[0]]
        if kind == "str":
            return str(self._bytes(*parts), "utf-8", "surrogatepass")
        if kind == "bytes":
            return self._bytes(*parts)
        if kind == "tensor":
            return self._tensor(*parts)
        raise ValueError(f"no kind of value is called {str(kind)[:20]!r}")

    def _count(self, more: int) -> None:
        self.values += more
        if self.values > 2 * MOST_VALUES:
            raise ValueError("more values than one value has")

    def _int(self, text: str, bits: int) -> int:
        if len(text) > bits // 4 + 4 or (number := int(text, 16)).bit_length() > bits:
            raise ValueError("an int that is too large")
        return number

    def _tensor(self, name: str, shape: list[int], start: int, length: int) -> torch.Tensor:
        dtype = DTYPES[name]
        if len(shape) > DEEPEST or not all(type(size) is int and 0 <= size < 2**62 for size in shape):
            raise ValueError("not a shape")
        if math.prod(shape) * dtype.itemsize != length:
            raise ValueError("the numbers of a tensor do not fill its shape")
        if length == 0:
            return torch.empty(shape, dtype=dtype)
        data = bytearray(self._bytes(start, length))
        if dtype is torch.bool and max(data) > 1:
            raise ValueError("neither true nor false")
        return torch.frombuffer(data, dtype=dtype).reshape(shape)

    def _bytes(self, start: int, length: int) -> bytes:
        if type(start) is not int or type(length) is not int or start < 0 or length < 0:
            raise ValueError("not a place")
        if start + length > len(self.blobs):
            raise ValueError("bytes are missing")
        self.bytes += length  # the same place may be named again and again
        if self.bytes > 2 * LARGEST:
            raise ValueError("more bytes than one value has")
        return bytes(self.blobs[start : start + length])
