"""Archives are read without unpacking, hostile ones are refused with one line, and formats are told apart."""

from __future__ import annotations

import contextlib
import gzip
import io
import stat
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pickles import config, content, dump
from raw_recordings import NTU_NAMES, ntu_files, tarred, uav_files, write, zipped

from components.contracts import dataset
from components.contracts.errors import InputError
from components.preprocess.core import preprocess
from components.preprocess.readers.archives import ALLOWANCE
from components.preprocess.readers.choose import open_source
from components.preprocess.readers.files import digest, open_files

NAME = f"{NTU_NAMES[0]}.skeleton"
TEXT = ntu_files()[NAME].encode()


def make_zip(path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return path


def make_tar(path: Path, *entries: tuple[str, bytes], kind: bytes = tarfile.REGTYPE, link: str = "") -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in entries:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, link, len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def zip_link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info


def encrypted(path: Path) -> Path:
    raw = bytearray(make_zip(path, (NAME, TEXT)).read_bytes())
    raw[6] |= 1
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    return path


def cut(path: Path, make: Callable[..., Path]) -> Path:
    whole = make(path, (NAME, TEXT), (f"2{NAME}", TEXT)).read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    return path


def other_method(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr(NAME, TEXT)
    return path


def huge_header(path: Path) -> Path:
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 1 << 30
    path.write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(4096)))
    return path


def no_archive(path: Path) -> Path:
    path.write_bytes(gzip.compress(b"text" * 200))
    return path


ATTACKS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "zip, parent": (lambda p: make_zip(p, ("../" + NAME, TEXT)), "a name that leads out of the archive"),
    "zip, inner parent": (lambda p: make_zip(p, ("a/../../" + NAME, TEXT)), "a name that leads out of the archive"),
    "zip, absolute": (lambda p: make_zip(p, ("/etc/" + NAME, TEXT)), "'/etc/S001"),
    "zip, backslash": (lambda p: make_zip(p, ("..\\" + NAME, TEXT)), "a name that leads out of the archive"),
    "zip, drive": (lambda p: make_zip(p, ("C:/" + NAME, TEXT)), "a name that leads out of the archive"),
    "zip, control characters": (lambda p: make_zip(p, ("a\n" + NAME, TEXT)), "a name that leads out of the archive"),
    "zip, link": (lambda p: make_zip(p, (zip_link(NAME), b"/etc/passwd")), "a link or device"),
    "zip, encrypted": (encrypted, "is encrypted"),
    "zip, bomb": (lambda p: make_zip(p, (NAME, bytes(3 * ALLOWANCE))), "refused as an archive bomb"),
    "zip, other method": (other_method, "is packed with another method than deflate"),
    "zip, cut off": (lambda p: cut(p, make_zip), "cannot be read as .zip"),
    "zip, twice": (lambda p: make_zip(p, (NAME, TEXT), (NAME, TEXT)), "two files of the same name"),
    "tar, parent": (lambda p: make_tar(p, ("../" + NAME, TEXT)), "a name that leads out of the archive"),
    "tar, absolute": (lambda p: make_tar(p, ("/" + NAME, TEXT)), "a name that leads out of the archive"),
    "tar, link": (lambda p: make_tar(p, (NAME, b""), kind=tarfile.SYMTYPE, link="/etc/passwd"), "a link or device"),
    "tar, hard link": (lambda p: make_tar(p, (NAME, b""), kind=tarfile.LNKTYPE, link="other"), "a link or device"),
    "tar, device": (lambda p: make_tar(p, (NAME, b""), kind=tarfile.CHRTYPE), "a link or device"),
    "tar, pipe": (lambda p: make_tar(p, (NAME, b""), kind=tarfile.FIFOTYPE), "a link or device"),
    "tar, sparse": (lambda p: make_tar(p, (NAME, b""), kind=tarfile.GNUTYPE_SPARSE), "a link or device"),
    "tar, bomb": (lambda p: make_tar(p, (NAME, bytes(3 * ALLOWANCE))), "refused as an archive bomb"),
    "tar, header": (huge_header, "a header that claims"),
    "tar, cut off": (lambda p: cut(p, make_tar), "cannot be read as .tar.gz"),
    "gzip of nothing": (no_archive, "cannot be read as .tar.gz"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("case", sorted(ATTACKS))
def test_a_hostile_archive_is_refused_in_one_line_and_little_memory(tmp_path: Path, case: str) -> None:
    make, expected = ATTACKS[case]
    archive = make(tmp_path / "in.archive")
    tracemalloc.start()
    with pytest.raises(InputError) as refusal:
        list(open_source(archive)[0])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert expected in str(refusal.value) and "in.archive" in str(refusal.value) and "\n" not in str(refusal.value)
    assert peak < 8 << 20
    assert [path.name for path in tmp_path.iterdir()] == ["in.archive"]


def test_a_zip_that_lies_about_a_size_loses_that_file_only(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "in.zip", *((name, text.encode()) for name, text in ntu_files().items()))
    raw = bytearray(archive.read_bytes())
    entry = raw.index(b"PK\x01\x02")
    raw[entry + 24 : entry + 28] = (100).to_bytes(4, "little")
    archive.write_bytes(raw)
    first, *others = open_source(archive)[0]
    assert first.reason.startswith("cannot be read: Bad CRC-32")  # type: ignore[union-attr]
    assert len(others) == 3 and not any(hasattr(record, "reason") for record in others)


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    hidden = {f"__MACOSX/._{NAME}": b"x", f".cache/{NAME}": b"x", f"data/{NAME}": TEXT, ".DS_Store": b"x"}
    folder = write(tmp_path / "in", hidden)
    assert open_files(zipped(folder, tmp_path / "in.zip")).names == [f"top/data/{NAME}"]
    assert open_files(tarred(folder, tmp_path / "in.tar.gz")).names == [f"top/data/{NAME}"]


def test_a_tar_of_the_current_directory(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "in.tar.gz", *((f"./{name}", text.encode()) for name, text in ntu_files().items()))
    assert [record.sample_id for record in open_source(archive)[0]] == NTU_NAMES


@settings(max_examples=50, deadline=None)
@given(kind=st.sampled_from(["zip", "tar.gz", "tar"]), at=st.floats(0, 1), instead=st.binary(max_size=6))
def test_no_damage_to_an_archive_is_a_crash(
    tmp_path_factory: pytest.TempPathFactory, kind: str, at: float, instead: bytes
) -> None:
    folder = tmp_path_factory.mktemp("archive")
    make = make_zip if kind == "zip" else make_tar
    content = make(folder / "in.archive", (NAME, TEXT[:300]), (f"b/{NAME}", TEXT[:300])).read_bytes()
    content = gzip.decompress(content)[:4096] if kind == "tar" else content
    # Headers lie at both ends: damage is drawn towards them.
    place = int(len(content) * (3 * at**2 - 2 * at**3))
    (folder / "in.archive").write_bytes(content[:place] + instead + content[place + 1 :])
    with contextlib.suppress(InputError):
        list(open_source(folder / "in.archive")[0])


def test_links_in_a_folder_are_followed_once(tmp_path: Path) -> None:
    data = write(tmp_path / "disk", {NAME: TEXT})
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "data").symlink_to(data)
    (data / "back").symlink_to(tmp_path / "in")
    assert open_files(tmp_path / "in").names == [f"data/{NAME}"]


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_pickle_inside_an_archive(tmp_path: Path, pack: Callable[[Path, Path], Path]) -> None:
    (tmp_path / "in").mkdir()
    dump(tmp_path / "in" / "in.pkl", content())
    for number, source in enumerate([tmp_path / "in", pack(tmp_path / "in", tmp_path / "in.gz")]):
        preprocess(source, config(), tmp_path / f"out{number}")
        assert dataset.open(tmp_path / f"out{number}").sample_ids.tolist() == list("abcd")


def test_a_bad_pickle_inside_an_archive_is_named_as_the_user_knows_it(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "in.zip", ("data/in.pkl", b"not a pickle"))
    with pytest.raises(InputError, match=r"in\.zip: data/in\.pkl: not an acceptable pickle"):
        open_source(archive)


def test_formats_are_told_apart(tmp_path: Path) -> None:
    ntu, uav = write(tmp_path / "ntu", ntu_files()), write(tmp_path / "uav", uav_files())
    pickles = write(tmp_path / "two", {"a.pkl": b"", "b.pkl": b""})
    both = write(tmp_path / "both", {**ntu_files(), **uav_files()})
    assert set(open_source(ntu)[0].splits) > {"xset_val"} and set(open_source(uav)[0].splits) > {"csv1_val"}
    assert open_source(ntu / NAME)[0].expected == 1
    assert open_source(both, kind="ntu")[0].expected == open_source(both, kind="uav")[0].expected == 4
    refused = {
        both: r"both: holds files of several formats \(ntu, uav\): choose one with --format",
        pickles: "two: found 2 pickles outside of folder kpfiles, one annotation pickle expected",
        write(tmp_path / "none", {"notes.md": b""}): "none: not a file of a known format and no such file inside",
    }
    for path, message in refused.items():
        with pytest.raises(InputError, match=message):
            open_source(path)
    with pytest.raises(InputError, match=r"format uav: no \.txt file found among 4 files"):
        open_source(ntu, kind="uav")


def test_the_configuration_may_choose_the_format(tmp_path: Path) -> None:
    protocols = {"plain": {"train": "csv1_train", "test": "csv1_val"}}
    changes = {"layout": "uav17", "dimensions": "2d+score", "protocols": protocols}
    both = write(tmp_path / "both", {**ntu_files(), **uav_files()})
    preprocess(both, config(**changes, format="uav"), tmp_path / "out")
    assert len(dataset.open(tmp_path / "out")) == 4


def test_a_folder_has_a_digest(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", {"a": b"1", "b/c": b"2"})
    first = digest(folder)
    assert first == digest(folder) and len(first) == 64
    (folder / "b/c").rename(folder / "b/d")
    assert digest(folder) != first
    with pytest.raises(InputError, match=r"in: SHA-256 [0-9a-f]{64} found, 00 expected"):
        preprocess(folder, config(), tmp_path / "out", expected_sha256="00")
