"""Safetensors and an MLP, from their documents alone, for fakes that must answer predictions."""

import json
from typing import Any

import numpy as np

_MEAN, _DEVIATION = 0.1307, 0.3081


def tensors(data: bytes) -> dict[str, np.ndarray]:
    """Return the float32 tensors of a safetensors file."""
    length = int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8 : 8 + length])
    held = {}
    for name, told in header.items():
        if name != "__metadata__":
            begin, end = told["data_offsets"]
            piece = data[8 + length + begin : 8 + length + end]
            held[name] = np.frombuffer(piece, "<f4").reshape(told["shape"])
    return held


def with_random_tensors(data: bytes, seed: int) -> bytes:
    """Return a file with the same header whose elements are drawn at random."""
    length = int.from_bytes(data[:8], "little")
    count = (len(data) - 8 - length) // 4
    drawn = np.random.default_rng(seed).normal(0, 0.05, count).astype("<f4")
    return data[: 8 + length] + drawn.tobytes()


def probabilities(held: dict[str, np.ndarray], images: list[Any]) -> list[list[float]]:
    """Return what the network says of images (n, 28, 28), 0 to 255."""
    x = (np.array(images, np.float32).reshape(len(images), -1) / 255 - _MEAN) / _DEVIATION
    layers = len(held) // 2
    for number in range(layers):
        x = x @ held[f"layers.{number}.weight"].T + held[f"layers.{number}.bias"]
        x = np.maximum(x, 0) if number < layers - 1 else x
    raised = np.exp(x - x.max(axis=1, keepdims=True))
    found: list[list[float]] = (raised / raised.sum(axis=1, keepdims=True)).tolist()
    return found
