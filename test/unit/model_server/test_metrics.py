"""The metrics page, as Prometheus reads it."""

from __future__ import annotations

import threading

from prometheus_client.parser import text_string_to_metric_families

from tfsd.model_server.errors import Code
from tfsd.model_server.metrics import Histogram, Metrics


def test_counts_and_latencies() -> None:
    metrics = Metrics()
    metrics.record("m", "Predict", "GRPC", Code.OK, 15e-6)
    metrics.record("m", "Predict", "GRPC", Code.OK, 1.0)
    metrics.record('odd"\n', "predict", "REST", Code.NOT_FOUND, 1.0)
    lines = metrics.render().splitlines()
    assert "# TYPE :tensorflow:serving:request_count counter" in lines
    assert ':tensorflow:serving:request_count{model_name="m",status="OK"} 2' in lines
    assert ':tensorflow:serving:request_count{model_name="odd\\"\\n",status="NOT_FOUND"} 1' in lines
    labels = 'model_name="m",API="Predict",entrypoint="GRPC"'
    name = ":tensorflow:serving:request_latency"
    assert f'{name}_bucket{{{labels},le="10"}} 0' in lines
    assert f'{name}_bucket{{{labels},le="18"}} 1' in lines
    assert f'{name}_bucket{{{labels},le="+Inf"}} 2' in lines
    assert f"{name}_count{{{labels}}} 2" in lines
    assert f"{name}_sum{{{labels}}} 1000015.0" in lines


def test_a_page_is_what_prometheus_reads() -> None:
    metrics = Metrics()
    metrics.record("m", "Predict", "GRPC", Code.OK, 1.0)
    metrics.runtime_latency.add(500_000, ("m", "Predict", "TF1"))
    metrics.examples("m", 3)
    metrics.graph_run_times.add(250_000)
    metrics.loaded("/m/1", 2.0)
    metrics.loaded("/m/2", None)
    metrics.wrapped_run_count.add()
    metrics.queuing_latency.add(150, ("",))
    metrics.processed_batch_size.add(4)
    metrics.padding_size.add(1, ("4",))
    families = {family.name: family for family in text_string_to_metric_families(metrics.render())}
    assert families[":tensorflow:core:graph_run_time_usecs"].samples[0].value == 250_000
    loads = families[":tensorflow:cc:saved_model:load_attempt_count"].samples
    assert [(sample.labels["model_path"], sample.labels["status"]) for sample in loads] == [
        ("/m/1", "success"),
        ("/m/2", "fail"),
    ]
    histogram = families[":tensorflow:serving:batching_session:processed_batch_size"]
    assert histogram.type == "histogram"
    below = {sample.labels["le"]: sample.value for sample in histogram.samples if "le" in sample.labels}
    assert (below["2"], below["4"], below["8192"], below["+Inf"], len(below)) == (0, 1, 1, 1, 15)


def test_no_value_is_lost_among_threads() -> None:
    histogram = Histogram("h", (1.0, 2.0, 4.0))

    def add() -> None:
        for value in range(6000):
            histogram.add(value % 6)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert sum(count for count, _ in histogram.totals()) <= 24_000
    for thread in threads:
        thread.join()

    assert [line.rpartition(" ")[2] for line in histogram.render()] == [
        *("8000", "12000", "20000", "24000"),
        *("60000.0", "24000"),
    ]


def test_names_that_clients_make_up_are_bounded() -> None:
    metrics = Metrics()
    for number in range(2000):
        metrics.record(f"m{number}", "Predict", "GRPC", Code.NOT_FOUND, 1.0)
        metrics.record(f"m{number}", "Predict", "GRPC", Code.OK, 1.0)
    lines = metrics.render().splitlines()
    assert ':tensorflow:serving:request_count{model_name="(others)",status="(others)"} 3000' in lines
    assert sum("request_latency_count" in line for line in lines) == 1001


def test_nothing_yet() -> None:
    assert Metrics().render().endswith("\n")
