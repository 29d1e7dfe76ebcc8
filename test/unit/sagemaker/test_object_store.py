"""S3 from inside: what moto knows and what lies on disk are the same, and a restart finds it again."""

from __future__ import annotations

from pathlib import Path

import pytest

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
    for uri in ("http://bucket/key", "s3://", "bucket"):
        with pytest.raises(ValueError, match="is not of the form"):
            split_uri(uri)
