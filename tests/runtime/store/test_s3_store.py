"""The S3 store against a real server: what goes in comes out, whole or not at all."""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from made_artifacts import KINDS, Kind
from made_trees import BUCKET, keys, make_tree, noise, verified_digest
from minio import Minio

from components.contracts.artifact import MANIFEST, digest
from components.contracts.errors import InputError
from components.runtime.store import s3, store_for
from components.runtime.store.s3 import S3Store


def publish(source: Path, uri: str) -> None:
    store_for(uri).publish(source, uri)


def fetch(uri: str, into: Path) -> Path:
    return store_for(uri).fetch(uri, into)


def put(client: Minio, uri: str, content: bytes, metadata: dict[str, str] | None = None) -> None:
    bucket, _, key = uri.partition("://")[2].partition("/")
    client.put_object(bucket, key, io.BytesIO(content), len(content), metadata=dict(metadata or {}))


class TestRoundTrips:
    @pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
    def test_artifacts(self, prefix: str, tmp_path: Path, kind: Kind) -> None:
        kind.write(tmp_path / "made")
        assert not store_for(prefix).exists(prefix)
        publish(tmp_path / "made", prefix)
        assert store_for(prefix).exists(prefix)
        found = fetch(prefix, tmp_path / "into")
        kind.module.open(found)
        assert digest(found) == digest(tmp_path / "made")

    @pytest.mark.parametrize(
        ("name", "size"), [("in.pkl", 0), ("deep/ü [x] 100%&+ y.pkl", 10_000), ("in.pkl", 20_000_000)]
    )
    def test_files(self, prefix: str, tmp_path: Path, name: str, size: int) -> None:
        source = tmp_path / "source"
        source.write_bytes(noise(size))
        uri = f"s3://{BUCKET}/files/{size}/{name}"
        assert not store_for(uri).exists(uri)
        publish(source, uri)
        assert store_for(uri).exists(uri)
        found = fetch(uri, tmp_path / "into")
        assert found.read_bytes() == source.read_bytes()
        assert found.name == Path(name).name

    def test_minio_uris_are_the_same_place(self, prefix: str, tmp_path: Path) -> None:
        publish(make_tree(tmp_path / "made", {"a": b"a"}), prefix)
        found = fetch(prefix.replace("s3://", "minio://") + "/", tmp_path / "into")
        assert (found / "a").read_bytes() == b"a"

    def test_nested_and_empty_files(self, prefix: str, tmp_path: Path) -> None:
        made = make_tree(tmp_path / "made", {"a/b/ü c": b"1", "empty": b"", "a/d": noise(3_000_000)})
        publish(made, prefix)
        assert verified_digest(fetch(prefix, tmp_path / "into")) == digest(made)

    @pytest.mark.parametrize("count", [100, pytest.param(10_000, marks=pytest.mark.minutes)])
    def test_many_small_objects(self, prefix: str, tmp_path: Path, count: int) -> None:
        made = make_tree(tmp_path / "made", {f"{number % 7}/{number}": b"%d" % number for number in range(count)})
        publish(made, prefix)
        assert verified_digest(fetch(prefix, tmp_path / "into")) == digest(made)

    @pytest.mark.parametrize("size", [40 << 20, pytest.param(1 << 30, marks=pytest.mark.minutes)])
    def test_a_large_object(self, prefix: str, tmp_path: Path, size: int) -> None:
        made = make_tree(tmp_path / "made", {"large": noise(size + 1), "small": b"s"})
        publish(made, prefix)
        assert verified_digest(fetch(prefix, tmp_path / "into")) == digest(made)

    def test_transfers_are_shown_in_mb(self, prefix: str, tmp_path: Path) -> None:
        shown: list[tuple[str, int]] = []

        class Meter:
            def __init__(self, title: str, total: int) -> None:
                self.title, self.total = title, total

            def __enter__(self) -> Meter:
                return self

            def __call__(self, done: int) -> None:
                shown.append((f"{self.title}: {done}", self.total))

            def __exit__(self, *_: object) -> None:
                pass

        made = make_tree(tmp_path / "made", {"a": noise(2_500_000)})
        S3Store(Meter).publish(made, prefix)
        S3Store(Meter).fetch(prefix, tmp_path / "into")
        assert {(f"uploading {prefix} (MB): 2", 3), (f"downloading {prefix} (MB): 2", 3)} <= set(shown)


class TestReplacing:
    def test_nothing_of_the_old_artifact_stays(self, prefix: str, client: Minio, tmp_path: Path) -> None:
        publish(make_tree(tmp_path / "old", {"a": b"old", "b": b"old", "c/d": b"old"}), prefix)
        new = make_tree(tmp_path / "new", {"a": b"new", "e": b"new"})
        publish(new, prefix)
        found = fetch(prefix, tmp_path / "into")
        assert verified_digest(found) == digest(new)
        assert sorted(entry.name for entry in found.iterdir()) == ["a", "e", MANIFEST]
        folder, *_ = (name.partition("/")[0] for name in keys(client, prefix))
        assert keys(client, prefix) == sorted([f"{folder}/a", f"{folder}/e", f"{folder}/{MANIFEST}", MANIFEST])

    def test_what_lies_deeper_is_not_touched(self, prefix: str, tmp_path: Path) -> None:
        inner = make_tree(tmp_path / "inner", {"x": b"inner"})
        publish(inner, f"{prefix}/inner")
        for number in range(2):
            publish(make_tree(tmp_path / str(number), {"x": b"%d" % number}), prefix)
        assert verified_digest(fetch(f"{prefix}/inner", tmp_path / "into")) == digest(inner)

    def test_writers_and_readers_at_once(self, prefix: str, client: Minio, tmp_path: Path) -> None:
        made = [make_tree(tmp_path / f"{n}", {"a": noise(100_000, n), "b": noise(10, n), f"c{n}": b""}) for n in (0, 1)]
        publish(made[0], prefix)

        def write(tree: Path) -> None:
            for _ in range(4):
                publish(tree, prefix)

        with ThreadPoolExecutor(3) as pool:
            writers = [pool.submit(write, tree) for tree in made]
            reads = 0
            while not all(writer.done() for writer in writers):
                found = pool.submit(fetch, prefix, tmp_path / "into").result()
                assert verified_digest(found) in {digest(tree) for tree in made}
                reads += 1
            for writer in writers:
                writer.result()
        assert reads
        assert verified_digest(fetch(prefix, tmp_path / "into")) in {digest(tree) for tree in made}

    def test_a_reader_who_is_overtaken_begins_again(
        self, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        publish(make_tree(tmp_path / "old", {"a": b"old"}), prefix)
        new = make_tree(tmp_path / "new", {"a": b"new", "b": b"new"})
        original = S3Store._fetch_artifact

        def overtaken(self: S3Store, *arguments: object) -> None:
            monkeypatch.setattr(S3Store, "_fetch_artifact", original)
            publish(new, prefix)
            original(self, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(S3Store, "_fetch_artifact", overtaken)
        assert verified_digest(fetch(prefix, tmp_path / "into")) == digest(new)

    def test_a_file_that_changes_while_it_is_read(
        self, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("old", "new"):
            (tmp_path / name).write_bytes(name.encode() * 1000)
        publish(tmp_path / "old", prefix)
        original = S3Store._fetch_file

        def overtaken(self: S3Store, *arguments: object) -> None:
            monkeypatch.setattr(S3Store, "_fetch_file", original)
            publish(tmp_path / "new", prefix)
            original(self, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(S3Store, "_fetch_file", overtaken)
        assert fetch(prefix, tmp_path / "into").read_bytes() == b"new" * 1000

    def test_uploads_that_died_long_ago_are_removed(
        self, prefix: str, client: Minio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = make_tree(tmp_path / "made", {"a": b"a"})
        dead, other = f"files-{'0' * 32}/a", "files-of-mine/a"
        for name in (dead, other):
            put(client, f"{prefix}/{name}", b"x")
        publish(made, prefix)
        assert dead in keys(client, prefix)
        monkeypatch.setattr(s3, "_ABANDONED", timedelta(seconds=-60))
        publish(made, prefix)
        assert dead not in keys(client, prefix)
        assert other in keys(client, prefix)
        assert verified_digest(fetch(prefix, tmp_path / "into")) == digest(made)


class TestOtherLayouts:
    def test_files_beside_the_manifest_as_kfp_uploads_them(self, prefix: str, client: Minio, tmp_path: Path) -> None:
        made = make_tree(tmp_path / "made", {"a": b"a", "b/c": b"c", "d": b""})
        for name in ("a", "b/c", "d", MANIFEST):
            put(client, f"{prefix}/{name}", (made / name).read_bytes())
        put(client, f"{prefix}/stranger", b"s")
        found = fetch(prefix, tmp_path / "into")
        assert verified_digest(found) == digest(made)
        assert not (found / "stranger").exists()
        new = make_tree(tmp_path / "new", {"a": b"new"})
        publish(new, prefix)
        assert verified_digest(fetch(prefix, tmp_path / "into")) == digest(new)
        assert [name for name in keys(client, prefix) if not name.startswith("files-")] == [MANIFEST, "stranger"]

    def test_the_folder_of_the_files_is_an_artifact_itself(self, prefix: str, client: Minio, tmp_path: Path) -> None:
        made = make_tree(tmp_path / "made", {"a": b"a"})
        publish(made, prefix)
        folder = keys(client, prefix)[0].partition("/")[0]
        assert verified_digest(fetch(f"{prefix}/{folder}", tmp_path / "into")) == digest(made)


class TestRefusals:
    def test_nothing_there(self, prefix: str, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"^s3://\S+: no such file or artifact$"):
            fetch(prefix, tmp_path)

    def test_an_unfinished_upload(self, prefix: str, client: Minio, tmp_path: Path) -> None:
        put(client, f"{prefix}/files-{'0' * 32}/a", b"x")
        assert not store_for(prefix).exists(prefix)
        with pytest.raises(InputError, match=r"^s3://\S+: unfinished, or no artifact: manifest.json is missing$"):
            fetch(prefix, tmp_path)

    def test_a_directory_that_is_no_artifact(self, prefix: str, client: Minio, tmp_path: Path) -> None:
        (tmp_path / "a").touch()
        with pytest.raises(InputError, match="not an artifact"):
            publish(tmp_path, prefix)
        assert keys(client, prefix) == []

    @pytest.mark.parametrize(
        ("content", "expected"),
        [(b"B" * 9, "SHA-256"), (b"b" * 8, "8 bytes found, 9"), (b"b" * 10, "10 bytes found, 9"), (None, "missing")],
    )
    def test_damaged_artifacts(
        self, environment: None, client: Minio, tmp_path: Path, content: bytes | None, expected: str
    ) -> None:
        uri = f"s3://{BUCKET}/damaged/{content!r}".replace("'", "")
        publish(make_tree(tmp_path / "made", {"b": b"b" * 9, "c": b"c"}), uri)
        key = next(name for name in keys(client, uri) if name.endswith("/b"))
        if content is None:
            client.remove_object(BUCKET, f"{uri.removeprefix(f's3://{BUCKET}/')}/{key}")
        else:
            put(client, f"{uri}/{key}", content)
        with pytest.raises(InputError) as caught:
            fetch(uri, tmp_path / "into")
        assert expected in str(caught.value) and key in str(caught.value) and "\n" not in str(caught.value)

    def test_a_damaged_file(self, prefix: str, client: Minio, tmp_path: Path) -> None:
        put(client, prefix, b"content", {"sha256": "0" * 64})
        with pytest.raises(InputError, match="damaged: SHA-256"):
            fetch(prefix, tmp_path)

    def test_a_file_where_an_artifact_is(self, prefix: str, tmp_path: Path) -> None:
        made = make_tree(tmp_path / "made", {"a": b"a"})
        publish(made, prefix)
        with pytest.raises(InputError, match="an artifact is there"):
            publish(made / "a", prefix)

    @pytest.mark.parametrize("etags", [(None, "etag"), (None, None, None)])
    def test_an_upload_whose_parts_are_not_joined(
        self, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, etags: tuple[str | None, ...]
    ) -> None:
        """S3 may answer the completion with status 200 and an error in the body, which the client takes for none."""
        answers = [SimpleNamespace(etag=etag) for etag in etags]
        monkeypatch.setattr(Minio, "put_object", lambda *_, **__: answers.pop(0))
        (tmp_path / "file").touch()
        if etags[-1]:
            publish(tmp_path / "file", prefix)
        else:
            with pytest.raises(InputError, match="did not join them"):
                publish(tmp_path / "file", prefix)
        assert answers == []

    @pytest.mark.parametrize("name", ["../../x", "/etc/x", "a/../../x", "manifest.json"])
    def test_manifests_that_name_files_elsewhere(self, prefix: str, client: Minio, tmp_path: Path, name: str) -> None:
        made = make_tree(tmp_path / "made", {"a": b"a"})
        document = json.loads((made / MANIFEST).read_bytes())
        document["files"] = {name: {"bytes": 1, "sha256": "0" * 64}}
        uri = f"s3://{BUCKET}/hostile"
        put(client, f"{uri}/{MANIFEST}", json.dumps(document).encode())
        with pytest.raises(InputError, match="is not the name of a file below it"):
            fetch(uri, tmp_path / "into")

    @pytest.mark.parametrize("text", [b"", b"{}", b"\xff"])
    def test_damaged_manifests(self, prefix: str, client: Minio, tmp_path: Path, text: bytes) -> None:
        uri = f"s3://{BUCKET}/no-manifest"
        put(client, f"{uri}/{MANIFEST}", text)
        with pytest.raises(InputError, match=r"^s3://\S+: damaged manifest: "):
            fetch(uri, tmp_path / "into")
