"""What every part of the experiment's document is: a checked, unchangeable section."""

from __future__ import annotations

import base64
import zlib
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from components.contracts.artifact import canonical_json

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]

_COMPRESSED = "zlib:"
_LONG = 16_384


class Section(BaseModel):
    """A part of the document: unknown keys are errors, values do not change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def to_json(self) -> str:
        """Return the canonical JSON in which this section travels to a stage."""
        return canonical_json(self.model_dump(mode="json"))

    def to_parameter(self) -> str:
        """Return what a pipeline's task is given: the JSON, compressed where it is long.

        A task's parameters are quoted three times on their way into its pod, where each quotation mark of the JSON
        takes eight bytes, and what Kubernetes takes is limited: with thousands of classes only this form fits.
        """
        text = self.to_json()
        if len(text) <= _LONG:
            return text
        return _COMPRESSED + base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def parameter_json(parameter: str) -> str:
    """Return the JSON of what ``Section.to_parameter`` wrote."""
    if not parameter.startswith(_COMPRESSED):
        return parameter
    return zlib.decompress(base64.b64decode(parameter.removeprefix(_COMPRESSED))).decode()
