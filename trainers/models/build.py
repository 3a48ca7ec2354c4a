"""From a config to a module, and from a module to model.json and back to bytes.

Loading checks every tensor's name, shape and dtype before it replaces a weight.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from tinygrad import Device, Tensor
from tinygrad.nn.state import get_state_dict

from evidence import tensors
from evidence.errors import IntegrityError
from evidence.tensors import RawTensor
from trainers.config import Convnet, Gpt, Mlp, Resnet, RunConfig, Vit
from trainers.kernels.ops import choose
from trainers.models.convnet import ConvNet
from trainers.models.gpt import GptNet
from trainers.models.mlp import MlpNet
from trainers.models.resnet import ResNet
from trainers.models.vit import VitNet

DESCRIPTION_VERSION = 1
"""Version of the model.json format, its field `v`."""

Model = Callable[[Tensor], Tensor]
"""Takes normalised images (B, C, H, W) and returns logits (B, classes), or takes one-hot tokens
(B, T, V) and returns logits (B, T, V); in the precision of the run."""


def build(config: RunConfig, *, rng: np.random.Generator) -> Model:
    """Return the model with fresh weights drawn from `rng`, float32, on the default device."""
    ops = choose(Device.DEFAULT)
    if isinstance(config.model, Gpt):
        return GptNet(config.model, text=config.text, ops=ops, rng=rng)
    images = config.images
    match config.model:
        case Mlp():
            return MlpNet(config.model, images=images, ops=ops, rng=rng)
        case Convnet():
            return ConvNet(config.model, images=images, ops=ops, rng=rng)
        case Resnet():
            return ResNet(config.model, images=images, ops=ops, rng=rng)
        case Vit():
            return VitNet(config.model, images=images, ops=ops, rng=rng)


def describe(config: RunConfig) -> dict[str, Any]:
    """Return model.json: the architecture and each tensor's name, shape and dtype, in name order.

    Its sizes are exactly those that a checkpoint of the run has.
    """
    model = build(config, rng=np.random.default_rng(0))
    trainable = trainable_tensors(model)
    return {
        "v": DESCRIPTION_VERSION,
        "architecture": config.model.architecture,
        "tensors": [
            {
                "name": name,
                "shape": list(raw.shape),
                "dtype": raw.dtype,
                "trainable": name in trainable,
            }
            for name, raw in sorted(raw_tensors(model_tensors(model)).items())
        ],
    }


def model_tensors(model: Model) -> dict[str, Tensor]:
    """Return all tensors of the model by name, those that are only counted or averaged too."""
    return dict(sorted(get_state_dict(model).items()))


def trainable_tensors(model: Model) -> dict[str, Tensor]:
    """Return the tensors that the optimiser moves, by name, in name order."""
    return {name: tensor for name, tensor in model_tensors(model).items() if tensor.is_param}


def raw_tensors(named: Mapping[str, Tensor]) -> dict[str, RawTensor]:
    """Copy tensors from the device, in name order."""
    return {name: tensors.from_numpy(named[name].numpy()) for name in sorted(named)}


def assign(named: Mapping[str, Tensor], values: Mapping[str, RawTensor], *, source: str) -> None:
    """Put `values` into the tensors of the same names, in place.

    Args:
        named: Tensors that a model, optimiser or counter owns.
        values: What they shall hold; the same names, shapes and dtypes.
        source: What `values` came from, for the message.

    Raises:
        IntegrityError: A name is missing or unknown, or a shape or dtype differs.
    """
    if set(named) != set(values):
        differing = sorted(set(named) ^ set(values))
        raise IntegrityError(
            f"{source}: expected {len(named)} tensors, found {len(values)}; the first name on one "
            f"side only is {differing[0]!r}"
        )
    for name, tensor in named.items():
        array = tensors.to_numpy(values[name])
        fresh = Tensor(array.copy(), device=tensor.device)
        if fresh.shape != tensor.shape or fresh.dtype != tensor.dtype:
            raise IntegrityError(
                f"{source}, tensor {name}: expected {tensor.dtype} {tensor.shape}, "
                f"found {fresh.dtype} {fresh.shape}"
            )
        tensor.assign(fresh).realize()
