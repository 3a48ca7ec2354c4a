"""All weights moved by their gradients in one kernel: the optimisers of `trainers.optimise` in C.

Weights and slots change in place, each element on its own, so the bits do not depend on threads.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from tinygrad import Tensor, dtypes

from trainers.config import Optimizer
from trainers.kernels import compiled

_PIECE = 8192
"""Elements that one row of the kernel stands for, at most."""

_MOST_OPERANDS = 61
"""tinygrad's CPU programs take 63 arguments; two are the numbers and the table of the kernel."""

_ROW = """
    static const long first[] = {{{first}}}, sizes[] = {{{sizes}}};
    long k = 0;
    while (row >= first[k + 1]) k++;
    float* restrict w = operands[k];
    {slots}
    const float* restrict g = operands[{outputs} + 1 + k];
    const float* numbers = operands[{outputs}];
    float lr = numbers[0], scale = numbers[1];
    {biases}
    long i = (row - first[k]) * {piece};
    long end = i + {piece} < sizes[k] ? i + {piece} : sizes[k];
    if (numbers[2] == 0) end = i;
    for (; i + LANES <= end; i += LANES) {{ {wide} }}
    for (; i < end; i++) {{ {narrow} }}"""


_BIASES = "float bias0 = 1.0f - numbers[3], bias1 = 1.0f - numbers[4];"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A weight, its gradient and its state tensors; float32, of one shape."""

    weight: Tensor
    gradient: Tensor
    slots: tuple[Tensor, ...]
    """(velocity,), (mean, square) or ()."""


def update(
    config: Optimizer,
    parameters: Sequence[Parameter],
    *,
    powers: Sequence[Tensor],
    lr: Tensor,
    scale: Tensor,
    apply: Tensor,
) -> list[Tensor]:
    """Return the changed tensors; realising them moves weights and slots in place.

    Args:
        config: Method and its numbers.
        parameters: All weights.
        powers: For Adam beta1 and beta2 to the number of this update, shape (), float32; else ().
        lr: Learning rate, shape (), float32.
        scale: What gradients are multiplied by first, shape (), float32.
        apply: Whether to update at all, shape (), bool.
    """
    numbers = Tensor.stack(lr, scale, apply.cast(dtypes.float32), *powers)
    most = _MOST_OPERANDS // (2 + len(parameters[0].slots))
    groups = (parameters[i : i + most] for i in range(0, len(parameters), most))
    return [tensor for group in groups for tensor in _update(config, group, numbers)]


def _update(config: Optimizer, group: Sequence[Parameter], numbers: Tensor) -> list[Tensor]:
    sizes = [int(parameter.weight.numel()) for parameter in group]
    pieces = [-(-size // _PIECE) for size in sizes]
    slots = list(zip(*(parameter.slots for parameter in group), strict=True))
    changed = [p.weight for p in group] + [tensor for slot in slots for tensor in slot]
    body = _ROW.format(
        first=", ".join(map(str, accumulate(pieces, initial=0))),
        sizes=", ".join(map(str, sizes)),
        slots=" ".join(
            f"float* restrict s{j} = operands[{(j + 1) * len(group)} + k];"
            for j in range(len(slots))
        ),
        biases="" if config.name == "sgd" else _BIASES,
        outputs=len(changed),
        piece=_PIECE,
        wide=_element(config, "vec", "*(vec*)({} + i)", "__builtin_elementwise_sqrt"),
        narrow=_element(config, "float", "{}[i]", "__builtin_sqrtf"),
    )
    return compiled.run(
        f"update_{len(group)}_{hashlib.sha256(body.encode()).hexdigest()[:16]}",
        body,
        rows=sum(pieces),
        outputs=changed,
        inputs=[numbers, *(parameter.gradient for parameter in group)],
        operations=12 * sum(sizes),
    )


def _element(config: Optimizer, kind: str, place: str, root: str) -> str:
    """Return C that moves what is at `i`, as `trainers.optimise` does it."""
    w, g, s0, s1 = (place.format(name) for name in ("w", "g", "s0", "s1"))
    decay = _number(config.weight_decay)
    lines = [f"{kind} x = {w}, d = {g.replace('vec*', 'const vec*')} * scale;"]
    if config.weight_decay and config.name != "adamw":
        lines.append(f"d = d + {decay} * x;")
    if config.name != "sgd":
        beta1, beta2 = config.beta1, config.beta2
        lines += [
            f"{kind} m = {_number(beta1)} * {s0} + {_number(1.0 - beta1)} * d;",
            f"{kind} v = {_number(beta2)} * {s1} + {_number(1.0 - beta2)} * (d * d);",
            f"{s0} = m; {s1} = v;",
            f"d = m / bias0 / ({root}(v / bias1) + {_number(config.eps)});",
        ]
        if config.weight_decay and config.name == "adamw":
            lines.append(f"d = d + {decay} * x;")
    elif config.momentum:
        momentum = _number(config.momentum)
        moved = f"d + {momentum} * v" if config.nesterov else "v"
        lines += [f"{kind} v = {momentum} * {s0} + d;", f"{s0} = v;", f"d = {moved};"]
    return " ".join([*lines, f"{w} = x - lr * d;"])


def _number(value: float) -> str:
    return f"{value:.9e}f"
