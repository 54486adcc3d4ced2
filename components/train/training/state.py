"""Between a live model with its optimiser and the arrays of a checkpoint."""

from __future__ import annotations

import torch

from components.contracts.checkpoint import Tensors
from components.train.distributed.process_group import ProcessGroup
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


def broadcast_state(model: Recogniser, optimiser: torch.optim.SGD, group: ProcessGroup) -> None:
    """Give all processes the weights and the momentum of rank 0."""
    for tensor in model.state_dict().values():
        group.broadcast(tensor)
    parameters = list(model.parameters())
    stepped = torch.tensor([_MOMENTUM in optimiser.state[parameter] for parameter in parameters])
    for parameter, has_momentum in zip(parameters, group.broadcast(stepped.to(group.device)), strict=True):
        if has_momentum:
            buffer = optimiser.state[parameter].setdefault(_MOMENTUM, torch.zeros_like(parameter.detach()))
            group.broadcast(buffer)
