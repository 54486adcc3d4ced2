"""The images of the stages, as the compiled pipeline names them."""

from __future__ import annotations

import re

from components.contracts.errors import InputError
from components.runtime.task import image

STAGES = ("preprocess", "train", "agent", "evaluate")
IMAGE_HELP = "Image of a stage, best by digest: train=registry.example/lab/train@sha256:…. Repeatable."
TAG_HELP = "Tag of the stages' images that --image does not name; none: the version's."

_REFERENCE = re.compile(r"[^\s:@][^\s@]*(:[\w][\w.-]{0,127}|@sha256:[0-9a-f]{64})")


def image_references(given: list[str], tag: str | None) -> dict[str, str]:
    """Return the reference of every stage's image.

    Args:
        given: ``STAGE=REFERENCE``; the others are ``$SKELETONAGENT_IMAGES-STAGE``.
        tag: tag of those others.

    Raises:
        InputError: an unknown stage, or a reference without a fixed tag or digest. Such an image changes under its
            name, and KFP would serve old results as those of the new one.
    """
    references = {stage: image(stage) for stage in STAGES}
    if tag:
        references = {stage: f"{reference.rpartition(':')[0]}:{tag}" for stage, reference in references.items()}
    for item in given:
        stage, _, reference = item.partition("=")
        if stage not in STAGES or not reference:
            raise InputError(f"--image: found {item!r}, expected STAGE=REFERENCE with one of {', '.join(STAGES)}")
        references[stage] = reference
    for stage, reference in references.items():
        if not _REFERENCE.fullmatch(reference) or reference.endswith(":latest"):
            raise InputError(f"image of {stage}: found {reference!r}, expected a fixed tag (not latest) or a digest")
    return references
