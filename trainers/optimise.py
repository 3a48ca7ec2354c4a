"""Optimisers: how gradients move weights, as lazy tensor updates inside one compiled step.

tinygrad's own optimisers number their state and always apply the update. These name each state
tensor after the weight it belongs to, and can leave everything as it is when a float16 gradient
overflowed. Where the CPU has our kernels, a few of them do it all (`kernels.update`). Tests
hold both against tinygrad's.
"""

from collections.abc import Mapping

from tinygrad import Tensor, dtypes
from tinygrad.uop.ops import sint

from trainers.config import Optimizer
from trainers.kernels import update as one_pass
from trainers.kernels.update import Parameter


class Updater:
    """The optimiser's state and its update.

    Args:
        config: Method and its numbers.
        weights: Trainable tensors by name; float32, realised. They are changed in place.
        max_grad_norm: Largest global L2 norm of the gradient, or None.
        in_one_pass: Whether one kernel of ours moves all weights; on the CPU only.
    """

    def __init__(
        self,
        config: Optimizer,
        weights: Mapping[str, Tensor],
        *,
        max_grad_norm: float | None,
        in_one_pass: bool,
    ) -> None:
        self._config = config
        self._in_one_pass = in_one_pass
        self._weights = dict(weights)
        self._max_grad_norm = max_grad_norm
        self.state: dict[str, Tensor] = {"updates": _filled((), 0.0)}
        """State tensors by name, float32; `updates` counts the updates applied."""
        if config.name != "sgd":
            self.state |= {"beta1_power": _filled((), 1.0), "beta2_power": _filled((), 1.0)}
        for slot in _slots(config):
            self.state |= {f"{slot}.{name}": _filled(w.shape, 0.0) for name, w in weights.items()}

    def update(
        self, gradients: Mapping[str, Tensor], *, scale: Tensor, lr: Tensor, apply: Tensor
    ) -> list[Tensor]:
        """Give each weight and state tensor its next value; nothing runs yet.

        Args:
            gradients: By weight name, float32, of the whole batch.
            scale: What they are multiplied by first, shape (), float32.
            lr: Learning rate, shape (), float32.
            apply: Whether to update at all, shape (), bool.

        Returns:
            The tensors to realise.
        """
        if self._max_grad_norm is not None:
            scaled = {name: gradient * scale for name, gradient in gradients.items()}
            scale = scale * clip_factor(scaled, max_norm=self._max_grad_norm)
        self._put("updates", self.state["updates"] + 1, apply)
        if self._config.name != "sgd":
            self._put("beta1_power", self.state["beta1_power"] * self._config.beta1, apply)
            self._put("beta2_power", self.state["beta2_power"] * self._config.beta2, apply)
        if self._in_one_pass:
            return self._all_at_once(gradients, scale=scale, lr=lr, apply=apply)
        for name, weight in self._weights.items():
            change = self._change(name, weight.detach(), gradients[name] * scale, apply)
            weight.assign(apply.where(weight.detach() - lr * change, weight.detach()))
        return [*self._weights.values(), *self.state.values()]

    def _all_at_once(
        self, gradients: Mapping[str, Tensor], *, scale: Tensor, lr: Tensor, apply: Tensor
    ) -> list[Tensor]:
        slots = _slots(self._config)
        parameters = [
            Parameter(
                weight.detach(),
                gradients[name],
                tuple(self.state[f"{slot}.{name}"] for slot in slots),
            )
            for name, weight in self._weights.items()
        ]
        counters = [self.state[name] for name in ("beta1_power", "beta2_power") if slots[1:]]
        moved = one_pass.update(
            self._config, parameters, powers=counters, lr=lr, scale=scale, apply=apply
        )
        return [*moved, self.state["updates"], *counters]

    def _change(self, name: str, weight: Tensor, gradient: Tensor, apply: Tensor) -> Tensor:
        """Return what is subtracted from the weight per unit of learning rate."""
        decay = self._config.weight_decay
        if decay and self._config.name != "adamw":
            gradient = gradient + decay * weight
        if self._config.name == "sgd":
            return self._sgd(name, gradient, apply)
        change = self._adam(name, gradient, apply)
        return change + decay * weight if decay and self._config.name == "adamw" else change

    def _sgd(self, name: str, gradient: Tensor, apply: Tensor) -> Tensor:
        """Momentum without dampening, and Nesterov's variant.

        Source: Sutskever et al. 2013, in the form of PyTorch's `SGD` (its documentation).
        """
        momentum = self._config.momentum
        if not momentum:
            return gradient
        slot = f"momentum.{name}"
        velocity = self._put(slot, momentum * self.state[slot] + gradient, apply)
        return gradient + momentum * velocity if self._config.nesterov else velocity

    def _adam(self, name: str, gradient: Tensor, apply: Tensor) -> Tensor:
        """Adam's step.

        Source: Kingma and Ba 2014, arXiv:1412.6980, algorithm 1; decoupled decay Loshchilov and
            Hutter 2017, arXiv:1711.05101, algorithm 2.
        """
        beta1, beta2 = self._config.beta1, self._config.beta2
        slot1, slot2 = f"mean.{name}", f"square.{name}"
        mean = self._put(slot1, beta1 * self.state[slot1] + (1.0 - beta1) * gradient, apply)
        squared = gradient * gradient
        square = self._put(slot2, beta2 * self.state[slot2] + (1.0 - beta2) * squared, apply)
        mean_hat = mean / (1.0 - self.state["beta1_power"])
        square_hat = square / (1.0 - self.state["beta2_power"])
        return mean_hat / (square_hat.sqrt() + self._config.eps)

    def _put(self, slot: str, value: Tensor, apply: Tensor) -> Tensor:
        state = self.state[slot]
        return state.assign(apply.where(value, state))


def clip_factor(gradients: Mapping[str, Tensor], *, max_norm: float) -> Tensor:
    """Return what gradients are multiplied by so that their global L2 norm is at most `max_norm`.

    Args:
        gradients: By name; any shapes, float32.
        max_norm: Largest norm allowed, > 0. Same unit as the gradients.

    Returns:
        Shape (), float32, in (0, 1].

    Source: Pascanu et al. 2013, arXiv:1211.5063, algorithm 1.
    """
    norm = global_norm(gradients)
    return (norm > max_norm).where(max_norm / norm, 1.0)


def global_norm(gradients: Mapping[str, Tensor]) -> Tensor:
    """Return the L2 norm over all gradients, shape (), float32."""
    # Each sum on its own: fused into one kernel they would be nested loops.
    squares = [gradient.square().sum().contiguous() for gradient in gradients.values()]
    return Tensor.stack(*squares).sum().sqrt()


def _slots(config: Optimizer) -> tuple[str, ...]:
    if config.name == "sgd":
        return ("momentum",) if config.momentum else ()
    return ("mean", "square")


def _filled(shape: tuple[sint, ...], value: float) -> Tensor:
    return Tensor.full(shape, value, dtype=dtypes.float32).contiguous().realize().is_param_(False)
