"""A job over instances that answer from Python: what is sent, what is stored, and what becomes of failures."""

from __future__ import annotations

import errno
import gzip
import io
import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import gevent
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfsd.sagemaker.errors import ValidationException
from tfsd.sagemaker.instances.instance import InstanceError
from tfsd.sagemaker.object_store import ObjectStoreError, StoredObject
from tfsd.sagemaker.transform import sending, specification
from tfsd.sagemaker.transform.job import Job, failure_reason

Answer = Callable[[bytes, Mapping[str, str]], tuple[int, bytes]]


class Objects:
    """The object store's interface over a dictionary, and files for what is written."""

    def __init__(self, directory: Path) -> None:
        self.contents: dict[tuple[str, str], bytes] = {}
        self.directory = directory
        self.buckets = {"in", "out"}

    def list(self, bucket: str, prefix: str) -> Iterator[StoredObject]:
        self._check(bucket)
        for (place, key), content in sorted(self.contents.items()):
            if place == bucket and key.startswith(prefix):
                yield StoredObject(key, len(content), "etag")

    def find(self, bucket: str, key: str) -> StoredObject | None:
        content = self.contents.get((bucket, key))
        return None if content is None else StoredObject(key, len(content), "etag")

    def open(self, bucket: str, key: str) -> BinaryIO:
        return io.BytesIO(self.contents[bucket, key])

    def put_file(self, bucket: str, key: str, path: Path, content_type: str) -> None:
        self._check(bucket)
        self.contents[bucket, key] = path.read_bytes()
        path.unlink()

    def temporary_file(self) -> Path:
        return self.directory / uuid.uuid4().hex

    def _check(self, bucket: str) -> None:
        if bucket not in self.buckets:
            raise ObjectStoreError(f"The bucket {bucket} does not exist.")

    def outputs(self) -> dict[str, bytes]:
        return {key: content for (bucket, key), content in self.contents.items() if bucket == "out"}


class Response:
    def __init__(self, status: int, body: bytes) -> None:
        self.status, self._body = status, body

    def read(self) -> bytes:
        return self._body

    def chunks(self) -> Iterator[bytes]:
        yield self._body


class Instance:
    """Answers with `answer(body, headers)`, some milliseconds late and in any order."""

    def __init__(self, answer: Answer, parameters: Mapping[str, Any] | None = None) -> None:
        self.answer, self.parameters = answer, parameters
        self.healthy = self.stopped = False
        self.bodies: list[bytes] = []
        self.headers: list[Mapping[str, str]] = []
        self.in_flight = self.most_in_flight = 0
        self.chunked = 0

    def start(self) -> None:
        pass

    def wait_until_healthy(self, seconds: float) -> None:
        gevent.sleep(0.01)
        self.healthy = True

    def get(self, path: str) -> Response:
        assert self.healthy
        assert path == "/execution-parameters"
        return (
            Response(404, b"")
            if self.parameters is None
            else Response(200, json.dumps(self.parameters).encode())
        )

    def invoke(self, body: bytes | Iterable[bytes], headers: Mapping[str, str], seconds: float) -> Response:
        assert self.healthy, "nothing is sent before the ping passes"
        if not isinstance(body, bytes):
            self.chunked += 1
            body = b"".join(body)
        self.bodies.append(body)
        self.headers.append(headers)
        self.in_flight += 1
        self.most_in_flight = max(self.in_flight, self.most_in_flight)
        gevent.sleep(0.001 * (len(self.bodies) % 3))
        self.in_flight -= 1
        return Response(*self.answer(body, headers))

    def stop(self) -> None:
        self.stopped = True


class Progress:
    def __init__(self) -> None:
        self.objects = self.count = self.done = self.failed = 0
        self.status = ""

    def started(self, objects: int) -> None:
        self.objects = objects

    def sending(self) -> None:
        pass

    def records(self, count: int) -> None:
        self.count += count

    def object_done(self, failed: bool) -> None:
        self.done += 1
        self.failed += failed

    def ended(self, status: str) -> None:
        self.status = status


class Run:
    """One job to its end."""

    def __init__(self, objects: Objects, request: dict[str, Any], instances: list[Instance]) -> None:
        self.progress, self.lines = Progress(), []  # type: ignore[var-annotated]
        self.job = Job(
            specification.read(request),
            objects,  # type: ignore[arg-type]
            lambda number: instances[number],  # type: ignore[arg-type,return-value]
            lambda number, text: self.lines.append(text),
            self.progress,
        )
        self.status, self.reason = "", None

    def __call__(self) -> Run:
        self.job.run(self.changed)
        return self

    def changed(self, status: str, reason: str | None) -> None:
        self.status, self.reason = status, reason  # type: ignore[assignment]


def request(uri: str = "s3://in/data/", **more: Any) -> dict[str, Any]:
    """CreateTransformJob's request; members of its inputs and outputs by their own names."""
    source = {"S3DataType": more.pop("S3DataType", "S3Prefix"), "S3Uri": uri}
    data = {name: more.pop(name) for name in ("ContentType", "CompressionType", "SplitType") if name in more}
    output = {name: more.pop(name) for name in ("Accept", "AssembleWith") if name in more}
    return {
        "TransformInput": {"DataSource": {"S3DataSource": source}, **data},
        "TransformOutput": {"S3OutputPath": "s3://out/results", **output},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": more.pop("InstanceCount", 1)},
        **more,
    }


def doubled(body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
    return 200, b"".join(b"%d\n" % (2 * int(line)) for line in body.split())


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects(tmp_path)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "FIRST_PAUSE_SECONDS", 0)


LINES = {"ContentType": "text/csv", "Accept": "text/csv", "SplitType": "Line", "AssembleWith": "Line"}


def test_each_object_has_an_output_beside_its_name(objects: Objects) -> None:
    objects.contents = {
        ("in", "data/"): b"",
        ("in", "data/a.csv"): b"1\n2",
        ("in", "data/sub/b.csv"): b"3\n",
        ("in", "database.csv"): b"9",
    }
    instance = Instance(doubled)
    run = Run(objects, request(**LINES), [instance])()
    assert (run.status, run.reason) == ("Completed", None)
    assert objects.outputs() == {"results/a.csv.out": b"2\n4\n", "results/sub/b.csv.out": b"6\n"}
    assert instance.headers[0] == {"Content-Type": "text/csv", "Accept": "text/csv"}
    assert instance.stopped
    assert run.lines == ["MaxConcurrentTransforms=1, MaxPayloadInMB=6, BatchStrategy=MULTI_RECORD"]
    assert (run.progress.objects, run.progress.count, run.progress.done) == (2, 3, 2)
    assert not list(objects.directory.iterdir())


def test_an_output_for_which_there_is_no_room_fails_its_object(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put_file(bucket: str, key: str, path: Path, content_type: str) -> None:
        if key == "results/a.out":
            raise OSError(errno.ENOSPC, "No space left on device")
        store(bucket, key, path, content_type)

    store = objects.put_file
    monkeypatch.setattr(objects, "put_file", put_file)
    objects.contents = {("in", "data/a"): b"1", ("in", "data/b"): b"2"}
    run = Run(objects, request(), [Instance(doubled)])()
    assert run.status == "Failed"
    assert run.reason
    assert run.reason.startswith(
        "InternalServerError: s3://in/data/a: [Errno 28] No space left on device. See job logs"
    )
    assert objects.outputs() == {"results/b.out": b"4\n"}
    assert not list(objects.directory.iterdir())


@pytest.mark.parametrize(
    ("uri", "key", "output"),
    [
        ("s3://in/data", "data/x/a", "results/x/a.out"),
        ("s3://in/data/a.csv", "data/a.csv", "results/a.csv.out"),
        ("s3://in/data/a", "data/a.csv", "results/a.csv.out"),
        ("s3://in", "data/a.csv", "results/data/a.csv.out"),
    ],
)
def test_names_of_outputs(objects: Objects, uri: str, key: str, output: str) -> None:
    objects.contents = {("in", key): b"1"}
    assert Run(objects, request(uri, **LINES), [Instance(doubled)])().status == "Completed"
    assert list(objects.outputs()) == [output]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 999), min_size=1, max_size=20), min_size=1, max_size=6),
    st.sampled_from(["SingleRecord", "MultiRecord"]),
    st.integers(1, 8),
    st.integers(1, 3),
)
def test_outputs_keep_the_order_of_their_inputs(
    tmp_path_factory: pytest.TempPathFactory,
    files: list[list[int]],
    strategy: str,
    concurrent: int,
    count: int,
) -> None:
    """However many requests are under way on however many instances, in any order."""
    objects = Objects(tmp_path_factory.mktemp("objects"))
    objects.contents = {
        ("in", f"data/{i}"): "\n".join(map(str, file)).encode() for i, file in enumerate(files)
    }
    instances = [Instance(doubled) for _ in range(count)]
    asked = request(**LINES, InstanceCount=count, BatchStrategy=strategy, MaxConcurrentTransforms=concurrent)
    assert Run(objects, asked, instances)().status == "Completed"
    expected = {f"results/{i}.out": "".join(f"{2 * n}\n" for n in file) for i, file in enumerate(files)}
    assert {key: content.decode() for key, content in objects.outputs().items()} == expected
    assert all(instance.most_in_flight <= concurrent for instance in instances)


def test_a_file_that_fails_has_no_output_and_the_others_have(objects: Objects) -> None:
    objects.contents = {
        ("in", "data/1.csv"): b"1\n2\n",
        ("in", "data/2.csv"): b"3\nnonsense\n5\n",
        ("in", "data/3.csv"): b"6\n",
    }

    def answer(body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        return (400, b'{"error": "no number"}') if b"nonsense" in body else doubled(body, headers)

    instance = Instance(answer)
    asked = request(**LINES, BatchStrategy="SingleRecord", MaxConcurrentTransforms=4)
    run = Run(objects, asked, [instance])()
    assert run.status == "Failed"
    assert run.reason == (
        "AlgorithmError: s3://in/data/2.csv: Bad HTTP status received from algorithm: 400: "
        '{"error": "no number"}. See job logs for more information.'
    )
    assert objects.outputs() == {"results/1.csv.out": b"2\n4\n", "results/3.csv.out": b"12\n"}
    assert run.progress.failed == 1
    assert instance.bodies.count(b"nonsense") == 1, "a refusal is not tried again"
    assert not list(objects.directory.iterdir())


@pytest.mark.parametrize(
    ("failures", "retries", "status"), [(2, 2, "Completed"), (2, 1, "Failed"), (1, 0, "Failed")]
)
@pytest.mark.parametrize("failure", [500, TimeoutError(), ConnectionError("reset")])
def test_what_fails_is_tried_again(
    objects: Objects, failures: int, retries: int, status: str, failure: int | Exception
) -> None:
    objects.contents = {("in", "data/1"): b"1"}
    left = [failure] * failures

    def answer(body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        if not left:
            return doubled(body, headers)
        failed = left.pop()
        if isinstance(failed, Exception):
            raise failed
        return failed, b"oops"

    asked = request(**LINES, ModelClientConfig={"InvocationsMaxRetries": retries})
    assert Run(objects, asked, [Instance(answer)])().status == status


def test_the_container_s_execution_parameters_count_where_the_job_says_nothing(objects: Objects) -> None:
    objects.contents = {("in", "data/1"): b"1\n2\n3"}
    said = {"MaxConcurrentTransforms": 3, "BatchStrategy": "SINGLE_RECORD", "MaxPayloadInMB": 2}
    run = Run(objects, request(**LINES), [Instance(doubled, said)])()
    assert run.lines == ["MaxConcurrentTransforms=3, MaxPayloadInMB=2, BatchStrategy=SINGLE_RECORD"]
    asked = request(**LINES, MaxConcurrentTransforms=2, BatchStrategy="MultiRecord", MaxPayloadInMB=1)
    run = Run(objects, asked, [Instance(doubled, said)])()
    assert run.lines == ["MaxConcurrentTransforms=2, MaxPayloadInMB=1, BatchStrategy=MULTI_RECORD"]
    run = Run(objects, request(**LINES), [Instance(doubled, {"MaxConcurrentTransforms": "many"})])()
    assert run.lines == ["MaxConcurrentTransforms=1, MaxPayloadInMB=6, BatchStrategy=MULTI_RECORD"]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("payload", [0, 6])
def test_gzip_and_chunked_bodies_with_filters_and_join(
    objects: Objects, compressed: bool, payload: int
) -> None:
    data = b"id1,1\nid2,2\n"
    objects.contents = {("in", "data/1"): gzip.compress(data) if compressed else data}
    processing = {"InputFilter": "$[1]", "JoinSource": "Input", "OutputFilter": "$[0,-1]"}
    more = {"CompressionType": "Gzip"} if compressed else {}
    instance = Instance(doubled)
    asked = request(**LINES, **more, MaxPayloadInMB=payload, DataProcessing=processing)
    run = Run(objects, asked, [instance])()
    assert run.status == "Completed", run.reason
    assert instance.bodies[0].split() == [b"1", b"2"]
    assert instance.chunked == (payload == 0)
    assert objects.outputs() == {"results/1.out": b"id1,2\nid2,4\n"}
    assert run.progress.count == 2


def test_whole_objects_and_binary_assembly(objects: Objects) -> None:
    objects.contents = {("in", "data/a.png"): b"\x89PNG\n", ("in", "data/b.png"): b""}
    run = Run(
        objects, request(ContentType="application/x-image"), [Instance(lambda body, _: (200, body + b"!"))]
    )()
    assert run.status == "Completed"
    assert objects.outputs() == {"results/a.png.out": b"\x89PNG\n!", "results/b.png.out": b"!"}


def test_a_manifest(objects: Objects) -> None:
    objects.contents = {
        ("in", "manifest"): b'[{"prefix": "s3://in/deep/"}, "x/1", "2"]',
        ("in", "deep/x/1"): b"1",
        ("in", "deep/2"): b"2",
    }
    run = Run(objects, request("s3://in/manifest", S3DataType="ManifestFile", **LINES), [Instance(doubled)])()
    assert run.status == "Completed", run.reason
    assert objects.outputs() == {"results/x/1.out": b"2\n", "results/2.out": b"4\n"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{}", "must be a JSON array"),
        (b'["a"]', "must be a JSON array"),
        (b'[{"prefix": "s3://in/"}, "gone"]', "s3://in/gone, which does not exist"),
        (b'[{"prefix": "s3://in/"}]', "No S3 objects found"),
    ],
)
def test_a_manifest_that_cannot_be_used(objects: Objects, content: bytes, reason: str) -> None:
    objects.contents = {("in", "manifest"): content}
    run = Run(objects, request("s3://in/manifest", S3DataType="ManifestFile", **LINES), [])()
    assert run.status == "Failed"
    assert reason in str(run.reason)


def test_no_objects_and_no_buckets(objects: Objects) -> None:
    assert "No S3 objects found" in str(Run(objects, request(**LINES), [])().reason)
    assert "bucket gone does not exist" in str(Run(objects, request("s3://gone/x", **LINES), [])().reason)
    objects.contents = {("in", "data/1"): b"1"}
    objects.buckets.remove("out")
    assert "bucket out does not exist" in str(Run(objects, request(**LINES), [Instance(doubled)])().reason)


def test_an_instance_that_does_not_start_fails_the_job_and_stops_the_others(objects: Objects) -> None:
    objects.contents = {("in", "data/1"): b"1"}
    good, bad = Instance(doubled), Instance(doubled)

    def fail(seconds: float) -> None:
        raise InstanceError("The container does not pass its ping.")

    bad.wait_until_healthy = fail  # type: ignore[method-assign]
    run = Run(objects, request(**LINES, InstanceCount=2), [good, bad])()
    assert (run.status, good.stopped, bad.stopped) == ("Failed", True, True)
    assert str(run.reason).startswith("AlgorithmError: The container does not pass its ping.")


def test_a_job_that_is_stopped_keeps_what_is_done(objects: Objects) -> None:
    objects.contents = {("in", f"data/{i}"): b"1" for i in range(3)}

    def answer(body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        if len(instance.bodies) == 3:
            run.job.stop()
            gevent.sleep(10)
        return doubled(body, headers)

    instance = Instance(answer)
    run = Run(objects, request(**LINES), [instance])
    run()
    assert (run.status, run.reason, instance.stopped) == ("Stopped", None, True)
    assert len(objects.outputs()) < 3
    assert not list(objects.directory.iterdir())


def test_a_job_that_is_killed_has_failed(objects: Objects) -> None:
    objects.contents = {("in", "data/1"): b"1"}
    instance = Instance(lambda body, headers: gevent.sleep(10))
    run = Run(objects, request(**LINES), [instance])
    greenlet = gevent.spawn(run)
    while not instance.bodies:
        gevent.sleep(0.001)
    greenlet.kill()
    assert (run.status, instance.stopped) == ("Failed", True)
    assert "was stopped while the job ran" in str(run.reason)


def test_the_reason_fits_in_its_member() -> None:
    assert failure_reason(["ClientError: x", "y", "z"]) == (
        "ClientError: x. 2 more failed. See job logs for more information."
    )
    assert len(failure_reason(["x" * 5000])) == 1024


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"MaxPayloadInMB": 101}, "at most 100"),
        ({"MaxPayloadInMB": 50, "MaxConcurrentTransforms": 3}, "at most 100"),
        ({"BatchStrategy": "SingleRecord"}, "needs SplitType"),
        ({"InstanceCount": 101}, "InstanceCount"),
        ({"S3DataType": "Converse"}, "S3Prefix or ManifestFile"),
        ({"DataProcessing": {"JoinSource": "Input"}}, "needs ContentType to be one of"),
        ({**LINES, "Accept": "application/json", "DataProcessing": {"JoinSource": "Input"}}, "of one format"),
        ({**LINES, "DataProcessing": {"InputFilter": "$.a"}}, "by index"),
        ({**LINES, "DataProcessing": {"InputFilter": "$[0:2,4:]"}}, "only single range filters"),
        (
            {
                "ContentType": "application/jsonlines",
                "SplitType": "Line",
                "DataProcessing": {"OutputFilter": "$['account_id','SageMakerOutput']"},
            },
            "Unexpected \"_\" in JsonPath. Supported operators for \"application/jsonlines\" are ['$', '[', ']'",
        ),
        (
            {"ContentType": "text/csv", "DataProcessing": {"InputFilter": "$[0]"}},
            "needs SplitType to be Line",
        ),
    ],
)
def test_requests_that_are_refused(more: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationException) as caught:
        specification.read(request(**more))
    assert text in caught.value.message


def test_the_environment_says_what_was_asked_for_and_no_more() -> None:
    assert specification.read(request()).environment == {"SAGEMAKER_BATCH": "true"}
    asked = request(**LINES, MaxPayloadInMB=0, BatchStrategy="SingleRecord", MaxConcurrentTransforms=4)
    assert specification.read(asked).environment == {
        "SAGEMAKER_BATCH": "true",
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": "0",
        "SAGEMAKER_BATCH_STRATEGY": "SINGLE_RECORD",
        "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": "4",
    }
