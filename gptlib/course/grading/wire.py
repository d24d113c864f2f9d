"""Values as bytes and back, between processes of which one is not trusted.

A tree of JSON says what the values are; the numbers of tensors follow as they lie in memory. Reading it runs
nothing and makes only plain values, which is why it is no pickle.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gptlib.course.judging import Outcome, shown

LARGEST = 32 * 2**20  # bytes of one value
DEEPEST = 60
MOST_VALUES = 200_000
DTYPES = {
    str(dtype)[6:]: dtype
    for dtype in (
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128),
        *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool),
    )
}
COLLECTIONS = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}


class TooLarge(ValueError):
    """A value of more than LARGEST bytes, or of more parts than are looked at."""


@dataclass(frozen=True)
class Opaque:
    """What came back and is no plain value: only what it looked like is known."""

    text: str

    def __repr__(self) -> str:
        return self.text


def encode(value: Any) -> bytes:
    """The value as bytes. What is no plain value becomes Opaque. Raises TooLarge."""
    blobs: list[bytes] = []
    tree = json.dumps(_Encoder(blobs).node(value, 0)).encode()
    if len(tree) > LARGEST:
        raise TooLarge(_too_large(len(tree)))
    return struct.pack(">Q", len(tree)) + tree + b"".join(blobs)


def decode(data: bytes) -> Any:
    """The value in bytes that `encode` gave. ValueError for any other bytes."""
    try:
        (length,) = struct.unpack_from(">Q", data)
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


class _Encoder:
    """Turns values into nodes of the tree. It goes by `type`, which no value can lie about."""

    def __init__(self, blobs: list[bytes]) -> None:
        self.blobs = blobs
        self.size = 0
        self.values = 0

    def node(self, value: Any, depth: int) -> list[Any]:
        self.values += 1
        if depth > DEEPEST or self.values > MOST_VALUES:
            raise TooLarge("it gave back too many values inside one another to look at")
        kind = type(value)
        if value is None or value is ...:
            return ["none" if value is None else "ellipsis"]
        if kind is bool:
            return ["bool", value]
        if kind is int:
            return ["int", hex(value)] if value.bit_length() <= 8 * 1024 else ["opaque", "a very large int"]
        if kind is float:
            return ["float", value.hex()]
        if kind is str:
            return ["str", value if self._room_for(len(value)) else ""]
        if kind is bytes:
            return ["bytes", *self._blob(value)]
        if kind is torch.dtype:
            return ["dtype", str(value)[6:]]
        if kind is range:
            return ["range", [hex(number) for number in (value.start, value.stop, value.step)]]
        if issubclass(kind, torch.Tensor):
            return self._tensor(value)
        if issubclass(kind, np.generic) or (kind is np.ndarray and value.shape == ()):
            return self.node(value.item(), depth + 1)
        if issubclass(kind, np.ndarray):
            # A copy, as torch takes no array that is turned around or read-only.
            plain = np.array(value)
            numbers = plain.dtype.name in DTYPES and plain.dtype.isnative
            return (
                ["array", self.node(torch.from_numpy(plain), depth + 1)]
                if numbers
                else ["opaque", _look(value)]
            )
        for name, collection in COLLECTIONS.items():
            if issubclass(kind, collection):
                return [name, [self.node(item, depth + 1) for item in collection.__iter__(value)]]
        if issubclass(kind, dict):
            items = dict.items(value)
            return ["dict", [[self.node(key, depth + 1), self.node(held, depth + 1)] for key, held in items]]
        return ["opaque", _look(value)]

    def _tensor(self, value: torch.Tensor) -> list[Any]:
        with torch._C.DisableTorchFunctionSubclass(), torch.no_grad():
            name = str(value.dtype)[6:]
            if value.layout != torch.strided or value.is_quantized or name not in DTYPES:
                return ["opaque", _look(value)]
            plain = value.detach().as_subclass(torch.Tensor)
            # Before it is copied: an expanded tensor says that it is huge, and is not yet.
            self._room_for(plain.numel() * plain.element_size())
            flat = plain.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
            return ["tensor", name, list(plain.shape), *self._blob(flat.view(torch.uint8).numpy().tobytes())]

    def _blob(self, data: bytes) -> tuple[int, int]:
        self._room_for(len(data))
        start = sum(map(len, self.blobs))
        self.blobs.append(data)
        self.size = start + len(data)
        return start, len(data)

    def _room_for(self, more: int) -> bool:
        if self.size + more > LARGEST:
            raise TooLarge(_too_large(self.size + more))
        return True


class _Decoder:
    def __init__(self, blob: memoryview) -> None:
        self.blob = blob
        self.values = 0

    def value(self, node: Any, depth: int) -> Any:
        self.values += 1
        if depth > DEEPEST + 1 or self.values > MOST_VALUES + 10 or not isinstance(node, list):
            raise ValueError("not a tree of values")
        kind, *parts = node
        if kind in ("none", "ellipsis"):
            return None if kind == "none" else ...
        if kind in COLLECTIONS:
            return COLLECTIONS[kind](self.value(part, depth + 1) for part in parts[0])
        if kind == "dict":
            return {self.value(key, depth + 1): self.value(held, depth + 1) for key, held in parts[0]}
        if kind in ("bool", "str") and type(parts[0]) is {"bool": bool, "str": str}[kind]:
            return parts[0]
        if kind == "opaque" and isinstance(parts[0], str):
            return Opaque(parts[0][:300])
        if kind == "int":
            return int(parts[0], 16)
        if kind == "float":
            return float.fromhex(parts[0])
        if kind == "array":
            return self.value(parts[0], depth + 1).numpy()
        if kind == "range":
            return range(*(int(part, 16) for part in parts[0]))
        if kind == "dtype":
            return DTYPES[parts[0]]
        if kind == "bytes":
            return self._bytes(*parts)
        if kind == "tensor":
            return self._tensor(*parts)
        raise ValueError(f"no kind of value is called {str(kind)[:20]!r}")

    def _tensor(self, name: str, shape: list[int], start: int, length: int) -> torch.Tensor:
        dtype = DTYPES[name]
        if len(shape) > DEEPEST or not all(type(size) is int and size >= 0 for size in shape):
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
        if start + length > len(self.blob):
            raise ValueError("bytes are missing")
        return bytes(self.blob[start : start + length])


def _look(value: Any) -> str:
    try:
        return str(shown(value))[:300]
    except Exception:  # the value's own repr
        return f"a {type(value).__name__}"[:300]


def _too_large(size: int) -> str:
    return f"it gave back {size / 2**20:,.0f} MB; at most {LARGEST // 2**20} MB are looked at"
