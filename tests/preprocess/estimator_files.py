"""Files as people's tools write them, made of known skeletons: one writer per format, for whoever tests with them.

Every writer takes coordinates ``[M, T, V, C]`` and scores ``[M, T, V]`` and returns the file or folder that it wrote.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Writer = Callable[[Path, Array, Array], Path]


def _dump(path: Path, document: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def _flat(points: Array, scores: Array) -> list[float]:
    """x, y, score, joint after joint."""
    return np.concatenate([points, scores[:, None]], axis=1).ravel().tolist()


def _persons(points: Array, frame: int) -> Iterable[int]:
    return (person for person in range(len(points)) if points[person, frame].any())


def mmpose(path: Path, points: Array, scores: Array) -> Path:
    """``MMPoseInferencer(pred_out_dir=…)`` on a video: a list of frames with their instances."""
    frames = [
        {
            "frame_id": frame,
            "instances": [
                {
                    "keypoints": points[person, frame].tolist(),
                    "keypoint_scores": scores[person, frame].tolist(),
                    "bbox": [[0, 0, 9, 9]],
                    "bbox_score": 0.9,
                }
                for person in _persons(points, frame)
            ],
        }
        for frame in range(points.shape[1])
    ]
    return _dump(path.with_suffix(".json"), frames)


def mmpose_demo(path: Path, points: Array, scores: Array) -> Path:
    """MMPose's demo scripts with ``--save-predictions``: the same below ``instance_info``, frames counted from 1."""
    frames = json.loads(mmpose(path, points, scores).read_text())
    for number, frame in enumerate(frames, 1):
        frame["frame_id"] = number
    meta = {"dataset_name": "coco", "num_keypoints": points.shape[2]}
    return _dump(path.with_suffix(".json"), {"meta_info": meta, "instance_info": frames})


def coco_results(path: Path, points: Array, scores: Array) -> Path:
    """COCO's results: an entry per person and image, images by number."""
    return _dump(path.with_suffix(".json"), _results(points, scores, lambda frame: frame + 1))


def alphapose(path: Path, points: Array, scores: Array) -> Path:
    """AlphaPose's default: COCO's results, images by name, ``idx`` who it is."""
    entries = _results(points, scores, lambda frame: f"{frame}.jpg")
    return _dump(path.with_suffix(".json"), entries)


def _results(points: Array, scores: Array, image: Callable[[int], Any]) -> list[dict[str, Any]]:
    named = isinstance(image(0), str)
    return [
        {
            "image_id": image(frame),
            "category_id": 1,
            "keypoints": _flat(points[person, frame], scores[person, frame]),
            "score": 2.9,
            **({"box": [0, 0, 9, 9], "idx": [float(person + 1)]} if named else {}),
        }
        for frame in range(points.shape[1])
        for person in _persons(points, frame)
    ]


def alphapose_open(path: Path, points: Array, scores: Array) -> Path:
    """AlphaPose with ``--format open``: a mapping of images, each as OpenPose has it."""
    return _dump(
        path.with_suffix(".json"),
        {f"{frame}.jpg": _openpose(points, scores, frame) for frame in range(points.shape[1])},
    )


def alphapose_cmu(path: Path, points: Array, scores: Array) -> Path:
    """AlphaPose with ``--format cmu``."""
    document = {
        f"{frame}.jpg": {
            "version": "AlphaPose v0.3",
            "bodies": [{"joints": _flat(points[p, frame], scores[p, frame])} for p in _persons(points, frame)],
        }
        for frame in range(points.shape[1])
    }
    return _dump(path.with_suffix(".json"), document)


def _openpose(points: Array, scores: Array, frame: int) -> dict[str, Any]:
    people = [
        {"person_id": [-1], "pose_keypoints_2d": _flat(points[p, frame], scores[p, frame]), "face_keypoints_2d": []}
        for p in _persons(points, frame)
    ]
    return {"version": 1.3, "people": people}


def openpose(path: Path, points: Array, scores: Array) -> Path:
    """OpenPose's ``--write_json``: a folder with a file per frame."""
    for frame in range(points.shape[1]):
        _dump(path / f"{path.name}_{frame:012d}_keypoints.json", _openpose(points, scores, frame))
    return path


def ultralytics(path: Path, points: Array, scores: Array) -> Path:
    """Ultralytics: the results of ``to_json()`` of all frames, in a list, with track ids."""
    frames = [
        [
            {
                "name": "person",
                "class": 0,
                "confidence": 0.9,
                "box": {"x1": 0, "y1": 0, "x2": 9, "y2": 9},
                "track_id": person + 1,
                "keypoints": {
                    "x": points[person, frame, :, 0].tolist(),
                    "y": points[person, frame, :, 1].tolist(),
                    "visible": scores[person, frame].tolist(),
                },
            }
            for person in reversed(list(_persons(points, frame)))
        ]
        for frame in range(points.shape[1])
    ]
    return _dump(path.with_suffix(".json"), [json.dumps(frame) for frame in frames])


def mediapipe(path: Path, points: Array, scores: Array) -> Path:
    """MediaPipe: per frame the landmarks of one person, None where nobody is."""
    frames = [
        {
            "pose_landmarks": [
                {"x": float(x), "y": float(y), "z": 0.1, "visibility": float(score)}
                for (x, y), score in zip(points[0, frame], scores[0, frame], strict=True)
            ]
            if points[0, frame].any()
            else None
        }
        for frame in range(points.shape[1])
    ]
    return _dump(path.with_suffix(".json"), frames)


def npy(path: Path, points: Array, scores: Array) -> Path:
    """A NumPy array ``[M, T, V, 3]``: x, y, score."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path.with_suffix(".npy"), np.concatenate([points, scores[..., None]], axis=-1))
    return path.with_suffix(".npy")


def npz(path: Path, points: Array, scores: Array) -> Path:
    """A ``.npz`` with keypoints and scores."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path.with_suffix(".npz"), keypoints=points, scores=scores)
    return path.with_suffix(".npz")


def table(path: Path, points: Array, scores: Array) -> Path:
    """A ``.csv``: a line per frame of the first person, with a header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = np.concatenate([points[0], scores[0][..., None]], axis=-1).reshape(points.shape[1], -1)
    header = [f"joint{joint}_{axis}" for joint in range(points.shape[2]) for axis in ("x", "y", "score")]
    with path.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["frame", *header])
        writer.writerows([number, *row] for number, row in enumerate(rows.tolist()))
    return path.with_suffix(".csv")


WRITERS: dict[str, Writer] = {
    writer.__name__: writer
    for writer in (
        *(mmpose, mmpose_demo, coco_results, alphapose, alphapose_open, alphapose_cmu),
        *(openpose, ultralytics, mediapipe, npy, npz, table),
    )
}
ONE_PERSON = {"mediapipe", "table"}


def labels(folder: Path, rows: Sequence[Sequence[str]], header: str = "id,label,split,subject") -> Path:
    """Write a ``labels.csv`` beside clips."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels.csv").write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n")
    return folder / "labels.csv"


def ucla(folder: Path, clips: Iterable[tuple[str, int, Array]]) -> Path:
    """NW-UCLA's folder: ``a01_s01_e00_v01.json`` of name, label from 1, and skeletons ``[T, 20, 3]``."""
    for name, label, points in clips:
        document = {"file_name": name, "skeletons": points.tolist(), "label": label}
        _dump(folder / f"{name}.json", document)
    return folder
