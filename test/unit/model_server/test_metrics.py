"""The metrics page, as Prometheus reads it."""

from __future__ import annotations

from tfsd.model_server.errors import Code
from tfsd.model_server.metrics import Metrics


def test_counts_and_latencies():
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
    assert f"{name}_sum{{{labels}}} 1.00002e+06" in lines


def test_nothing_yet():
    assert Metrics().render().endswith("\n")
