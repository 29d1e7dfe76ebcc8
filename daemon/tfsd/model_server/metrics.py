"""What the server counts and measures, under TensorFlow Serving's names and in Prometheus' text format.

Owns the families, their labels and their buckets. A bucket `le` holds what is equal to its bound too, as Prometheus
has it; the real server puts that into the next one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import numpy as np

from tfsd.model_server.errors import Code

#: Label sets of a family; what comes beyond is counted together, since clients choose the names of models.
_MAX_CELLS = 1000
_OTHERS = "(others)"
#: So many values are sorted into buckets together: one by one, that costs a twentieth of a small request.
_AT_ONCE = 256

Labels = tuple[str, ...]


def exponential(scale: float, growth: float, count: int) -> tuple[float, ...]:
    """Bounds of buckets as TensorFlow's monitoring::Buckets::Exponential; the last bucket has no bound."""
    return tuple(scale * growth**power for power in range(count))


_LATENCY = exponential(10, 1.8, 33)  # microseconds, up to 20 minutes
_QUEUING = exponential(100, 1.2, 52)  # microseconds, up to a second
_GRAPH_RUN = exponential(1000, 2, 20)  # microseconds, up to 17 minutes
_EXAMPLES = exponential(1, 2, 15)
_ROWS = exponential(1, 2, 14)


class Counter:
    """A number that only grows, for each set of label values."""

    kind = "counter"

    def __init__(self, name: str, labels: Labels = ()) -> None:
        self.name = name
        self._labels = labels
        self._lock = threading.Lock()
        self._cells: dict[Labels, int] = {}

    def add(self, labels: Labels = (), by: int = 1) -> None:
        """Count `by` more."""
        cells = self._cells
        with self._lock:
            if labels in cells:
                cells[labels] += by
            else:
                if len(cells) >= _MAX_CELLS:
                    labels = (_OTHERS,) * len(labels)
                cells[labels] = cells.get(labels, 0) + by

    def render(self) -> Iterator[str]:
        """The lines of its values."""
        with self._lock:
            cells = sorted(self._cells.items())
        for labels, value in cells:
            yield f"{self.name}{_braced(self._labels, labels)} {value}"


class _Cell:
    """The values of one set of labels: how many each bucket has, their sum, and `new` ones that are in neither yet."""

    __slots__ = ("counts", "new", "total")

    def __init__(self, buckets: int) -> None:
        self.new: list[float] = []
        self.counts = np.zeros(buckets, np.int64)
        self.total = 0.0

    def settle(self, bounds: Sequence[float]) -> None:
        """Take in the new ones."""
        values = self.new[:]
        del self.new[: len(values)]  # others may add some meanwhile
        self.counts += np.bincount(np.searchsorted(bounds, values), minlength=len(self.counts))
        self.total += sum(values)


class Histogram:
    """How values are distributed over buckets, for each set of label values."""

    kind = "histogram"

    def __init__(self, name: str, bounds: Sequence[float], labels: Labels = ()) -> None:
        self.name = name
        self._bounds = bounds
        self._labels = labels
        self._lock = threading.Lock()
        self._cells: dict[Labels, _Cell] = {}

    def add(self, value: float, labels: Labels = ()) -> None:
        """Take in one value."""
        cell = self._cells.get(labels) or self._new_cell(labels)
        cell.new.append(value)
        if len(cell.new) >= _AT_ONCE:
            with self._lock:
                cell.settle(self._bounds)

    def _new_cell(self, labels: Labels) -> _Cell:
        with self._lock:
            if len(self._cells) >= _MAX_CELLS:
                labels = (_OTHERS,) * len(labels)
            return self._cells.setdefault(labels, _Cell(len(self._bounds) + 1))

    def _settled(self) -> list[tuple[Labels, list[int], float]]:
        """For each set of labels how many values each bucket has, and the sum of all."""
        with self._lock:
            for cell in self._cells.values():
                cell.settle(self._bounds)
            return [(labels, cell.counts.tolist(), cell.total) for labels, cell in self._cells.items()]

    def totals(self) -> list[tuple[int, float]]:
        """The number and the sum of the values of each set of labels."""
        return [(sum(counts), total) for _, counts, total in self._settled()]

    def render(self) -> Iterator[str]:
        """The lines of its values."""
        for labels, counts, total in sorted(self._settled()):
            below = 0
            for bound, count in zip((*map("{:g}".format, self._bounds), "+Inf"), counts, strict=True):
                below += count
                yield f"{self.name}_bucket{_braced((*self._labels, 'le'), (*labels, bound))} {below}"
            braced = _braced(self._labels, labels)
            yield f"{self.name}_sum{braced} {total!r}"
            yield f"{self.name}_count{braced} {below}"


class Total:
    """What a histogram without labels has taken in, as a counter of its own: the number of values, or their sum."""

    kind = "counter"

    def __init__(self, name: str, histogram: Histogram, of_values: bool) -> None:
        self.name = name
        self._histogram = histogram
        self._of_values = of_values

    def render(self) -> Iterator[str]:
        """The line of its value, if there is one."""
        for count, total in self._histogram.totals():
            yield f"{self.name} {round(total) if self._of_values else count}"


class Metrics:
    """All families. Times are in microseconds."""

    def __init__(self) -> None:
        serving, batching = ":tensorflow:serving:", ":tensorflow:serving:batching_session:"
        model, core = ":tensorflow:cc:saved_model:", ":tensorflow:core:"
        self.request_count = Counter(f"{serving}request_count", ("model_name", "status"))
        self.request_latency = Histogram(
            f"{serving}request_latency", _LATENCY, ("model_name", "API", "entrypoint")
        )
        self.runtime_latency = Histogram(
            f"{serving}runtime_latency", _LATENCY, ("model_name", "API", "runtime")
        )
        self.example_counts = Histogram(f"{serving}request_example_counts", _EXAMPLES, ("model",))
        self.example_count_total = Counter(f"{serving}request_example_count_total", ("model",))
        self.queuing_latency = Histogram(f"{batching}queuing_latency", _QUEUING, ("thread_pool_name",))
        self.wrapped_run_count = Counter(f"{batching}wrapped_run_count")
        self.input_batch_size = Histogram(f"{batching}input_batch_size", _ROWS)
        self.processed_batch_size = Histogram(f"{batching}processed_batch_size", _ROWS)
        self.padding_size = Histogram(f"{batching}padding_size", _ROWS, ("execution_batch_size",))
        self.load_attempt_count = Counter(f"{model}load_attempt_count", ("model_path", "status"))
        self.load_latency = Counter(f"{model}load_latency", ("model_path",))
        self.warmup_latency = Histogram(f"{serving}model_warmup_latency", _LATENCY, ("model_path", "status"))
        self.graph_run_times = Histogram(f"{core}graph_run_time_usecs_histogram", _GRAPH_RUN)
        self.graph_runs = Total(f"{core}graph_runs", self.graph_run_times, of_values=False)
        self.graph_run_time = Total(f"{core}graph_run_time_usecs", self.graph_run_times, of_values=True)

    def record(self, model: str, api: str, entrypoint: str, code: Code, seconds: float) -> None:
        """Count one request for inference.

        Args:
            api: `Predict`, `Classify`, ... over gRPC; `predict`, ... over REST.
            entrypoint: `GRPC` or `REST`.
            code: its outcome; only requests that went well have a latency, as in the real server.
        """
        if code is Code.OK:
            self.request_latency.add(seconds * 1e6, (model, api, entrypoint))
            self.request_count.add((model, "OK"))  # the name of an enum's member takes as long to find
        else:
            self.request_count.add((model, code.name))

    def examples(self, model: str, count: int) -> None:
        """A classification or regression of so many tf.Examples went well."""
        self.example_counts.add(count, (model,))
        self.example_count_total.add((model,), count)

    def loaded(self, path: str, seconds: float | None) -> None:
        """A version was loaded in so much time, or (None) could not be."""
        self.load_attempt_count.add((path, "fail" if seconds is None else "success"))
        if seconds is not None:
            self.load_latency.add((path,), round(seconds * 1e6))

    def render(self) -> str:
        """All metrics in Prometheus' text format 0.0.4."""
        lines = []
        for family in vars(self).values():
            lines.append(f"# TYPE {family.name} {family.kind}")
            lines.extend(family.render())
        return "\n".join(lines) + "\n"


def _braced(names: Labels, values: Labels) -> str:
    if not names:
        return ""
    pairs = (f'{name}="{_escape(value)}"' for name, value in zip(names, values, strict=True))
    return f"{{{','.join(pairs)}}}"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
