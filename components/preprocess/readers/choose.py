"""Finds out which format an input has and opens it: a folder, an archive, or a pickle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from components.contracts.config import DataConfig, KineticsConfig
from components.contracts.data_config import Format
from components.contracts.errors import InputError
from components.preprocess.readers import ntu, pyskl, uav, ucla
from components.preprocess.readers.array_sets import ArraySet
from components.preprocess.readers.decode import SUFFIXES, TEXT
from components.preprocess.readers.files import Folder, SingleFile, open_files
from components.preprocess.readers.folder import ClipFolder
from components.preprocess.readers.grouping import clip_files
from components.preprocess.readers.kinetics import KineticsIndex
from components.preprocess.readers.members import Files, Member
from components.preprocess.readers.samples import Source
from components.preprocess.readers.unlabelled import Unlabelled
from components.runtime.pickled.records import Records, load_streamed
from components.runtime.pickled.unpickler import load_data

KPFILES = "kpfiles"
PICKLES = (".pkl", ".pickle")
_SAVE = "save its arrays as .npy or .npz"
FOREIGN = {
    (".mat",): f"MATLAB's format, which is not read: {_SAVE} (scipy.io.loadmat, numpy.save)",
    (".h5", ".hdf5", ".hdf"): f"HDF5, which is not read: {_SAVE} (h5py, numpy.save)",
    (".pt", ".pth", ".ckpt"): f"PyTorch's format, which is not read: {_SAVE}",
    (".parquet", ".feather", ".xlsx", ".xls"): "a table in a binary format, which is not read: save it as .csv",
    (".bvh", ".c3d", ".fbx", ".trc"): f"motion capture, which is not read: {_SAVE}, frames×joints×3 in metres",
    (".mp4", ".avi", ".mov", ".mkv", ".webm", ".jpg", ".jpeg", ".png"): "videos or images: a pose estimator first "
    "(MMPose, Ultralytics, MediaPipe, OpenPose, AlphaPose); its JSON is read",
}
"""Suffixes → what is said of files of that kind."""


def open_source(path: Path, config: DataConfig | None = None, kind: Format = "auto") -> tuple[Source, dict[str, Path]]:
    """Open an input.

    Args:
        path: a folder, an archive (``.zip``, ``.tar``, ``.tar.gz``) or a pickle.
        config: layout, protocols and options of the format; without it the format's own.
        kind: the format; ``auto`` looks at the input.

    Returns:
        The open source, and what else is read besides ``path``, by role (``kpfiles``).

    Raises:
        InputError: no format fits, several do, or the input cannot be used as a whole.
    """
    if kind == "clips":
        if config is None:
            raise InputError("format clips needs a configuration", at=path)
        return Unlabelled(path, config), {}
    files = open_files(path)
    _refuse_foreign(path, files)
    found = _formats(files)
    if kind == "auto":
        kind = _only(path, found)
    if kind in ("folder", "arrays", "ucla"):
        return _open_clips(files, config, kind), {}
    if kind == "ntu" or kind == "uav":
        if kind not in found:
            suffix = ntu.SUFFIX if kind == "ntu" else uav.SUFFIX
            raise InputError(f"format {kind}: no {suffix} file found among {len(files.names)} files", at=path)
        return (ntu.open(files) if kind == "ntu" else uav.open(files, config.layout if config else "coco17")), {}
    return _open_pickle(files, config, kind)


def _refuse_foreign(path: Path, files: Files) -> None:
    """Raise ``InputError`` if all files are of a format that people have and this project does not read."""
    suffixes = {PurePosixPath(name).suffix.lower() for name in files.names}
    for endings, what in FOREIGN.items():
        if suffixes and suffixes <= set(endings):
            raise InputError(f"found {what}", at=path)


def _formats(files: Files) -> list[Format]:
    """Return the formats that files with their names could have."""
    found: list[Format] = []
    if isinstance(files, SingleFile) and files.names[0].lower().endswith(SUFFIXES):
        return ["arrays" if files.names[0].lower().endswith(".npz") else "folder"]
    if isinstance(files, SingleFile) or any(name.endswith(PICKLES) for name in files.names):
        found.append("pyskl")
    if any(name.endswith(ntu.SUFFIX) for name in files.names):
        found.append("ntu")
    if any(uav.NAME.fullmatch(PurePosixPath(name).stem) for name in files.names if name.endswith(uav.SUFFIX)):
        found.append("uav")
    if not found and any(ucla.fields(name) for name in files.names):
        found.append("ucla")
    if not found and clip_files(files.names):
        only = [name for name in files.names if name.lower().endswith(".npz")]
        found.append("arrays" if len(only) == 1 and len(clip_files(files.names)) == 1 else "folder")
    return found


def _open_clips(files: Files, config: DataConfig | None, kind: Format) -> Source:
    if kind == "ucla":
        return ucla.open(files)
    names = clip_files(files.names)
    if not names:
        raise InputError(f"format {kind}: no {', '.join(SUFFIXES)} found among {len(files.names)} files", at=files.path)
    if kind == "arrays":
        return next(ArraySet(member, config) for member in files.members({names[0]}))
    return ClipFolder(files, config)


def _only(path: Path, found: list[Format]) -> Format:
    if len(found) > 1 and path.suffix in (ntu.SUFFIX, uav.SUFFIX):
        found = found[1:]  # a single recording is no pickle
    if not found:
        expected = (
            f"a pickle, {ntu.SUFFIX} files of NTU RGB+D, .txt files of UAV-Human, or {', '.join((*SUFFIXES, TEXT))}"
        )
        raise InputError(f"not a file of a known format and no such file inside; expected {expected}", at=path)
    if len(found) > 1:
        raise InputError(f"holds files of several formats ({', '.join(found)}): choose one with --format", at=path)
    return "auto" if found[0] == "pyskl" else found[0]


def _open_pickle(files: Files, config: DataConfig | None, kind: Format) -> tuple[Source, dict[str, Path]]:
    annotations, splits = next(_annotations(member) for member in files.members({_index(files)}))
    first = annotations.first if isinstance(annotations, Records) else annotations[0]
    refers = type(first) is dict and "raw_file" in first and "keypoint" not in first
    if kind == "pyskl" or (kind == "auto" and not refers):
        return pyskl.AnnotationPickle(annotations, splits), {}
    kpfiles, besides = _kpfiles(files)
    options = config.kinetics if config else KineticsConfig()
    tests = {protocol.test for protocol in config.protocols.values()} if config else set()
    test_ids = {sample_id for name in tests for sample_id in splits.get(name, ())}

    def load(kpfile: Member) -> Any:
        return _load(kpfile, load_data)

    return KineticsIndex(list(annotations), splits, kpfiles, load, options, test_ids), besides


def _annotations(member: Member) -> tuple[pyskl.Annotations, dict[str, list[str]]]:
    return pyskl.checked(
        _load(member, lambda path: load_streamed(path, "annotations", before=("split",))), member.label
    )


def _index(files: Files) -> str:
    """Return the name of the one annotation pickle."""
    if isinstance(files, SingleFile):
        return files.names[0]
    pickles = [name for name in files.names if name.endswith(PICKLES) and KPFILES not in PurePosixPath(name).parts]
    if len(pickles) != 1:
        where = f"outside of folder {KPFILES}, one annotation pickle expected"
        raise InputError(f"found {len(pickles)} pickles {where}", at=files.path)
    return pickles[0]


def _kpfiles(files: Files) -> tuple[Files, dict[str, Path]]:
    if not isinstance(files, SingleFile):
        return files, {}
    folder = files.path.parent / KPFILES
    if not folder.is_dir():
        raise InputError(
            f"an index without coordinates; a folder {KPFILES} with them expected beside it", at=files.path
        )
    return Folder(folder), {KPFILES: folder}


def _load(member: Member, read: Callable[[Path], Any]) -> Any:
    """Read a pickle as data; error messages name the member, not its temporary copy (which may go at once)."""
    with member.local() as path:
        try:
            return read(path)
        except InputError as error:
            raise error.renamed({str(path): member.label}) from None
