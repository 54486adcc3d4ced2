"""Between a live model with its optimiser and the arrays of a checkpoint."""

from __future__ import annotations

import torch

from components.contracts.checkpoint import Tensors
from components.train.distributed.ranks import Workers
from components.train.model.recogniser import Recogniser

_MOMENTUM = "momentum_buffer"


def model_arrays(model: Recogniser) -> Tensors:
    """Return parameters and batch-norm statistics by name."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in model.state_dict().items()}


def momentum_arrays(model: Recogniser, optimiser: torch.optim.SGD) -> Tensors:
    """Return the momentum of every parameter by name; parameters not yet stepped have none."""
    arrays = {}
    for name, parameter in model.named_parameters():
        buffer = optimiser.state[parameter].get(_MOMENTUM)
        if buffer is not None:
            arrays[name] = buffer.cpu().numpy()
    return arrays


def restore(model: Recogniser, optimiser: torch.optim.SGD, weights: Tensors, momentum: Tensors) -> None:
    """Load both. ``RuntimeError`` names the parameters if the weights do not fit the model."""
    model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    for name, parameter in model.named_parameters():
        if name in momentum:
            buffer = torch.from_numpy(momentum[name]).to(parameter.device, copy=True)
            optimiser.state[parameter][_MOMENTUM] = buffer


def share(model: Recogniser, optimiser: torch.optim.SGD, workers: Workers) -> None:
    """Give all processes the weights and the momentum of the one that leads."""
    for tensor in model.state_dict().values():
        workers.from_leader(tensor)
    parameters = list(model.parameters())
    stepped = torch.tensor([_MOMENTUM in optimiser.state[parameter] for parameter in parameters])
    for parameter, has_momentum in zip(parameters, workers.from_leader(stepped.to(workers.device)), strict=True):
        if has_momentum:
            buffer = optimiser.state[parameter].setdefault(_MOMENTUM, torch.zeros_like(parameter.detach()))
            workers.from_leader(buffer)
