"""Layers that the recogniser's blocks are made of: 1×1 convolution, and batch norm that counts absent persons.

Activations are ``[R, C, T, V]``: one row per person. Most clips of one person come with an empty second one, and the
rows of all empty persons are the same. So the last row may stand for several persons, its ``copies``: it is computed
once and weighs that much in the batch statistics, which leaves function and gradient as they were.

What an activation function made is not kept for the backward pass but made again from the batch norm's input, and
that input too where one projection makes it (Chen et al. 2016, "Training deep nets with sublinear memory cost", with
the cheapest of operations): less than half the memory. Small activations are kept: there it is time that is scarce.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

KEPT = 2**20
"""Numbers of a layer's input; below it the backward pass keeps what it needs."""


class Pointwise(nn.Conv2d):
    """1×1 convolution of ``[R, C, T, V]``, every ``stride`` frames, as a matrix product: faster on CPUs."""

    bias: Tensor

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__(channels_in, channels_out, 1, stride=(stride, 1))

    def forward(self, x: Tensor) -> Tensor:
        return project(x[:, :, :: self.stride[0]], self.weight, self.bias)


def project(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Multiply the channels of ``[R, C, T, V]`` by a matrix ``[C_out, C, 1, 1]`` and add ``[C_out]``."""
    rows, _, frames, joints = x.shape
    matrix = weight.flatten(1).expand(rows, -1, -1)
    return torch.baddbmm(bias[:, None], matrix, x.flatten(2)).view(rows, -1, frames, joints)


AllReduce = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Statistics:
    """Per channel ``[C]``: ``mean`` and biased ``variance`` of ``count`` values; ``all_reduce``: see ``BatchNorm``."""

    mean: Tensor
    variance: Tensor
    count: float | Tensor
    all_reduce: AllReduce | None = None


class BatchNorm(nn.BatchNorm2d):
    """Batch norm of ``[R, C, T, V]`` in which the last row counts ``copies`` times; parameters as PyTorch's.

    Eager PyTorch on CPUs computes the statistics of contiguous tensors five times more slowly than two sums do.
    """

    running_mean: Tensor
    running_var: Tensor

    recording = True
    """Whether running statistics move: not when a forward pass is repeated."""
    all_reduce: AllReduce | None = None
    """Adds up values over all processes that share a batch; without it the statistics are this process's own."""
    folded = False
    """Whether the convolution before it does its work (see ``components.train.model.folding``)."""

    def forward(self, x: Tensor, copies: int = 1) -> Tensor:
        return self.normalise(x, self.statistics(x, copies), copies)

    def normalise_relu_apply(
        self,
        apply: Callable[[Tensor], Tensor],
        x: Tensor,
        copies: int = 1,
        *,
        before: Callable[[Tensor], Tensor] | None = None,
        added: Tensor | None = None,
        added_norm: BatchNorm | None = None,
    ) -> Tensor:
        """Return ``apply(relu(norm(before(x)) + added_norm(added)))``, keeping of large ones only ``x`` and ``added``.

        Without ``before`` and ``added_norm`` these two are taken as they are.
        """
        if before is not None and torch.compiler.is_compiling():
            # Traced code may note nothing down below; what to make again is for the compiler to choose.
            x, before = before(x), None
        statistics = self.statistics(x, copies) if before is None else None
        added_statistics = None
        if added is not None and added_norm is not None:
            added_statistics = added_norm.statistics(added, copies)

        def run(x: Tensor, added: Tensor | None) -> Tensor:
            nonlocal statistics
            if before is not None:
                x = before(x)
            if statistics is None:
                # In the first pass only: running ones must not move twice, nor processes meet twice.
                statistics = self.statistics(x, copies)
            out = self.normalise(x, statistics, copies)
            if added is not None and added_norm is not None and added_statistics is not None:
                out += added_norm.normalise(added, added_statistics, copies)
            elif added is not None:
                out += added
            return apply(out.relu_())

        if not torch.is_grad_enabled() or x.numel() < KEPT:
            return run(x, added)
        # Recomputation draws no random numbers, so the generator's state need not be kept.
        return checkpoint(run, x, added, use_reentrant=False, preserve_rng_state=False)

    def normalise(self, x: Tensor, statistics: Statistics, copies: int) -> Tensor:
        """Apply batch norm with statistics of ``x`` itself (training) or running ones."""
        if self.folded:
            return x
        if not self.training:
            return F.batch_norm(x, statistics.mean, statistics.variance, self.weight, self.bias, eps=self.eps)
        if torch.compiler.is_compiling():
            # The compiler fuses the plain formula, and finds its gradient.
            scale = self.weight * torch.rsqrt(statistics.variance + self.eps)
            return (x - _channels(statistics.mean)) * _channels(scale) + _channels(self.bias)
        return _Normalise.apply(x, self.weight, self.bias, statistics, copies, self.eps)

    def statistics(self, x: Tensor, copies: int) -> Statistics:
        """Return the statistics to normalise with; in training they are the batch's, and the running ones move."""
        if not self.training:
            return Statistics(self.running_mean, self.running_var, 0)
        # Their part in the gradient is in _Normalise, but for compiled code.
        flat, dtype = (x if torch.compiler.is_compiling() else x.detach()).flatten(2), self.running_mean.dtype
        sums = flat.sum(dim=2, dtype=dtype)
        squares = torch.linalg.vector_norm(flat, dim=2, dtype=dtype).square()
        first, second = (part.double().sum(dim=0) + (copies - 1) * part[-1].double() for part in (sums, squares))
        count: float | Tensor = (len(x) + copies - 1) * flat.shape[2]
        if self.all_reduce is not None:
            together = self.all_reduce(torch.cat([first, second, first.new_tensor([count])]))
            first, second, count = *together[:-1].chunk(2), together[-1]
        mean = first / count
        variance = (second / count - mean.square()).clamp(min=0)
        if self.recording:
            move_running(self, mean.detach().to(dtype), (variance.detach() * (count / (count - 1))).to(dtype))
        return Statistics(mean.to(dtype), variance.to(dtype), count, self.all_reduce)


def move_running(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Move running statistics as PyTorch's batch norms do: by ``momentum``; without one they are the mean so far."""
    running_mean, running_var, batches = (cast(Tensor, array) for array in norm.buffers())
    batches += 1
    share = 1 / int(batches) if norm.momentum is None else norm.momentum
    running_mean.lerp_(mean, share)
    running_var.lerp_(variance, share)


class _Normalise(torch.autograd.Function):
    """Batch norm's affine map; its gradient is the whole of batch norm's, through the statistics too.

    Source: Ioffe and Szegedy (2015), section 3, with a weight on the last row.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, statistics: Statistics, copies: int, eps: float
    ) -> Tensor:
        ctx.save_for_backward(x, weight, statistics.mean, torch.rsqrt(statistics.variance + eps))
        ctx.count, ctx.copies, ctx.eps, ctx.all_reduce = statistics.count, copies, eps, statistics.all_reduce
        return F.batch_norm(x, statistics.mean, statistics.variance, weight, bias, eps=eps)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse = ctx.saved_tensors
        # Of statistics of these very rows, each counted once, PyTorch knows the whole gradient: one pass, not three.
        plain = ctx.all_reduce is None and ctx.copies == 1
        # Sums over the rows as they are: the gradient of the last one is already that of all its copies.
        to_x, to_weight, to_bias = torch.ops.aten.native_batch_norm_backward(
            gradient.contiguous(), x, weight, None, None, mean, inverse, True, ctx.eps, [plain, True, True]
        )
        if plain:
            return to_x, to_weight, to_bias, None, None, None
        all_weight, all_bias = to_weight, to_bias
        if ctx.all_reduce is not None:
            all_weight, all_bias = ctx.all_reduce(torch.cat([to_weight, to_bias])).chunk(2)
        scale = weight * inverse
        slope = -scale * inverse * all_weight / ctx.count
        offset = -scale * all_bias / ctx.count - slope * mean
        to_x = torch.addcmul(_channels(offset).to(x.dtype), x, _channels(slope).to(x.dtype))
        if ctx.copies > 1:
            # What comes through the statistics is that of one copy; the direct part, added next, is of all of them.
            to_x[-1] *= ctx.copies
        to_x.addcmul_(gradient, _channels(scale).to(x.dtype))
        return to_x, to_weight, to_bias, None, None, None


def _channels(values: Tensor) -> Tensor:
    return values[:, None, None]


class Projection(nn.Sequential):
    """1×1 convolution, every ``stride`` frames, and batch norm."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__(Pointwise(channels_in, channels_out, stride), BatchNorm(channels_out))

    @property
    def conv(self) -> Pointwise:
        return cast(Pointwise, self[0])

    @property
    def norm(self) -> BatchNorm:
        return cast(BatchNorm, self[1])

    def forward(self, x: Tensor, copies: int = 1) -> Tensor:
        return self.norm(self.conv(x), copies)


def recomputed(module: nn.Module, x: Tensor, copies: int) -> Tensor:
    """Run a module, of which only ``x`` is kept: the backward pass runs it once more."""
    contexts = (nullcontext(), _statistics_frozen(module))
    # The first context is that of the forward pass, the second that of the repetition in the backward pass.
    return checkpoint(module, x, copies, use_reentrant=False, preserve_rng_state=False, context_fn=lambda: contexts)


@contextmanager
def _statistics_frozen(module: nn.Module) -> Iterator[None]:
    """Within it the running statistics of ``module`` do not move."""
    norms = [part for part in module.modules() if isinstance(part, BatchNorm)]
    for norm in norms:
        norm.recording = False
    try:
        yield
    finally:
        for norm in norms:
            norm.recording = True
