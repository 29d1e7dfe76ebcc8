"""What the recordings do not show: TLS, sockets, health, warm-up, batching, the options of answers."""

from __future__ import annotations

import subprocess
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    classification_pb2,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)


def request_for(model: str, signature: str = "", **inputs: object) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for alias, value in inputs.items():
        request.inputs[alias].CopyFrom(tf.make_tensor_proto(value))
    return request


def stub(target: grpc.Channel | str) -> prediction_service_pb2_grpc.PredictionServiceStub:
    channel = grpc.insecure_channel(target) if isinstance(target, str) else target
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def refusal(call: Any, request: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as failure:
        call(request, timeout=30)
    return failure.value.code(), failure.value.details()


@pytest.fixture(scope="module")
def options_server(start_server: Any, models: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One server with many options."""
    directory = tmp_path_factory.mktemp("options")
    server = start_server(
        f"--model_config_file={models}/models.config",
        "--allow_version_labels_for_unavailable_models",
        f"--grpc_socket_path={directory}/socket",
        "--enable_grpc_healthcheck_service",
        "--enable_serialization_as_tensor_content",
        "--enable_signature_method_name_check",
        "--grpc_channel_arguments=grpc.max_connection_age_ms=60000",
        "--use_alts_credentials=false",
    )
    return server, directory


def test_the_client_example_of_tensorflow_serving(options_server: Any) -> None:
    # as its documentation shows: a stub, a request with a tensor proto, a call with a time limit
    server, _ = options_server
    channel = grpc.insecure_channel(server.address)
    service = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "half_plus_three"
    request.model_spec.signature_name = "serving_default"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0, 2.0], dtype=tf.float32, shape=[2]))
    response = service.Predict(request, 10.0)
    assert tf.make_ndarray(response.outputs["y"]).tolist() == [3.5, 4.0]


def test_unix_socket_health_and_flags_without_effect(options_server: Any) -> None:
    server, directory = options_server
    channel = grpc.insecure_channel(f"unix:{directory}/socket")
    answer = stub(channel).Predict(request_for("half_plus_two", x=floats(1)), timeout=30)
    assert answer.outputs["y"].tensor_content == floats(3.5).tobytes()
    health = health_pb2_grpc.HealthStub(channel)
    status = health.Check(health_pb2.HealthCheckRequest(), timeout=30).status
    assert status == health_pb2.HealthCheckResponse.SERVING
    code, _ = refusal(health.Check, health_pb2.HealthCheckRequest(service="nosuch"))
    assert code is grpc.StatusCode.NOT_FOUND
    assert server.log().count("Flags without effect in this server: use_alts_credentials") == 1


def test_strings_as_tensor_content(options_server: Any) -> None:
    server, _ = options_server
    answer = stub(server.address).Predict(request_for("string", s=np.array([b"a", b"bc"])), timeout=30)
    assert answer.outputs["out"].tensor_content == b"\x01\x02ABC"


def test_method_names_are_checked_when_told_to(options_server: Any) -> None:
    server, _ = options_server
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = "half_plus_two"
    request.model_spec.signature_name = "predict_ex"
    request.input.example_list.examples.add()
    code, text = refusal(stub(server.address).Classify, request)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert text == (
        "Expected classification signature method_name to be tensorflow/serving/classify. "
        "Was: tensorflow/serving/predict"
    )


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        (
            request_for("half_plus_two", "nope", x=floats(1)),
            grpc.StatusCode.FAILED_PRECONDITION,
            'Serving signature key "nope" not found.',
        ),
        (
            request_for("half_plus_two", x=floats(1), z=floats(1)),
            grpc.StatusCode.INVALID_ARGUMENT,
            "input size does not match signature: 2!=1 len({x,z}) != len({x}). Sent extra: {z}. "
            "Missing but required: {}.",
        ),
        (
            request_for("multi", a=np.array([1], np.int32)),
            grpc.StatusCode.INVALID_ARGUMENT,
            "input size does not match signature: 1!=2 len({a}) != len({a,b}). Sent extra: {}. "
            "Missing but required: {b}.",
        ),
        (
            request_for("half_plus_two", x=np.array([1], np.float64)),
            grpc.StatusCode.INVALID_ARGUMENT,
            "Expects arg[0] to be float but double is provided",
        ),
        (
            request_for("echo", "float16", x=floats(1)),
            grpc.StatusCode.INVALID_ARGUMENT,
            "Expects arg[0] to be half but float is provided",
        ),
    ],
)
def test_requests_that_do_not_fit(options_server: Any, request_: Any, code: Any, text: Any) -> None:
    server, _ = options_server
    assert refusal(stub(server.address).Predict, request_) == (code, text)


def test_a_filter_with_a_duplicate(options_server: Any) -> None:
    server, _ = options_server
    request = request_for("matrix", x=np.ones([1, 3], np.float32))
    request.output_filter.extend(["sum", "sum"])
    code, text = refusal(stub(server.address).Predict, request)
    assert (code, text) == (grpc.StatusCode.INVALID_ARGUMENT, "duplicate output tensor alias: sum")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "uint16", "uint64", "complex64", "bool", "string"])
@pytest.mark.parametrize("shape", [(), (2, 2), (0, 3)])
def test_types_that_json_cannot_carry(options_server: Any, dtype: Any, shape: Any) -> None:
    server, _ = options_server
    value = tf.constant(b"1" if dtype == "string" else 1, dtype if dtype == "string" else "int32", shape)
    tensor = (value if dtype == "string" else tf.cast(value, dtype)).numpy()
    answer = stub(server.address).Predict(request_for("echo", dtype, x=tensor), timeout=30)
    output = answer.outputs["y"]
    assert output.dtype == tf.as_dtype(dtype).as_datatype_enum
    assert [dim.size for dim in output.tensor_shape.dim] == list(shape)
    read = tf.io.parse_tensor(output.SerializeToString(), dtype).numpy()
    assert np.asarray(read).tolist() == np.asarray(tensor).tolist()


def test_an_input_of_forty_megabytes(options_server: Any) -> None:
    server, _ = options_server
    limit = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    big = np.arange(10_000_000, dtype=np.float32)
    answer = stub(grpc.insecure_channel(server.address, limit)).Predict(
        request_for("half_plus_three", x=big), timeout=60
    )
    assert np.array_equal(np.frombuffer(answer.outputs["y"].tensor_content, np.float32), big * 0.5 + 3)


def test_unknown_methods_are_unimplemented(options_server: Any) -> None:
    server, _ = options_server
    call = grpc.insecure_channel(server.address).unary_unary("/tensorflow.serving.SessionService/SessionRun")
    code, _ = refusal(call, b"")
    assert code is grpc.StatusCode.UNIMPLEMENTED


def test_batching(start_server: Any, models: Any, tmp_path: Path) -> None:
    parameters = tmp_path / "batching.config"
    parameters.write_text("max_batch_size { value: 4 } allowed_batch_sizes: 2 allowed_batch_sizes: 4")
    server = start_server(
        f"--model_config_file={models}/models.config",
        "--allow_version_labels_for_unavailable_models",
        "--enable_batching",
        f"--batching_parameters_file={parameters}",
    )
    service = stub(server.address)

    def ask(value: int) -> float:
        answer = service.Predict(request_for("half_plus_three", x=floats(value)), timeout=30)
        return tf.make_ndarray(answer.outputs["y"])[0]

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(200))) == [value / 2 + 3 for value in range(200)]
    empty = service.Predict(request_for("half_plus_three", x=floats()), timeout=30)
    assert tf.make_ndarray(empty.outputs["y"]).shape == (0,)
    assert refusal(service.Predict, request_for("half_plus_three", x=floats(1, 2, 3, 4, 5))) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "Task size 5 is larger than maximum input batch size 4",
    )
    assert refusal(service.Predict, request_for("shapes", x=floats(1))) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "Batched output tensor has 0 dimensions",
    )


def copy_of(source: Path, directory: Path) -> Path:
    """A writable copy of a version."""
    subprocess.run(["cp", "-r", source, directory], check=True)
    return directory


def test_per_model_batching_parameters(start_server: Any, models: Any, tmp_path: Path) -> None:
    for model in ("batched", "plain"):
        (tmp_path / model).mkdir()
        copy_of(models / "half_plus_three" / "1", tmp_path / model / "1")
    (tmp_path / "batched" / "1" / "batching_params.pbtxt").write_text("max_batch_size { value: 1 }")
    config = tmp_path / "models.config"
    config.write_text(
        "model_config_list {"
        + "".join(
            f"config {{ name: '{model}' base_path: '{tmp_path}/{model}' model_platform: 'tensorflow' }}"
            for model in ("batched", "plain")
        )
        + "}"
    )
    flags = ("--enable_batching", "--enable_per_model_batching_parameters")
    service = stub(start_server(f"--model_config_file={config}", *flags).address)
    _, text = refusal(service.Predict, request_for("batched", x=floats(1, 2)))
    assert text == "Task size 2 is larger than maximum input batch size 1"
    answer = service.Predict(request_for("plain", x=floats(1, 2)), timeout=30)
    assert tf.make_ndarray(answer.outputs["y"]).tolist() == [3.5, 4]


def warm_up(version: Path, *requests: predict_pb2.PredictRequest) -> None:
    (version / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(version / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        for request in requests:
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.CopyFrom(request)
            writer.write(log.SerializeToString())


def test_warm_up_requests_are_replayed_and_a_bad_one_fails_the_load(
    start_server: Any, models: Any, tmp_path: Path
) -> None:
    version = copy_of(models / "half_plus_three" / "1", tmp_path / "1")
    good = request_for("m", x=floats(1))
    warm_up(version, good, good)
    flags = ("--model_name=m", f"--model_base_path={tmp_path}", "--max_num_load_retries=0")
    server = start_server(*flags, "--num_request_iterations_for_warmup=3")
    assert "2 records" in server.log()

    (version / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"this is no record file")
    server = start_server(*flags, wait=False)
    server.wait_for_log("Please verify your warmup data is in TFRecord format.")
    server.wait_for_log("Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available")
    start_server(*flags, "--enable_model_warmup=false")


def test_tls_with_client_certificates(start_server: Any, models: Any, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    openssl = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -addext"
    names = ["subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*openssl.split(), *names], check=True, capture_output=True)

    def quoted(path: Path) -> str:
        return " ".join(f'"{line}\\n"' for line in path.read_text().splitlines())

    config = tmp_path / "ssl.config"
    config.write_text(
        f"server_key: {quoted(key)} server_cert: {quoted(certificate)} custom_ca: {quoted(certificate)} "
        "client_verify: true"
    )
    server = start_server(
        "--model_name=m", f"--model_base_path={models}/half_plus_three", f"--ssl_config_file={config}"
    )
    pem = certificate.read_bytes()
    credentials = grpc.ssl_channel_credentials(pem, key.read_bytes(), pem)
    channel = grpc.secure_channel(f"localhost:{server.port}", credentials)
    answer = stub(channel).Predict(request_for("m", x=floats(1)), timeout=30)
    assert tf.make_ndarray(answer.outputs["y"]).tolist() == [3.5]
    stranger = stub(grpc.secure_channel(f"localhost:{server.port}", grpc.ssl_channel_credentials(pem)))
    code, _ = refusal(stranger.Predict, request_for("m", x=floats(1)))
    assert code is grpc.StatusCode.UNAVAILABLE


def test_a_label_that_is_no_utf8_is_sent_as_it_is(options_server: Any) -> None:
    server, _ = options_server
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = "half_plus_two"
    request.model_spec.signature_name = "classify_bin"
    request.input.example_list.examples.add().features.feature["x"].float_list.value.append(1.0)
    method = "/tensorflow.serving.PredictionService/Classify"
    answer = grpc.insecure_channel(server.address).unary_unary(method)(
        request.SerializeToString(), timeout=30
    )
    assert b"\x0a\x09\x0a\x02\xff\xfe\x15\x00\x00\x60\x40" in answer  # label, and a score of 3.5


def test_long_error_texts_are_cut(options_server: Any) -> None:
    server, _ = options_server
    _, text = refusal(stub(server.address).Predict, request_for("m" * 2000, x=floats(1)))
    assert text == f"{('Servable not found for request: Latest(' + 'm' * 2000)[:1024]}...TRUNCATED"


def test_a_request_without_model_spec(options_server: Any) -> None:
    server, _ = options_server
    assert refusal(stub(server.address).Predict, predict_pb2.PredictRequest()) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "Missing ModelSpec",
    )
    assert refusal(stub(server.address).Predict, request_for("")) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "ModelSpec has no name specified.",
    )


def test_the_signature_of_the_init_op_cannot_be_asked(options_server: Any) -> None:
    server, _ = options_server
    code, text = refusal(stub(server.address).Predict, request_for("matrix", "__saved_model_init_op"))
    assert code is grpc.StatusCode.INTERNAL
    assert text.startswith(
        "Expected prediction signature method_name to be one of {tensorflow/serving/predict"
    )


@pytest.mark.parametrize(
    "method",
    [
        "PredictionService/Predict",
        "PredictionService/Classify",
        "PredictionService/MultiInference",
        "PredictionService/GetModelMetadata",
        "ModelService/GetModelStatus",
        "ModelService/HandleReloadConfigRequest",
    ],
)
def test_garbage_is_told_so_and_leaves_no_traceback(options_server: Any, method: Any) -> None:
    server, _ = options_server
    call = grpc.insecure_channel(server.address).unary_unary(f"/tensorflow.serving.{method}")
    code, text = refusal(call, b"\xff\xff\xffgarbage")
    assert code is grpc.StatusCode.INTERNAL
    assert text.startswith("The request is not a tensorflow.serving.")
    assert "Traceback" not in server.log()


def test_calls_beyond_grpc_max_threads_are_refused(start_server: Any, models: Any) -> None:
    server = start_server(f"--model_base_path={models}/errors", "--model_name=errors", "--grpc_max_threads=2")
    service = stub(server.address)
    slow = request_for("errors", "slow", n=np.array([300_000], np.int32))
    calls = [service.Predict.future(slow, timeout=60) for _ in range(16)]
    codes = [call.code() for call in calls]
    assert codes.count(grpc.StatusCode.OK) >= 2
    refused = [call.details() for call in calls if call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED]
    assert refused
    assert set(refused) == {"Server Threadpool Exhausted"}


def test_the_metrics_of_batches_and_requests(start_server: Any, models: Any, tmp_path: Path) -> None:
    parameters, monitoring = tmp_path / "batching.config", tmp_path / "monitoring.config"
    parameters.write_text(
        "max_batch_size { value: 8 } enable_large_batch_splitting { value: true } "
        "max_execution_batch_size { value: 2 }"
    )
    monitoring.write_text("prometheus_config { enable: true path: '/metrics' }")
    server = start_server(
        f"--model_base_path={models}/half_plus_two",
        "--model_name=m",
        "--enable_batching",
        f"--batching_parameters_file={parameters}",
        f"--monitoring_config_file={monitoring}",
        rest=True,
    )
    answer = stub(server.address).Predict(request_for("m", x=floats(1, 2, 3, 4, 5)), timeout=30)
    assert tf.make_ndarray(answer.outputs["y"]).tolist() == [3.5, 4, 4.5, 5, 5.5]
    base = f"http://127.0.0.1:{server.rest_port}"
    assert urllib.request.urlopen(f"{base}/v1/models/m").status == 200
    page = urllib.request.urlopen(f"{base}/metrics").read().decode()
    batching = ":tensorflow:serving:batching_session:"
    for line in (
        ':tensorflow:serving:request_count{model_name="m",status="OK"} 2',  # the status too
        ':tensorflow:serving:request_latency_count{model_name="m",API="Predict",entrypoint="GRPC"} 1',
        ':tensorflow:serving:runtime_latency_count{model_name="m",API="Predict",runtime="TF1"} 1',
        f'{batching}queuing_latency_count{{thread_pool_name=""}} 3',
        f'{batching}processed_batch_size_bucket{{le="2"}} 3',
        f'{batching}padding_size_count{{execution_batch_size="2"}} 2',
        ":tensorflow:core:graph_runs 3",
        f':tensorflow:cc:saved_model:load_attempt_count{{model_path="{models}/half_plus_two/124",status="success"}} 1',
    ):
        assert line in page.splitlines()
