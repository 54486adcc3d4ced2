"""Between a live model with its optimiser and the arrays of a checkpoint."""

from __future__ import annotations

import torch

from components.contracts.checkpoint import Tensors
from components.train.distributed.process_group import ProcessGroup
from components.train.model.recogniser import Recogniser

_PREFIXES = {
    torch.optim.SGD: {"momentum_buffer": ""},
    torch.optim.AdamW: {"step": "step/", "exp_avg": "exp_avg/", "exp_avg_sq": "exp_avg_sq/"},
}
"""What an optimiser remembers of a parameter, and what its name begins with in a checkpoint."""


def model_arrays(model: Recogniser) -> Tensors:
    """Return parameters and batch-norm statistics by name."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in model.state_dict().items()}


def optimiser_arrays(model: Recogniser, optimiser: torch.optim.Optimizer) -> Tensors:
    """Return what the optimiser remembers of every parameter by name; of those not yet stepped it is nothing."""
    arrays = {}
    for name, parameter in model.named_parameters():
        for key, prefix in _PREFIXES[type(optimiser)].items():
            buffer = optimiser.state[parameter].get(key)
            if buffer is not None:
                arrays[prefix + name] = buffer.cpu().numpy()
    return arrays


def restore(model: Recogniser, optimiser: torch.optim.Optimizer, weights: Tensors, remembered: Tensors) -> None:
    """Load both. ``RuntimeError`` names the parameters if the weights do not fit the model."""
    model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    for name, parameter in model.named_parameters():
        for key, prefix in _PREFIXES[type(optimiser)].items():
            if prefix + name in remembered:
                buffer = torch.from_numpy(remembered[prefix + name])
                # torch keeps the number of steps in main memory.
                device = "cpu" if key == "step" else parameter.device
                optimiser.state[parameter][key] = buffer.to(device, copy=True)


def broadcast_state(model: Recogniser, optimiser: torch.optim.Optimizer, group: ProcessGroup) -> None:
    """Give all processes the weights and what the optimiser remembers of rank 0."""
    for tensor in model.state_dict().values():
        group.broadcast(tensor)
    parameters, keys = list(model.parameters()), list(_PREFIXES[type(optimiser)])
    stepped = torch.tensor([keys[0] in optimiser.state[parameter] for parameter in parameters])
    for parameter, remembered in zip(parameters, group.broadcast(stepped.to(group.device)), strict=True):
        for key in keys if remembered else ():
            empty = torch.zeros(()) if key == "step" else torch.zeros_like(parameter.detach())
            buffer = optimiser.state[parameter].setdefault(key, empty)
            buffer.copy_(group.broadcast(buffer.to(group.device)))
