"""RunConfig: everything that decides what a training run does, as one frozen record.

Light on purpose: pydantic and `evidence` only, so that the HTTP layer reads configs without loading
tinygrad. Not here: limits of a service (they are settings) and recipes (`trainers.recipes`).
"""

import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from evidence import canonical
from evidence.errors import ConfigError, InvalidInput
from evidence.schedule import Schedule
from trainers.data import catalog
from trainers.data.catalog import ImageSet, TextSet

VERSION = 1
"""Version of the RunConfig format, its field `v`."""

MIN_CHECKPOINTS = 3
"""Fewest checkpoints of a run, besides the one at the last step if that falls between."""

MAX_WORKERS = 16
"""Most workers of a run."""

NAME_PATTERN = r"^[a-z0-9][a-z0-9_.-]{0,63}$"
"""What a run's or a recipe's name must match."""

_FREE: dict[str, Any] = {"affects_bits": False}

Width = Annotated[int, Field(ge=8, le=4096)]
Channels = Annotated[int, Field(ge=4, le=256)]
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Architecture = Literal["mlp", "convnet", "resnet", "gpt", "vit"]
DatasetName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
DeviceName = Literal["CPU", "CUDA", "NV", "AMD", "METAL"]
Entry = ImageSet | TextSet
Precision = Literal["float32", "float16", "bfloat16"]


def _quarter(steps: int) -> int:
    """Return the cadence that gives four checkpoints, the last one included, or a few more."""
    return max(1, min(-(-steps // 4), steps // MIN_CHECKPOINTS))


class _Part(BaseModel):
    """A frozen part of a config that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Mlp(_Part):
    """Fully connected layers with ReLU between them."""

    architecture: Literal["mlp"]
    """Names this kind of model."""
    hidden: Annotated[tuple[Width, ...], Field(min_length=1, max_length=4)] = (128,)
    """Units of each hidden layer, first to last; 1 to 4 layers of 8 to 4096 units."""


class Convnet(_Part):
    """Convolution and ReLU per layer, 2 x 2 max pooling, then one hidden layer (LeNet's plan)."""

    architecture: Literal["convnet"]
    """Names this kind of model."""
    channels: Annotated[tuple[Channels, ...], Field(min_length=1, max_length=4)] = (8, 16)
    """Output channels of each convolution, first to last; 1 to 4 layers of 4 to 256 channels."""
    kernel: Literal[3, 5] = 5
    """Side of each square filter, in pixels: 3 or 5."""
    pool: Literal["each", "last"] = "each"
    """Which convolutions are followed by the pooling: each of them, or the last one only."""
    hidden: Annotated[int, Field(ge=8, le=2048)] = 64
    """Units of the hidden layer, 8 to 2048."""
    dropout: Annotated[float, Field(ge=0, le=0.9, allow_inf_nan=False)] = 0.0
    """Probability that a hidden unit is dropped in a training step, 0 to 0.9."""


class Resnet(_Part):
    """The CIFAR residual network with parameter-free shortcuts.

    Source: He et al. 2015, arXiv:1512.03385 §4.2, shortcut option A.
    """

    architecture: Literal["resnet"]
    """Names this kind of model."""
    depth: Literal[8, 14, 20, 32, 44, 56] = 20
    """Weighted layers, 6 n + 2."""
    width: Annotated[int, Field(ge=8, le=64)] = 16
    """Channels of the first stage, 8 to 64; the second has twice, the third four times as many."""


class _Transformer(_Part):
    """Sizes that all transformers have."""

    layers: Annotated[int, Field(ge=1, le=48)] = 6
    """Blocks of attention and perceptron, 1 to 48."""
    width: Annotated[int, Field(ge=8, le=2048)] = 192
    """Width of the residual stream, 8 to 2048; a multiple of `heads`."""
    heads: Annotated[int, Field(ge=1, le=64)] = 3
    """Attention heads, 1 to 64."""
    dropout: Annotated[float, Field(ge=0, le=0.9, allow_inf_nan=False)] = 0.0
    """Probability that an output of attention or perceptron is dropped in training, 0 to 0.9."""

    @field_validator("heads")
    @classmethod
    def _divide_the_width(cls, value: int, info: Any) -> int:
        width = info.data.get("width", value)
        if width % value:
            raise ValueError(f"a divisor of width {width}")
        return value


class Gpt(_Transformer):
    """A decoder that says of each byte of a text which one follows.

    Source: Radford et al. 2019, Language Models are Unsupervised Multitask Learners, §2.3.
    """

    architecture: Literal["gpt"]
    """Names this kind of model."""
    context: Annotated[int, Field(ge=8, le=2048)] = 256
    """Tokens of a window, 8 to 2048."""


class Vit(_Transformer):
    """An encoder over the patches of an image, with the mean over them before the logits.

    Source: Dosovitskiy et al. 2020, arXiv:2010.11929; the mean: Beyer et al. 2022,
    arXiv:2205.01580.
    """

    architecture: Literal["vit"]
    """Names this kind of model."""
    patch: Annotated[int, Field(ge=2, le=16)] = 4
    """Side of each square patch, in pixels; a divisor of the image's."""


ModelConfig = Annotated[Mlp | Convnet | Resnet | Gpt | Vit, Field(discriminator="architecture")]


KernelSetName = Literal["portable", "native"]
"""Names of the sets of CPU kernels; see `trainers/kernels/kernel_set.py`."""

KernelLibrary = Literal["auto", "onednn", "openblas", "tinygrad"]
"""What products and convolutions on a CPU go through; see `trainers/kernels/library.py`."""


class Optimizer(_Part):
    """How gradients move the weights; a field that the named method does not use has no effect."""

    name: Literal["sgd", "adam", "adamw"] = "adamw"
    """Method. `adam` adds weight decay to the gradient, `adamw` decouples it."""
    lr: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] = 1e-3
    """Peak learning rate, in (0, 10]."""
    momentum: Fraction = 0.0
    """sgd: fraction of the running sum kept each step, [0, 1)."""
    nesterov: bool = False
    """sgd: whether to look ahead along the momentum."""
    beta1: Fraction = 0.9
    """adam, adamw: decay of the mean of gradients, [0, 1)."""
    beta2: Fraction = 0.999
    """adam, adamw: decay of the mean of squared gradients, [0, 1)."""
    eps: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 1e-8
    """adam, adamw: added to the root in the denominator, in (0, 1]."""
    weight_decay: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    """Pull of all trainable tensors towards 0 per unit of learning rate, [0, 1]."""


class RunConfig(_Part):
    """One training run. Equal configs on equal data are the same computation."""

    v: Literal[1] = 1
    """Version of this format."""
    recipe: Annotated[str | None, Field(pattern=NAME_PATTERN, json_schema_extra=_FREE)] = None
    """Name of the recipe that it came from, or null."""
    name: Annotated[str, Field(pattern=NAME_PATTERN, json_schema_extra=_FREE)] = "run"
    """Name for people; 1 to 64 of a-z, 0-9, `_`, `.`, `-`."""
    dataset: DatasetName
    """Data set to train and evaluate on."""
    data: Annotated[
        ImageSet | TextSet | None,
        Field(exclude_if=lambda value: value is None, validate_default=True),
    ] = None
    """What is known of a data set of somebody's own: its kind, its files and their SHA-256. The
    service fills it in; left out of config.json for the data sets of the catalog."""
    model: ModelConfig
    """Architecture and its sizes."""
    seed: Annotated[int, Field(ge=0, le=2**53 - 1)] = 0
    """Chosen number, 0 to 2**53 - 1; the run's seed is derived from it, this config and data."""
    steps: Annotated[int, Field(ge=MIN_CHECKPOINTS, le=10_000_000)]
    """Updates of the weights, 3 to 10,000,000."""
    batch_size: Annotated[int, Field(ge=1, le=8192)] = 64
    """Samples per update, 1 to 8192; a multiple of `micro_steps`."""
    micro_steps: Annotated[int, Field(ge=1, le=256)] = 1
    """Pieces that a batch is computed in, their gradients added up; 1 to 256."""
    workers: Annotated[int, Field(ge=1, le=MAX_WORKERS)] = 1
    """Data-parallel trainers, 1 to 16, which must divide the samples of a piece. Each computes its
    part of every batch; their gradients are added up in a fixed order, so the number decides
    bits, and the places of the workers do not. More than 1 train on CPUs only."""
    optimizer: Optimizer = Optimizer()
    """How gradients move the weights."""
    schedule: Schedule = Schedule()
    """Learning rate over the steps; its warm-up is shorter than the run."""
    max_grad_norm: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] | None = None
    """Largest global L2 norm of the gradient, in (0, 1e6]; null does not clip."""
    precision: Precision = "float32"
    """Number format of forward and backward pass; weights and updates are always float32."""
    augmentation: Literal["none", "crop_flip"] = "none"
    """`crop_flip`: pad by 4 pixels, crop at random, mirror half of the images left to right."""
    nonce: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """Text of the client's choice that enters the seed, 1 to 200 characters; null for none. A
    service cannot have tried seeds before if it could not know it."""
    kernel_set: Annotated[KernelSetName, Field(json_schema_extra=_FREE)] = "portable"
    """CPU kernels: `portable` for the same bits on any x86-64-v3 machine (AVX2, one thread), or
    `native` for what the machine and its `threads` can do."""
    threads: Annotated[int, Field(ge=1, le=1024, json_schema_extra=_FREE)] = 1
    """Threads that a trainer on a CPU computes with and CPU slots that it reserves, 1 to 1024; 1
    under `portable`. Our own kernels give the same bits for any number, oneDNN's may not. A trainer
    on another device takes no CPU slot."""
    beam: Annotated[int, Field(ge=0, le=16, json_schema_extra=_FREE)] = 0
    """Width of tinygrad's search for faster kernels of its own, 1 to 16; 0 does not search. Timing
    decides, and choices change bits, so it needs `kernel_set` `native` and one worker; the
    evidence has them."""
    device: Annotated[
        Literal["auto", "CPU", "CUDA", "NV", "AMD", "METAL"], Field(json_schema_extra=_FREE)
    ] = "auto"
    """Device to run on; `auto` takes the best that the node has."""
    checkpoint_every: Annotated[int, Field(ge=1, json_schema_extra=_FREE)] = Field(
        default_factory=lambda data: _quarter(data.get("steps", 1))
    )
    """Steps between checkpoints, at most a third of `steps`; null is a quarter. The last step
    always has one."""
    keep_last: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None, json_schema_extra=_FREE
    )
    """Checkpoints whose bytes are kept, the newest; null keeps all."""
    metric_every: Annotated[int, Field(ge=1, le=100_000, json_schema_extra=_FREE)] = 1
    """Steps between training metrics, 1 to 100,000; the last step always has one."""
    max_wall_s: Annotated[int, Field(ge=1, le=30 * 86_400, json_schema_extra=_FREE)] = 86_400
    """Longest time from its placement on a node to its end, in seconds, 1 to 2,592,000."""
    max_restarts: Annotated[int, Field(ge=0, le=100, json_schema_extra=_FREE)] = 3
    """How often a trainer lost on a node is started again there before the run fails, 0 to 100."""
    approval: Annotated[
        Annotated[str, Field(pattern=r"^prop-[0-9A-HJKMNP-TV-Z]{26}$")] | None,
        Field(exclude_if=lambda value: value is None, json_schema_extra=_FREE),
    ] = None
    """The accepted proposal that the run cites where the data policy wants one; left out of
    config.json where there is none."""

    @field_validator("checkpoint_every", mode="before")
    @classmethod
    def _null_is_a_quarter(cls, value: object, info: Any) -> object:
        return _quarter(info.data.get("steps", 1)) if value is None else value

    @field_validator("data")
    @classmethod
    def _is_of_the_data_set(cls, value: Entry | None, info: Any) -> Entry | None:
        name = info.data.get("dataset")
        known = catalog.names()
        if value is None and name is not None and name not in known:
            raise ValueError(f"a description of {name}, which is none of {', '.join(known)}")
        if value is not None and name in known:
            raise ValueError(f"none for {name}, which is in the catalog")
        try:
            return value if value is None else catalog.require_own(value)
        except InvalidInput as error:
            raise ValueError(error.detail) from error

    @field_validator("model")
    @classmethod
    def _reads_the_data(cls, value: ModelConfig, info: Any) -> ModelConfig:
        if "dataset" not in info.data or "data" not in info.data:
            return value
        data = catalog.entry(info.data["dataset"], info.data["data"])
        if isinstance(value, Gpt) != isinstance(data, TextSet):
            kind = "a text (tinyshakespeare)" if isinstance(value, Gpt) else "images"
            raise ValueError(f"{kind} as the data set of the architecture {value.architecture}")
        if isinstance(value, Vit) and isinstance(data, ImageSet):
            side = data.image_shape[1]
            if side % value.patch:
                raise ValueError(f"patch to be a divisor of the image's {side} pixels")
        return value

    @field_validator("augmentation")
    @classmethod
    def _is_for_images(cls, value: str, info: Any) -> str:
        if value != "none" and isinstance(info.data.get("model"), Gpt):
            raise ValueError("none, where a text is read")
        return value

    @field_validator("threads")
    @classmethod
    def _is_one_if_portable(cls, value: int, info: Any) -> int:
        if value != 1 and info.data.get("kernel_set") == "portable":
            raise ValueError("1 under the kernel set portable")
        return value

    @field_validator("beam")
    @classmethod
    def _is_none_if_portable_or_in_a_group(cls, value: int, info: Any) -> int:
        if value != 0 and info.data.get("kernel_set") == "portable":
            raise ValueError("0 under the kernel set portable")
        if value != 0 and info.data.get("workers", 1) > 1:
            raise ValueError("0 where workers is above 1: each would search for itself")
        return value

    @field_validator("micro_steps")
    @classmethod
    def _divides_the_batch(cls, value: int, info: Any) -> int:
        batch_size = info.data.get("batch_size", value)
        if batch_size % value:
            raise ValueError(f"a divisor of batch_size {batch_size}")
        return value

    @field_validator("workers")
    @classmethod
    def _divides_a_piece(cls, value: int, info: Any) -> int:
        piece = info.data.get("batch_size", value) // info.data.get("micro_steps", 1)
        if piece % value:
            raise ValueError(f"a divisor of batch_size / micro_steps = {piece}")
        return value

    @field_validator("device")
    @classmethod
    def _is_one_that_workers_share(cls, value: str, info: Any) -> str:
        if info.data.get("workers", 1) > 1 and value not in ("auto", "CPU"):
            raise ValueError("auto or CPU, where workers is above 1")
        return value

    @field_validator("schedule")
    @classmethod
    def _warms_up_within_the_run(cls, value: Schedule, info: Any) -> Schedule:
        steps = info.data.get("steps", value.warmup_steps + 1)
        if value.warmup_steps >= steps:
            raise ValueError(f"warmup_steps below steps = {steps}")
        return value

    @field_validator("checkpoint_every")
    @classmethod
    def _is_often_enough(cls, value: int, info: Any) -> int:
        steps = info.data.get("steps", value * MIN_CHECKPOINTS)
        if steps // value < MIN_CHECKPOINTS:
            most = steps // MIN_CHECKPOINTS
            raise ValueError(f"at most {most}, for {MIN_CHECKPOINTS} checkpoints in {steps} steps")
        return value

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.optimizer.nesterov and not self.optimizer.momentum:
            raise ValueError("optimizer.momentum above 0 where optimizer.nesterov is true")
        return self

    @property
    def entry(self) -> Entry:
        """What is known of the data set."""
        return catalog.entry(self.dataset, self.data)

    @property
    def images(self) -> ImageSet:
        """What is known of the set of images.

        Raises:
            InvalidInput: The data set is a text.
        """
        return catalog.image_set(self.dataset, self.data)

    @property
    def text(self) -> TextSet:
        """What is known of the text.

        Raises:
            InvalidInput: The data set holds images.
        """
        return catalog.text_set(self.dataset, self.data)

    def is_checkpoint(self, step: int) -> bool:
        """Return whether a checkpoint is taken after `step` updates."""
        return step == self.steps or step % self.checkpoint_every == 0

    def is_metric(self, step: int) -> bool:
        """Return whether a training metric is reported after `step` updates."""
        return step == self.steps or step % self.metric_every == 0

    def as_json(self) -> dict[str, Any]:
        """Return the config as JSON values, every default filled in."""
        return self.model_dump(mode="json")


def parse(value: Mapping[str, Any]) -> RunConfig:
    """Return the RunConfig that `value`, a JSON object, describes.

    Types are strict: "10" is not a number of steps.

    Raises:
        ConfigError: A field is missing, unknown or out of bounds; names the first one.
        InvalidInput: `value` is not JSON (NaN, an integer beyond 2**53 - 1).
    """
    name = value.get("dataset")
    if isinstance(name, str) and value.get("data") is None and name not in catalog.names():
        expected = f"one of {', '.join(catalog.names())}, or data that was added"
        raise ConfigError(
            f"dataset: expected {expected}, found {name[:80]!r}",
            field="dataset",
            expected=expected,
            found=repr(name[:80]),
        )
    try:
        return RunConfig.model_validate_json(canonical.encode(dict(value)), strict=True)
    except ValidationError as error:
        raise as_config_error(error) from error


def bits_free_fields() -> frozenset[str]:
    """Return the names of the fields that are marked as not affecting any bit of the result."""
    return frozenset(
        name
        for name, field in RunConfig.model_fields.items()
        if isinstance(field.json_schema_extra, dict)
        and field.json_schema_extra.get("affects_bits") is False
    )


def as_config_error(error: ValidationError) -> ConfigError:
    """Return a ConfigError that names the first field at fault, what it takes and what it got."""
    errors = [
        found
        for found in error.errors(include_url=False)
        if found["type"] != "default_factory_not_called"  # a consequence of another error
    ]
    first = errors[0]
    place = _without_tags(first["loc"])
    field = ".".join(str(part) for part in place) or "config"
    expected = _expected(first)
    found = _found(first)
    more = len(errors) - 1
    rest = f" (and {more} more)" if more else ""
    return ConfigError(
        f"{field}: expected {expected}, found {found}{rest}",
        field=field,
        expected=expected,
        found=found,
    )


_PARTS: Mapping[tuple[str, ...], type[BaseModel]] = types.MappingProxyType(
    {
        (): RunConfig,
        ("optimizer",): Optimizer,
        ("schedule",): Schedule,
        ("model", "mlp"): Mlp,
        ("model", "convnet"): Convnet,
        ("model", "resnet"): Resnet,
        ("model", "gpt"): Gpt,
        ("model", "vit"): Vit,
    }
)


def _without_tags(loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Return the place as the user wrote it: pydantic puts the union's tag after `model`."""
    return (loc[0], *loc[2:]) if loc[:1] == ("model",) else loc


def _expected(error: ErrorDetails) -> str:
    if error["type"] == "extra_forbidden":
        part = _PARTS.get(tuple(str(name) for name in error["loc"][:-1]))
        return f"one of {', '.join(part.model_fields)}" if part else "no such field"
    if error["type"] == "missing":
        return "a value"
    message = error["msg"].removeprefix("Value error, ")
    return message.replace("Input should be ", "")


def _found(error: ErrorDetails) -> str:
    if error["type"] == "extra_forbidden":
        return repr(str(error["loc"][-1])[:80])
    if error["type"] == "missing":
        return "nothing"
    return repr(error["input"])[:80]
