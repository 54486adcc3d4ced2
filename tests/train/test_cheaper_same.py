"""What makes the recogniser cheaper leaves its function and its gradients as they were."""

from __future__ import annotations

import torch
from torch import Tensor

from components.contracts.config import ModelConfig
from components.train.layers import BatchNorm
from components.train.recogniser import Recogniser

JOINTS, PERSONS, CLASSES = 20, 2, 6
MASK = (torch.arange(CLASSES * JOINTS).view(CLASSES, JOINTS) % 3 == 0).float()


def recogniser(stem: str = "embedding", **model: object) -> Recogniser:
    """Return a small network every part of which is active, as after some training."""
    settings = {"stem": stem, "width": 16, "blocks": 3, "inflate_at": [1], "subsets": 4}
    config = ModelConfig.model_validate({**settings, "temporal": ["3x1", "3x2", "max3", "1x1"], **model})
    torch.manual_seed(1)
    network = Recogniser(config, JOINTS, PERSONS, CLASSES, text_dimensions=12).double()
    for name, array in (*network.named_parameters(), *network.named_buffers()):
        if array.is_floating_point():
            low = 0.5 if name.endswith("running_var") else -0.3
            array.data += torch.rand_like(array) * 0.5 + low if array.ndim < 2 else 0
    return network


def clips() -> tuple[Tensor, Tensor]:
    """Return skeletons ``[5, 2, 12, 20, 3]``, of which three have no second person, and who is there."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(5, PERSONS, 12, JOINTS, 3, generator=generator, dtype=torch.float64)
    present = torch.tensor([[1, 0], [1, 1], [1, 0], [1, 0], [1, 1]], dtype=torch.bool)
    return x * present[:, :, None, None, None], present


def results(network: Recogniser, x: Tensor, present: Tensor | None) -> dict[str, Tensor]:
    """Return outputs, gradients and running statistics of one training step."""
    output = network(x, MASK.double(), present)
    heads = {"logits": output.logits, "constraint": output.constraint, "alignment": output.alignment}
    (output.logits.log_softmax(1)[:, 0] + output.constraint.sin().sum(1) + output.alignment.square().sum(1)).sum().backward()
    gradients = {f"gradient of {name}": array.grad for name, array in network.named_parameters() if array.grad is not None}
    assert len(gradients) == len(list(network.parameters())) - 1  # the loss does without the logit scale
    return heads | gradients | dict(network.named_buffers())
