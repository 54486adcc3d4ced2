"""Writers of the raw formats: ``.skeleton`` and ``.txt`` recordings, Kinetics indices with kpfiles, archives."""

from __future__ import annotations

import pickle
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Bodies = Sequence[tuple[str, npt.NDArray[Any]]]
"""The bodies of one frame: tracking id and joints ``[V, 3]``."""


def text(frames: Sequence[Bodies]) -> str:
    """A recording in the form of NTU RGB+D and UAV-Human: the joints' other nine columns are made up."""
    lines = [str(len(frames))]
    for bodies in frames:
        lines.append(str(len(bodies)))
        for identity, joints in bodies:
            lines.append(f"{identity} 0 1 1 1 1 0 0.02764709 -0.05745083 2")
            lines.append(str(len(joints)))
            for row in joints:
                numbers = " ".join(repr(float(value)) for value in row)
                lines.append(f"{numbers} 277.3 191.7 1035.2 519.4 -0.2059 0.0495 0.9692 -0.1259 2")
    return "\n".join(lines) + "\n"


def standing(seed: int, frames: int, joints: int = 25, width: float = 0.3, motion: float = 0.1) -> npt.NDArray[Any]:
    """A body ``[T, V, 3]``, 1.7 high and ``width`` wide, that sways by ``motion``."""
    rng = np.random.default_rng(seed)
    rest = rng.uniform(0, 1, (joints, 3)) * [width, 1.7, 0.2] + [seed, 0, 3]
    rest[:2, :2] = np.array([[seed, 0], [seed + width, 1.7]])
    sway = motion * np.sin(np.arange(frames) * 0.7 + seed)[:, None, None]
    return np.asarray((rest + sway).astype(np.float32))


def tracked(*bodies: tuple[str, int, npt.NDArray[Any]], frames: int) -> list[list[tuple[str, npt.NDArray[Any]]]]:
    """Frames in which each body (id, first frame, joints ``[T, V, 3]``) is there for as long as it has joints."""
    return [
        [(name, points[frame - first]) for name, first, points in bodies if 0 <= frame - first < len(points)]
        for frame in range(frames)
    ]


def write(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write files below a folder and return it."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def zipped(folder: Path, archive: Path) -> Path:
    """Pack a folder into a ``.zip``."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for file in sorted(folder.rglob("*")):
            target.write(file, f"top/{file.relative_to(folder)}")
    return archive


def tarred(folder: Path, archive: Path) -> Path:
    """Pack a folder into a ``.tar.gz`` (or ``.tar``), in the order of the names."""
    with tarfile.open(archive, "w:gz" if archive.suffix == ".gz" else "w") as target:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            target.add(file, f"top/{file.relative_to(folder)}")
    return archive


NTU_NAMES = ["S001C001P001R001A001", "S001C002P003R001A002", "S002C003P003R002A001", "S003C001P001R001A002"]


def ntu_files(frames: int = 14) -> dict[str, str]:
    """Four recordings of one body: two subjects of the training list (1) and two others (3), two actions."""
    return {
        f"{name}.skeleton": text(tracked(("72057594037931101", 0, standing(number + 1, frames)), frames=frames))
        for number, name in enumerate(NTU_NAMES)
    }


UAV_NAMES = [
    "P000S00G10B10H10UC022000LC021000A000R0_08241716",
    "P001S00G20B40H20UC072000LC021000A001R0_08241838",
    "P002S00G10B50H30UC062000LC092000A001R0_08250945",
    "P003S01G11B00H00UC022072LC021061A000R1_08301122",
]


def uav_files(frames: int = 6) -> dict[str, str]:
    """Four recordings in pixels: subject 0 trains in both protocols, 1 in none, 2 in the first, 3 in the second."""
    bodies = [np.abs(standing(number + 1, frames, joints=17)) * 200 for number in range(4)]
    return {
        f"{name}.txt": text(tracked(("000", 0, body * [1, 1, 0]), frames=frames))
        for name, body in zip(UAV_NAMES, bodies, strict=True)
    }


def skeletons(seed: int, number: int, joints: int = 17) -> npt.NDArray[np.float16]:
    """Skeletons ``[N, V, 3]`` of one video: x, y in pixels, and score."""
    return (np.random.default_rng(seed).uniform(0.1, 1, (number, joints, 3)) * [400, 300, 1]).astype(np.float16)


def video(name: str, label: int, raw_file: str, frames: Sequence[int], **fields: Any) -> dict[str, Any]:
    """One annotation of a Kinetics index."""
    return {
        "frame_dir": name,
        "label": label,
        "img_shape": (340, 480),
        "original_shape": (340, 480),
        "total_frames": max(frames, default=0),
        "raw_file": f"data/k400/kpfiles/{raw_file}",
        "frame_inds": np.asarray(frames, dtype=np.int16),
        "box_score": np.linspace(0.5, 0.99, len(frames)).astype(np.float16),
        **fields,
    }


def kinetics(folder: Path, videos: Sequence[dict[str, Any]], poses: Mapping[str, Any], **splits: list[str]) -> Path:
    """Write index and kpfiles (by the base name of ``raw_file``) to a folder and return the index."""
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / "k400_hrnet.pkl"
    index.write_bytes(pickle.dumps({"split": splits, "annotations": list(videos)}, protocol=4))
    by_file: dict[str, dict[str, Any]] = {}
    for record in videos:
        if record["frame_dir"] in poses:
            entry = {"keypoint": poses[record["frame_dir"]]}
            by_file.setdefault(Path(record["raw_file"]).name, {})[record["frame_dir"]] = entry
    for name, content in by_file.items():
        write(folder / "kpfiles", {name: pickle.dumps(content, protocol=4)})
    return index
