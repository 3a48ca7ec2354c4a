"""A step of a workload in PyTorch, as its users write it; run by the peers' Python.

    python step_torch.py CONFIG_JSON BATCHES.npz eager|compile THREADS STEPS cpu|cuda
    python step_torch.py sgemm THREADS
    python step_torch.py peak cuda float32|bfloat16

The first prints JSON: milliseconds of each step after the warm-up, seconds of the warm-up, peak
memory in bytes, floating-point operations of a step; the others operations a second, and of a card
its name. A config with `precision` bfloat16 is run under autocast.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import nn

_WARM_UP_STEPS = 3


class Block(nn.Module):
    """A layer of a transformer, normalised before each part."""

    def __init__(self, width: int, heads: int, *, is_causal: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.heads, self.is_causal = heads, is_causal

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the stream after this layer."""
        batch, time_, width = x.shape
        parts = self.qkv(self.norm1(x)).view(batch, time_, 3, self.heads, width // self.heads)
        q, k, v = (parts[:, :, i].transpose(1, 2) for i in range(3))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.is_causal)
        x = x + self.out(y.transpose(1, 2).reshape(batch, time_, width))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Gpt(nn.Module):
    """The gpt of trainers/models."""

    def __init__(self, layers: int, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.embed, self.positions = (
            nn.Embedding(256, width),
            nn.Parameter(torch.zeros(context, width)),
        )
        self.blocks = nn.Sequential(*(Block(width, heads, is_causal=True) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 256)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (B, T, V)."""
        return self.head(self.norm(self.blocks(self.embed(x.int()) + self.positions)))


class Vit(nn.Module):
    """The vit of trainers/models."""

    def __init__(self, layers: int, width: int, heads: int, patch: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, width, patch, stride=patch)
        self.positions = nn.Parameter(torch.zeros((32 // patch) ** 2, width))
        self.blocks = nn.Sequential(*(Block(width, heads, is_causal=False) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (B, classes)."""
        x = self.embed(x).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.norm(self.blocks(x)).mean(dim=1))


class Residual(nn.Module):
    """A block of the CIFAR residual network, shortcut option A."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.stride, self.widened = stride, outputs - inputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, outputs, H / stride, W / stride)."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.widened:
            half = self.widened // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, half))
        return F.relu(y + x)


def resnet(depth: int, width: int) -> nn.Module:
    """Return the resnet of trainers/models."""
    blocks, inputs = [], width
    for stage in range(3):
        for i in range((depth - 2) // 6):
            outputs = width << stage
            blocks.append(Residual(inputs, outputs, 2 if stage and not i else 1))
            inputs = outputs
    stem = [nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, 10)]
    return nn.Sequential(*stem, *blocks, *head)


def mlp(hidden: list[int]) -> nn.Module:
    """Return the mlp of trainers/models."""
    sizes = [784, *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in zip(sizes, hidden, strict=False):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], 10))


def convnet(channels: list[int], kernel: int, hidden: int, **_: Any) -> nn.Module:
    """Return the convnet of trainers/models with one pooling, after the last convolution."""
    layers: list[nn.Module] = []
    inputs, size = 1, 28
    for outputs in channels:
        layers += [nn.Conv2d(inputs, outputs, kernel), nn.ReLU()]
        inputs, size = outputs, size - kernel + 1
    layers += [nn.MaxPool2d(2), nn.Flatten(), nn.Linear(inputs * (size // 2) ** 2, hidden)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Linear(hidden, 10))


MODELS: dict[str, Callable[..., nn.Module]] = {
    "mlp": mlp, "convnet": convnet, "resnet": resnet, "gpt": Gpt, "vit": Vit,
}  # fmt: skip


def optimizer(model: nn.Module, name: str, **numbers: float) -> torch.optim.Optimizer:
    """Return PyTorch's optimiser of that name."""
    make = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[name]
    return make(model.parameters(), **numbers)


def main() -> None:
    """Measure; see the module's docstring."""
    if sys.argv[1] == "sgemm":
        print(json.dumps({"flops_s": _sgemm(int(sys.argv[2]))}))  # noqa: T201
    elif sys.argv[1] == "peak":
        print(json.dumps(_peak(sys.argv[2], getattr(torch, sys.argv[3]))))  # noqa: T201
    else:
        print(json.dumps(_measured(*sys.argv[1:])))  # noqa: T201


def _measured(run: str, path: str, mode: str, threads: str, steps: str, on: str) -> dict[str, Any]:
    torch.set_num_threads(int(threads))
    torch.manual_seed(0)
    step = _step(json.loads(run), dict(np.load(path)), mode, torch.device(on))
    begun = time.perf_counter()
    for i in range(_WARM_UP_STEPS):
        step(i)
    warm_up_s = time.perf_counter() - begun
    took = []
    for i in range(int(steps)):
        begun = time.perf_counter()
        step(i)
        took.append((time.perf_counter() - begun) * 1000)
    return {
        "step_ms": took,
        "warm_up_s": warm_up_s,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "operations": _operations(step) if mode == "eager" else None,
    }


def _step(
    config: dict[str, Any], batches: dict[str, np.ndarray], mode: str, device: torch.device
) -> Callable[[int], float]:
    """Return what does one update and gives its loss."""
    sizes = {k: v for k, v in config["model"].items() if k not in {"architecture", "dropout"}}
    model = MODELS[config["model"]["architecture"]](**sizes).to(device)
    optimise = optimizer(model, **config["optimizer"])
    mean, std = (
        torch.tensor(batches[name], device=device).view(1, -1, 1, 1) for name in ("mean", "std")
    )
    is_text = config["model"]["architecture"] == "gpt"
    is_mixed = config.get("precision", "float32") == "bfloat16"
    run = torch.compile(model) if mode == "compile" else model

    def step(i: int) -> float:
        x = torch.from_numpy(batches["inputs"][i % len(batches["inputs"])]).to(device)
        y = torch.from_numpy(batches["targets"][i % len(batches["targets"])]).to(device).long()
        with torch.autocast(device.type, torch.bfloat16, enabled=is_mixed):
            scores = run(x if is_text else (x.float() / 255.0 - mean) / std).float()
        scores, y = scores.reshape(-1, scores.shape[-1]), y.flatten()
        loss = F.cross_entropy(scores, y)
        hits = (scores.argmax(dim=1) == y).sum()
        optimise.zero_grad()
        loss.backward()
        optimise.step()
        return float(loss.item() + 0 * hits.item())

    return step


def _sgemm(threads: int) -> float:
    """Return the best rate of a product of two float32 matrices, in operations a second."""
    torch.set_num_threads(threads)
    size, best = 2048, 0.0
    a, b = torch.rand(size, size), torch.rand(size, size)
    for _ in range(20):
        begun = time.perf_counter()
        torch.mm(a, b)
        best = max(best, 2.0 * size**3 / (time.perf_counter() - begun))
    return best


def _peak(device: str, dtype: torch.dtype) -> dict[str, Any]:
    """Return a card's name and its best rate of a product of two matrices of 8,192."""
    size, best = 8192, 0.0
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    for _ in range(30):
        begun = time.perf_counter()
        torch.mm(a, b)
        torch.cuda.synchronize()
        best = max(best, 2.0 * size**3 / (time.perf_counter() - begun))
    return {"card": torch.cuda.get_device_name(device), "flops_s": best}


def _operations(step: Callable[[int], float]) -> int:
    """Return the floating-point operations of the matrix products and convolutions of a step."""
    from torch.utils.flop_counter import FlopCounterMode  # noqa: PLC0415

    with FlopCounterMode(display=False) as counter:
        step(0)
    return int(counter.get_total_flops())


if __name__ == "__main__":
    main()
