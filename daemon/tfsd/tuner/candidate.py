"""Settings that are tried: those that decide how fast a model is served, and nothing else of a stack's settings."""

from __future__ import annotations

import dataclasses
from bisect import bisect_left

from tfsd.settings import Settings
from tfsd.words import counted

PREFIX = "SAGEMAKER_TFS_"


@dataclasses.dataclass(frozen=True)
class Batching:
    """TensorFlow Serving's parameters of batching; `allowed` sizes ascend to `max_batch_size`, or are none."""

    max_batch_size: int
    timeout_micros: int
    threads: int
    enqueued: int
    allowed: tuple[int, ...] = ()

    def padded(self, rows: int) -> int:
        """The size of the batch that so many rows become."""
        index = bisect_left(self.allowed, rows)
        return self.allowed[index] if index < len(self.allowed) else rows

    def __str__(self) -> str:
        wait = f"{self.timeout_micros / 1000:g} ms"
        text = f"batches of {self.max_batch_size}, {wait}, {counted(self.threads, 'thread')}"
        return text + (", padded" if self.allowed else "")


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One set of settings; `batching` is None when it is off, parallelisms when the model server decides."""

    batching: Batching | None
    instances: int
    workers: int
    inter_op: int | None = None
    intra_op: int | None = None

    @classmethod
    def of(cls, settings: Settings) -> Candidate:
        """What the settings say: the default that everything is compared with."""
        batching = None
        if settings.enable_batching:
            batching = Batching(
                settings.max_batch_size,
                settings.batch_timeout_micros,
                settings.num_batch_threads,
                settings.max_enqueued_batches,
                settings.allowed_batch_sizes,
            )
        return cls(
            batching,
            settings.instance_count,
            settings.workers,
            settings.inter_op_parallelism,
            settings.intra_op_parallelism,
        )

    def with_batching(self, batching: Batching) -> Candidate:
        return dataclasses.replace(self, batching=batching)

    def variables(self) -> dict[str, str]:
        """All of it as environment variables; what the model server decides is left out."""
        values: dict[str, str] = {f"{PREFIX}ENABLE_BATCHING": "true" if self.batching else "false"}
        if self.batching:
            values |= {
                f"{PREFIX}MAX_BATCH_SIZE": str(self.batching.max_batch_size),
                f"{PREFIX}BATCH_TIMEOUT_MICROS": str(self.batching.timeout_micros),
                f"{PREFIX}NUM_BATCH_THREADS": str(self.batching.threads),
                f"{PREFIX}MAX_ENQUEUED_BATCHES": str(self.batching.enqueued),
            }
            if self.batching.allowed:
                values[f"{PREFIX}ALLOWED_BATCH_SIZES"] = ",".join(map(str, self.batching.allowed))
        values[f"{PREFIX}INSTANCE_COUNT"] = str(self.instances)
        values["SAGEMAKER_MODEL_SERVER_WORKERS"] = str(self.workers)
        if self.inter_op is not None:
            values[f"{PREFIX}INTER_OP_PARALLELISM"] = str(self.inter_op)
        if self.intra_op is not None:
            values[f"{PREFIX}INTRA_OP_PARALLELISM"] = str(self.intra_op)
        return values

    def changes(self, default: Candidate) -> dict[str, str]:
        """The variables to set where `default` is what one has now: what is to be pasted."""
        known = default.variables()
        dropped = {name: "" for name in known if name not in self.variables() and self.batching}
        changed = {name: value for name, value in self.variables().items() if known.get(name) != value}
        return dropped | changed

    def label(self, default: Candidate) -> str:
        """A few words for a table."""
        if self == default:
            return "default"
        words = []
        if self.batching != default.batching:
            words.append(str(self.batching) if self.batching else "batching off")
        if self.instances != default.instances:
            words.append(counted(self.instances, "model server"))
        if self.workers != default.workers:
            words.append(counted(self.workers, "worker"))
        if self.inter_op != default.inter_op:
            words.append(f"inter-op {self.inter_op}")
        if self.intra_op != default.intra_op:
            words.append(f"intra-op {self.intra_op}")
        return ", ".join(words)
