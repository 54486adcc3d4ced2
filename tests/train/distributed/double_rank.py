"""``python -m components.train`` in double precision, ended after some steps: ``double_rank.py FOLDER STEPS run …``.

Of each step each process leaves ``FOLDER/RANK-STEP.safetensors``: its gradients, and the network after it. Then batch
norm is measured anew, which makes ``FOLDER/RANK-settled.safetensors``: the network.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from safetensors.torch import save_file
from torch import Tensor

from components.runtime.cli import run
from components.train.__main__ import app
from components.train.training.loop import Trainer

folder, steps, made = Path(sys.argv.pop(1)), int(sys.argv.pop(1)), 0
prepare, clips, step = Trainer.__post_init__, Trainer._training_clips, Trainer._step


def in_double(trainer: Trainer) -> None:
    trainer.model.double()
    said = trainer.guidance
    assert said.mask is not None
    trainer.guidance = replace(said, mask=said.mask.double(), text=said.text.double())
    prepare(trainer)
    if trainer.class_weights is not None:
        trainer.class_weights = trainer.class_weights.double()


def double_clips(*arguments: object) -> Tensor:
    return clips(*arguments).double()  # type: ignore[arg-type]


def noted(trainer: Trainer, *arguments: object) -> None:
    global made
    step(trainer, *arguments)  # type: ignore[arg-type]
    made += 1
    gradients = {
        f"{name}.grad": array.grad for name, array in trainer.model.named_parameters() if array.grad is not None
    }
    rank = os.environ.get("RANK", "0")
    save_file(gradients | trainer.model.state_dict(), folder / f"{rank}-{made}.safetensors")
    if made == steps:
        trainer.settle_batch_norm(1)
        save_file(trainer.model.state_dict(), folder / f"{rank}-settled.safetensors")
        # Scores are computed from clips in single precision.
        os._exit(0)


Trainer.__post_init__ = in_double  # type: ignore[method-assign,assignment]
Trainer._training_clips = double_clips  # type: ignore[method-assign,assignment]
Trainer._step = noted  # type: ignore[method-assign,assignment]
run(app)
