"""What models compute with: one seam, behind it tinygrad's own kernels or a library's.

The same model code runs everywhere: `Ops` on any device, `LibraryOps` on the CPU. Both get
tensors in the precision of the run; the library takes float32 and leaves the rest to tinygrad.

Shape suffixes: B batch, C channels, O output channels, H height (of a head: its width), W width,
F features, N heads, T time, S time of keys and values.
"""

import math

from tinygrad import Tensor, dtypes

from trainers.kernels import (
    activation,
    cross_entropy,
    layer_norm,
    library,
    normalisation,
    pooling,
    softmax,
)
from trainers.kernels.convolution import conv2d
from trainers.kernels.matmul import affine, matmul


class Ops:
    """tinygrad's own kernels; any device, any dtype."""

    def linear(self, x_BF: Tensor, w_OF: Tensor, b_O: Tensor) -> Tensor:  # noqa: N803  shape suffix
        """Return (..., O): x times the transposed weights, plus the bias."""
        return x_BF.linear(w_OF.transpose(), b_O)

    def conv2d(
        self,
        x_BCHW: Tensor,  # noqa: N803  shape suffix
        w_OCHW: Tensor,  # noqa: N803  shape suffix
        b_O: Tensor | None,  # noqa: N803  shape suffix
        *,
        stride: int,
        padding: int,
    ) -> Tensor:
        """Return (B, O, H', W'): the convolution, plus the bias if there is one."""
        return x_BCHW.conv2d(w_OCHW, b_O, stride=stride, padding=padding)

    def attention(
        self,
        q_BNTH: Tensor,  # noqa: N803  shape suffix
        k_BNSH: Tensor,  # noqa: N803  shape suffix
        v_BNSH: Tensor,  # noqa: N803  shape suffix
        *,
        is_causal: bool,
    ) -> Tensor:
        """Return (B, N, T, H): the mean of the values, weighted by how queries and keys agree.

        Args:
            q_BNTH: Queries.
            k_BNSH: Keys.
            v_BNSH: Values.
            is_causal: Whether a query sees keys up to its own place only.
        """
        scores_BNTS = q_BNTH.matmul(k_BNSH.transpose(-2, -1))  # noqa: N806  shape suffix
        return _weights(scores_BNTS, q_BNTH, is_causal=is_causal).matmul(v_BNSH)

    def gelu(self, x: Tensor) -> Tensor:
        """Return the Gaussian error linear unit, in its tanh form, of each element."""
        return x.gelu()

    def batch_norm(
        self,
        x_BCHW: Tensor,  # noqa: N803  shape suffix
        weight_C: Tensor,  # noqa: N803  shape suffix
        bias_C: Tensor,  # noqa: N803  shape suffix
        *,
        epsilon: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return float32 input normalised by its own statistics, and these: mean and variance.

        The variance is the biased one. Gradients flow through the normalised values alone.
        """
        mean_C = x_BCHW.mean(axis=(0, 2, 3))  # noqa: N806  shape suffix
        centred_BCHW = x_BCHW - mean_C.detach().reshape(1, -1, 1, 1)  # noqa: N806  shape suffix
        var_C = centred_BCHW.square().mean(axis=(0, 2, 3))  # noqa: N806  shape suffix
        scale_C = (var_C + epsilon).rsqrt()  # noqa: N806  shape suffix
        y_BCHW = x_BCHW.batchnorm(weight_C, bias_C, mean_C, scale_C)  # noqa: N806  shape suffix
        return y_BCHW, mean_C.detach(), var_C.detach()

    def batch_norm_relu(
        self,
        x_BCHW: Tensor,  # noqa: N803  shape suffix
        weight_C: Tensor,  # noqa: N803  shape suffix
        bias_C: Tensor,  # noqa: N803  shape suffix
        residual_BCHW: Tensor | None,  # noqa: N803  shape suffix
        *,
        epsilon: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return `batch_norm`, the residual added if there is one and what is negative made 0.

        Gradients flow into the residual too.
        """
        y_BCHW, mean_C, var_C = self.batch_norm(  # noqa: N806  shape suffix
            x_BCHW, weight_C, bias_C, epsilon=epsilon
        )
        added_BCHW = y_BCHW if residual_BCHW is None else y_BCHW + residual_BCHW  # noqa: N806
        return added_BCHW.relu(), mean_C, var_C

    def layer_norm(
        self,
        x_BTD: Tensor,  # noqa: N803  shape suffix
        weight_D: Tensor,  # noqa: N803  shape suffix
        bias_D: Tensor,  # noqa: N803  shape suffix
        *,
        epsilon: float,
    ) -> Tensor:
        """Return float32 input with each row along the last axis normalised by its statistics."""
        return x_BTD.layernorm(eps=epsilon) * weight_D + bias_D

    def max_pool_2x2(self, x_BCHW: Tensor) -> Tensor:  # noqa: N803  shape suffix
        """Return the largest of each 2 x 2 window; an odd last row or column is dropped.

        Written as a reshape: the same bits as `max_pool2d`, with a cheaper gradient.
        """
        batch, channels, height, width = (int(size) for size in x_BCHW.shape)
        x_BCHW = x_BCHW[:, :, : height // 2 * 2, : width // 2 * 2]  # noqa: N806  shape suffix
        return x_BCHW.reshape(batch, channels, height // 2, 2, width // 2, 2).max(axis=(3, 5))

    def cross_entropy(self, logits_NK: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor]:  # noqa: N803  shape suffix
        """Return the mean loss in nats, and how often the largest logit is the label's.

        Both of shape (), float32; gradients flow through the loss.

        Args:
            logits_NK: float32.
            labels_N: Classes, int32.
        """
        hits = (logits_NK.argmax(axis=1) == labels_N).sum().cast(dtypes.float32)
        return logits_NK.sparse_categorical_crossentropy(labels_N), hits.detach()


class LibraryOps(Ops):
    """A library's kernels, and ours in C, on the CPU in float32; tinygrad's for other dtypes."""

    def linear(self, x_BF: Tensor, w_OF: Tensor, b_O: Tensor) -> Tensor:  # noqa: N803  shape suffix
        """Return (..., O): x times the transposed weights, plus the bias."""
        if x_BF.dtype != dtypes.float32:
            return super().linear(x_BF, w_OF, b_O)
        rows_RF = x_BF.reshape(-1, x_BF.shape[-1])  # noqa: N806  shape suffix
        return affine(rows_RF, w_OF, b_O).reshape(*x_BF.shape[:-1], w_OF.shape[0])

    def conv2d(
        self,
        x_BCHW: Tensor,  # noqa: N803  shape suffix
        w_OCHW: Tensor,  # noqa: N803  shape suffix
        b_O: Tensor | None,  # noqa: N803  shape suffix
        *,
        stride: int,
        padding: int,
    ) -> Tensor:
        """Return (B, O, H', W'): the convolution, plus the bias if there is one."""
        if x_BCHW.dtype != dtypes.float32:
            return super().conv2d(x_BCHW, w_OCHW, b_O, stride=stride, padding=padding)
        return conv2d(x_BCHW, w_OCHW, b_O, stride=stride, padding=padding)

    def attention(
        self,
        q_BNTH: Tensor,  # noqa: N803  shape suffix
        k_BNSH: Tensor,  # noqa: N803  shape suffix
        v_BNSH: Tensor,  # noqa: N803  shape suffix
        *,
        is_causal: bool,
    ) -> Tensor:
        """Return (B, N, T, H): the mean of the values, weighted by how queries and keys agree."""
        if q_BNTH.dtype != dtypes.float32:
            return super().attention(q_BNTH, k_BNSH, v_BNSH, is_causal=is_causal)
        q_MTH, k_MSH, v_MSH = (  # noqa: N806  shape suffix; M is B N
            x.reshape(-1, *x.shape[-2:]) for x in (q_BNTH, k_BNSH, v_BNSH)
        )
        scale = 1 / math.sqrt(int(q_BNTH.shape[-1]))
        scores_MTS = matmul(q_MTH, k_MSH, tb=True)  # noqa: N806  shape suffix
        weights_MTS = softmax.weights(scores_MTS, scale=scale, is_causal=is_causal)  # noqa: N806
        return matmul(weights_MTS, v_MSH).reshape(*q_BNTH.shape)

    def gelu(self, x: Tensor) -> Tensor:
        """Return the Gaussian error linear unit, in its tanh form, of each element."""
        if x.dtype != dtypes.float32 or not activation.is_fit(x):
            return super().gelu(x)
        return activation.gelu(x)

    def batch_norm(
        self,
        x_BCHW: Tensor,  # noqa: N803  shape suffix
        weight_C: Tensor,  # noqa: N803  shape suffix
        bias_C: Tensor,  # noqa: N803  shape suffix
        *,
        epsilon: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return float32 input normalised by its own statistics, and these: mean and variance."""
        return normalisation.batch_norm(x_BCHW, weight_C, bias_C, epsilon=epsilon)

    def batch_norm_relu(
        self,
        x_BCHW: Tensor,  # noqa: N803  shape suffix
        weight_C: Tensor,  # noqa: N803  shape suffix
        bias_C: Tensor,  # noqa: N803  shape suffix
        residual_BCHW: Tensor | None,  # noqa: N803  shape suffix
        *,
        epsilon: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return `batch_norm`, the residual added if there is one and what is negative made 0."""
        return normalisation.batch_norm_relu(
            x_BCHW, weight_C, bias_C, residual_BCHW, epsilon=epsilon
        )

    def layer_norm(
        self,
        x_BTD: Tensor,  # noqa: N803  shape suffix
        weight_D: Tensor,  # noqa: N803  shape suffix
        bias_D: Tensor,  # noqa: N803  shape suffix
        *,
        epsilon: float,
    ) -> Tensor:
        """Return float32 input with each row along the last axis normalised by its statistics."""
        return layer_norm.layer_norm(x_BTD, weight_D, bias_D, epsilon=epsilon)

    def max_pool_2x2(self, x_BCHW: Tensor) -> Tensor:  # noqa: N803  shape suffix
        """Return the largest of each 2 x 2 window; an odd last row or column is dropped."""
        if x_BCHW.dtype != dtypes.float32:
            return super().max_pool_2x2(x_BCHW)
        return pooling.max_pool_2x2(x_BCHW)

    def cross_entropy(self, logits_NK: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor]:  # noqa: N803  shape suffix
        """Return the mean loss in nats, and how often the largest logit is the label's."""
        losses_N, hits_N = cross_entropy.cross_entropy(logits_NK, labels_N)  # noqa: N806
        return losses_N.mean(), hits_N.sum()


def choose(device: str) -> Ops:
    """Return the library's kernels on a CPU that has one, else tinygrad's own.

    Raises:
        NotInstalled: The library that was asked for cannot be used.
    """
    return LibraryOps() if has_library(device) else Ops()


def has_library(device: str) -> bool:
    """Return whether the device has kernels other than tinygrad's.

    Raises:
        NotInstalled: The library that was asked for cannot be used.
    """
    return device == "CPU" and library.chosen().name != "tinygrad"


def _weights(scores: Tensor, q: Tensor, *, is_causal: bool) -> Tensor:
    """Return the weights of keys for each query, in the dtype of the scores.

    Source: Vaswani et al. 2017, arXiv:1706.03762 §3.2.1.
    """
    scaled = scores.cast(dtypes.float32) / math.sqrt(int(q.shape[-1]))
    if is_causal:
        seen = Tensor.ones(*scores.shape[-2:], dtype=dtypes.bool).tril()
        scaled = seen.where(scaled, -math.inf)
    return scaled.softmax(axis=-1).cast(scores.dtype)
