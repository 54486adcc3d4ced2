"""Several processes, each with a device of its own, that train one model; ``torchrun`` starts them.

All of them draw the same random numbers for the whole batch (order, clips, augmentation, mix-up partners) and push
their share of it through the network. What the heads say is gathered again, so every process computes the loss,
the confusion and the metrics of the whole batch: exactly those of a single process, whose partners in mix-up and
whose other half of the alignment loss may be anywhere in the batch. Each sample counts once per epoch, whatever the
number of processes. The batch size of the configuration is that of all together, and the number of processes is
not part of a checkpoint.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from components.contracts.errors import InputError, SkeletonAgentError, UnavailableError
from components.runtime.logs import LOGGER
from components.train.model.layers import BatchNorm, move_running

_TIMEOUT = timedelta(minutes=30)  # longer than any process alone may take, such as for a save
_STORE_TIMEOUT = timedelta(seconds=5)
_FETCH_TIMEOUT = timedelta(days=1)  # who fetches in vain ends, and the launcher then ends those who wait


@dataclass(frozen=True)
class ProcessGroup:
    """This process among ``world_size`` that train together; ``ProcessGroup()`` is a process alone."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_main(self) -> bool:
        """Whether this is the one that logs, shows and writes."""
        return self.rank == 0

    def shard(self, rows: Tensor) -> Tensor:
        """Return this process's part of rows that all have."""
        return rows if self.world_size == 1 else rows.tensor_split(self.world_size)[self.rank]

    def all_gather(self, share: Tensor, total: int) -> Tensor:
        """Return all rows of which each process has its ``share``, in order; gradients flow to the own ones.

        Every process computes the loss of the whole batch, and ``DistributedDataParallel`` averages the gradients:
        without the factor ``world_size`` in the backward pass they would come out that much too small.
        """
        return share if self.world_size == 1 else cast(Tensor, _Gather.apply(share, total, self))

    def all_reduce(self, values: Tensor) -> Tensor:
        """Add up the values of all processes, in place, without a gradient."""
        if self.world_size > 1:
            distributed.all_reduce(values)
        return values

    def broadcast(self, values: Tensor) -> Tensor:
        """Replace the values, in place, by those of rank 0."""
        if self.world_size > 1:
            distributed.broadcast(values, 0)
        return values

    def once_a_node(self, name: str, fetch: Callable[[], Path]) -> Path:
        """Return what the first process of this node has fetched; the others wait for it, and use its copy."""
        first = self.rank - int(os.environ.get("LOCAL_RANK", "0"))
        if self.world_size == 1:
            return fetch()
        store, key = _launcher_store(_FETCH_TIMEOUT), f"fetched/{first}/{name}"
        if self.rank == first:
            path = fetch()
            store.set(_this_attempt(key), str(path))
            return path
        return Path(store.get(_this_attempt(key)).decode())

    def wrap(self, model: nn.Module, *, sync_batch_norm: bool) -> nn.Module:
        """Return the model as it is to be called in training: gradients are averaged over the processes.

        Args:
            sync_batch_norm: normalise with the statistics of the whole batch, not of each process's share.
        """
        if self.world_size == 1:
            return model
        if sync_batch_norm:
            synchronise(model, self)
        # Without device_ids: inputs stay where they are, and one of them belongs in main memory.
        return DistributedDataParallel(model)


SINGLE_PROCESS = ProcessGroup()


def leave(group: ProcessGroup) -> None:
    """End a process of several whose work is done, without running the destructors of C++.

    Now and then one of them aborts in a process that has trained well ("terminate called without an active
    exception": a thread of the group that nobody has joined), and the launcher takes the round for lost.
    """
    if group.world_size > 1:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def default_device() -> torch.device:
    """Return the device of a process alone."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def process_group() -> Iterator[ProcessGroup]:
    """Meet the other processes that ``torchrun`` started, if it did; one that fails ends all.

    Raises:
        SkeletonAgentError: as this process raised it; ``UnavailableError`` if it lost another one.
        SystemExit: another process failed first and has said why.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if size == 1:
        yield ProcessGroup(device=default_device())
        return
    device = _own_device(rank)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_TIMEOUT)
    if rank:
        logging.getLogger(LOGGER).setLevel(logging.ERROR)
    try:
        yield ProcessGroup(rank, size, device)
    except SkeletonAgentError as error:
        _only_first_goes_on()
        raise type(error)(f"{error.what} (process {rank} of {size})", at=error.at) from None
    except RuntimeError as error:
        _only_first_goes_on()
        if isinstance(error, distributed.DistError) or "gloo" in str(error):
            raise UnavailableError(f"process {rank} of {size}: another process was lost; the round is ended") from None
        raise
    finally:
        distributed.destroy_process_group()


def _own_device(rank: int) -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    number = int(os.environ.get("LOCAL_RANK", rank))
    if number >= torch.cuda.device_count():
        raise InputError(f"--nproc-per-node: process {number} found {torch.cuda.device_count()} GPUs")
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def _launcher_store(timeout: timedelta) -> distributed.TCPStore:
    """Return the launcher's store, which outlives us."""
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return distributed.TCPStore(address, port, is_master=False, timeout=timeout)


def _this_attempt(key: str) -> str:
    """Return a key of ours in that store, other than those of the processes that were started before us."""
    return f"skeletonagent/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{key}"


def _only_first_goes_on() -> None:
    """Leave quietly unless this is the first process to fail."""
    try:
        failed = _launcher_store(_STORE_TIMEOUT).add(_this_attempt("failed"), 1)
    except distributed.DistError:  # gone, with the process that had it: nobody else will say anything
        return
    if failed > 1:
        raise SystemExit(1)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, share: Tensor, total: int, group: ProcessGroup) -> Tensor:
        counts = [len(part) for part in torch.empty(total).tensor_split(group.world_size)]
        ctx.start, ctx.count, ctx.size = sum(counts[: group.rank]), len(share), group.world_size
        # all_gather takes equal shapes only; the last shards may be one row shorter than the first.
        padded = F.pad(share, (0, 0) * (share.dim() - 1) + (0, counts[0] - len(share))).contiguous()
        parts = [torch.empty_like(padded) for _ in counts]
        distributed.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        # No communication: each process has the gradient of all rows already, see ``ProcessGroup.all_gather``.
        return gradient[ctx.start : ctx.start + ctx.count] * ctx.size, None, None


class _Sum(torch.autograd.Function):
    """Sum over the processes, each of which goes on with it: hence their gradients add up too."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group = group
        return group.all_reduce(values.clone())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.group.all_reduce(gradient.clone()), None


class SynchronisedNorm(nn.BatchNorm1d):
    """Batch norm of ``[N, C, T]`` with the statistics of all processes, whose N may differ, on any device."""

    group = ProcessGroup()

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        # torch.nn.SyncBatchNorm knows CUDA only, and no shares of different size.
        local = torch.cat([x.sum(dim=(0, 2)), x.new_tensor([len(x) * x.shape[2]])])
        total = cast(Tensor, _Sum.apply(local, self.group))
        count = total[-1].detach()
        mean = total[:-1] / count
        centred = x - mean[:, None]
        variance = cast(Tensor, _Sum.apply(centred.square().sum(dim=(0, 2)), self.group)) / count
        with torch.no_grad():
            move_running(self, mean, variance * (count / (count - 1)))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return centred * scale[:, None] + self.bias[:, None]


def synchronise(model: nn.Module, group: ProcessGroup) -> None:
    """Let every batch norm of a model use the statistics of the whole batch."""
    for part in model.modules():
        if isinstance(part, BatchNorm):
            part.all_reduce = group.all_reduce
        elif isinstance(part, nn.BatchNorm1d):
            # In place, so that names in the state dict and the optimiser's parameters stay what they are.
            part.__class__ = SynchronisedNorm
            cast(SynchronisedNorm, part).group = group
