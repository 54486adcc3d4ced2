"""What is said of one clip: its class, how likely each class is, and the joints that say so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Prediction:
    """One clip.

    ``probabilities`` float64 ``[classes]`` of the ensemble; ``evidence`` ``[V]`` of the joints for its class, of which
    positive ones speak for it; ``streams``: float32 ``[classes]`` of each stream; ``source``: where the clip is from.
    """

    sample_id: str
    classes: tuple[str, ...]
    joints: tuple[str, ...]
    probabilities: npt.NDArray[np.float64]
    evidence: npt.NDArray[np.float32]
    streams: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    source: str = ""

    @property
    def label(self) -> str:
        """The name of the most likely class, the first of equals."""
        return self.classes[int(self.probabilities.argmax())]

    def said_of(self, source: str) -> Prediction:
        """Return it with the name by which people know where the clip is from."""
        return replace(self, source=source)

    def to_json(self, top: int) -> str:
        """Return one line with the ``top`` classes and joints, and the first class of every stream."""
        document = {
            "id": self.sample_id,
            "source": self.source,
            "label": self.label,
            "classes": [{"name": name, "probability": round(value, 6)} for name, value in self._classes(top)],
            "joints": [{"name": name, "evidence": round(value, 6)} for name, value in self._joints(top)],
            "streams": {
                stream: {"name": self.classes[int(row.argmax())], "probability": round(float(row.max()), 6)}
                for stream, row in self.streams.items()
            },
        }
        return json.dumps(document, ensure_ascii=False)

    def to_text(self, top: int) -> str:
        """Return the same for people."""
        lines = [self.sample_id]
        lines += [f"  {value:7.2%}  {name}" for name, value in self._classes(top)]
        joints = ", ".join(f"{name} {value:+.2f}" for name, value in self._joints(top))
        lines.append(f"  joints that say so: {joints}")
        others = {stream: self.classes[int(row.argmax())] for stream, row in self.streams.items()}
        if set(others.values()) - {self.label}:
            lines.append(f"  streams: {', '.join(f'{stream} {name}' for stream, name in others.items())}")
        return "\n".join(lines)

    def _classes(self, top: int) -> list[tuple[str, float]]:
        order = np.argsort(-self.probabilities, kind="stable")[:top]
        return [(self.classes[label], float(self.probabilities[label])) for label in order]

    def _joints(self, top: int) -> list[tuple[str, float]]:
        order = np.argsort(-self.evidence, kind="stable")[:top]
        return [(self.joints[joint], float(self.evidence[joint])) for joint in order]
