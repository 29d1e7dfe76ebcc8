"""S3 from inside: what moto knows and what lies on disk are the same, and a restart finds it again."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tfsd.sagemaker import object_store
from tfsd.sagemaker.object_store import ObjectStoreError, split_uri

from .conftest import Api


def test_what_a_client_writes_is_read_inside_and_the_other_way_round(api: Api) -> None:
    store = api.emulator.objects
    api.put("bucket", "a/1", b"one")
    store.put("bucket", "a/2", b"two", "text/plain")
    path = store.temporary_file()
    path.write_bytes(b"three")
    store.put_file("bucket", "b", path)
    assert [found.key for found in store.list("bucket", "a/")] == ["a/1", "a/2"]
    assert store.read("bucket", "a/1") == b"one"
    s3 = api.client("s3")
    answer = s3.get_object(Bucket="bucket", Key="a/2")
    assert (answer["Body"].read(), answer["ContentType"]) == (b"two", "text/plain")
    assert s3.get_object(Bucket="bucket", Key="b", Range="bytes=1-2")["Body"].read() == b"hr"
    assert not path.exists()
    found = store.find("bucket", "b")
    assert found
    assert (found.size, found.etag) == (5, s3.head_object(Bucket="bucket", Key="b")["ETag"].strip('"'))


def test_what_is_overwritten_or_deleted_leaves_no_file(api: Api, tmp_path: Path) -> None:
    for body in (b"first", b"second"):
        api.put("bucket", "key", body)
    assert (
        len(list((tmp_path / "s3" / "bucket").iterdir())) == 3
    )  # the bucket's description, the object's, its content
    with api.emulator.objects.open("bucket", "key") as opened:
        api.put("bucket", "key", b"third")
        assert opened.read() == b"second"
    api.put("bucket", "other", b"x")
    s3 = api.client("s3")
    s3.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "key"}, {"Key": "other"}]})
    assert [path.name for path in (tmp_path / "s3" / "bucket").iterdir()] == ["bucket.json"]
    s3.delete_bucket(Bucket="bucket")
    assert not (tmp_path / "s3" / "bucket").exists()


def test_uploads_in_parts_and_copies_survive_a_restart(api: Api) -> None:
    s3 = api.client("s3")
    api.put("bucket", "start", b"x")
    upload = s3.create_multipart_upload(
        Bucket="bucket", Key="large", ContentType="text/csv", Metadata={"a": "b"}
    )
    where = {"Bucket": "bucket", "Key": "large", "UploadId": upload["UploadId"]}
    part = s3.upload_part(**where, PartNumber=1, Body=b"part")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    s3.complete_multipart_upload(**where, MultipartUpload=parts)
    s3.copy_object(Bucket="bucket", Key="copy", CopySource="bucket/large")
    etag = s3.head_object(Bucket="bucket", Key="large")["ETag"]
    api.restart()
    for key in ("large", "copy"):
        answer = s3.get_object(Bucket="bucket", Key=key)
        assert (answer["Body"].read(), answer["ContentType"], answer["Metadata"]) == (
            b"part",
            "text/csv",
            {"a": "b"},
        )
    assert s3.head_object(Bucket="bucket", Key="large")["ETag"] == etag
    assert s3.get_bucket_location(Bucket="bucket")["LocationConstraint"] == "us-west-2"


def test_what_is_not_there(api: Api) -> None:
    store = api.emulator.objects
    api.put("bucket", "key", b"x")
    assert store.find("bucket", "none") is None
    with pytest.raises(ObjectStoreError, match="s3://bucket/none does not exist"):
        store.open("bucket", "none")
    with pytest.raises(ObjectStoreError, match="The bucket none does not exist"):
        list(store.list("none", ""))
    with pytest.raises(ObjectStoreError, match="The bucket none does not exist"):
        store.put("none", "key", b"x")
    assert not list(store.temporary_file().parent.iterdir())
    for uri in ("http://bucket/key", "s3://", "bucket"):
        with pytest.raises(ValueError, match="is not of the form"):
            split_uri(uri)


def test_a_key_may_have_any_characters(api: Api) -> None:
    keys = ["a/100%.csv", "a/%41", "a/A", "a/what?", "a/what?now", "a/b#c", "a/b+c d&e=f", "a//b", "a/\u00fc"]
    for key in keys:
        api.put("bucket", key, key.encode())
    s3 = api.client("s3")

    def listed() -> list[str]:
        return [item["Key"] for item in s3.list_objects_v2(Bucket="bucket")["Contents"]]

    assert sorted(listed()) == sorted(keys)
    api.restart()
    assert sorted(listed()) == sorted(keys)
    for key in keys:
        assert s3.get_object(Bucket="bucket", Key=key)["Body"].read() == key.encode()
        s3.delete_object(Bucket="bucket", Key=key)
    assert s3.list_objects_v2(Bucket="bucket")["KeyCount"] == 0


def test_older_versions_are_there_until_they_are_deleted(api: Api, tmp_path: Path) -> None:
    s3 = api.client("s3")
    s3.create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    s3.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
    first, second = (
        s3.put_object(Bucket="bucket", Key="key", Body=body)["VersionId"] for body in (b"one", b"two")
    )

    def body(**version: str) -> bytes:
        read: bytes = s3.get_object(Bucket="bucket", Key="key", **version)["Body"].read()
        return read

    assert (body(), body(VersionId=first)) == (b"two", b"one")
    s3.delete_object(Bucket="bucket", Key="key", VersionId=second)
    assert body() == b"one"
    marker = s3.delete_object(Bucket="bucket", Key="key")["VersionId"]
    assert api.emulator.objects.find("bucket", "key") is None
    s3.delete_object(Bucket="bucket", Key="key", VersionId=marker)
    assert body() == b"one"
    assert len(list((tmp_path / "s3" / "bucket").iterdir())) == 3
    s3.put_object(Bucket="bucket", Key="key", Body=b"three")
    api.restart()
    assert body() == b"three"
    assert len(list((tmp_path / "s3" / "bucket").iterdir())) == 3  # of versions only the latest survives


def test_a_write_for_which_there_is_no_room_leaves_what_was_there(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(content: object, target: Path) -> None:
        target.write_bytes(b"hal")
        raise OSError(errno.ENOSPC, "No space left on device")

    api.put("bucket", "key", b"whole")
    with monkeypatch.context() as disk:
        disk.setattr(object_store, "_copy", full)
        with pytest.raises(OSError, match="No space left"):
            api.put("bucket", "key", b"half")
    assert len(list((tmp_path / "s3" / "bucket").iterdir())) == 3
    api.emulator.objects.temporary_file().write_bytes(b"an output that a killed server was writing")
    (tmp_path / "s3" / "bucket" / "abc").write_bytes(b"a content that has no description yet")
    api.restart()
    assert api.emulator.objects.read("bucket", "key") == b"whole"
    assert sorted(path.name for path in (tmp_path / "s3").iterdir()) == ["bucket"]
    assert len(list((tmp_path / "s3" / "bucket").iterdir())) == 3


def test_descriptions_that_were_not_on_the_disk_yet_keep_nobody_from_starting(
    api: Api, tmp_path: Path
) -> None:
    for key in ("one", "two"):
        api.put("bucket", key, key.encode())
    api.make_model("m")
    api.make_model("n")
    broken = next(path for path in (tmp_path / "s3" / "bucket").glob("*.json") if '"one"' in path.read_text())
    for path in (
        broken,
        tmp_path / "s3" / "models" / "bucket.json",
        tmp_path / "state" / "models" / "m.json",
    ):
        path.write_bytes(b"")
    api.restart()
    s3 = api.client("s3")
    assert [item["Key"] for item in s3.list_objects_v2(Bucket="bucket")["Contents"]] == ["two"]
    assert s3.list_objects_v2(Bucket="models")["KeyCount"] == 2
    assert [model["ModelName"] for model in api.client("sagemaker").list_models()["Models"]] == ["n"]


@pytest.mark.parametrize("name", ["in", "..", ".", "x" * 300])
def test_no_request_touches_what_is_no_bucket(api: Api, tmp_path: Path, name: str) -> None:
    path = api.emulator.objects.temporary_file()
    path.write_bytes(b"an output")
    (tmp_path / "s3" / "file").write_bytes(b"")
    api.emulator.objects.settle(name)
    assert path.exists()
    assert (tmp_path / "s3" / "file").exists()


def test_a_bucket_may_be_called_incoming(api: Api) -> None:
    path = api.emulator.objects.temporary_file()
    path.write_bytes(b"an output")
    s3 = api.client("s3")
    with pytest.raises(ClientError, match="NoSuchBucket"):
        s3.delete_bucket(Bucket="incoming")
    api.put("incoming", "key", b"x")
    api.emulator.objects.put_file("incoming", "output", path)
    api.restart()
    assert s3.get_object(Bucket="incoming", Key="output")["Body"].read() == b"an output"
