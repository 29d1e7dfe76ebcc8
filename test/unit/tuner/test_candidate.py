"""Candidates as the variables that a stack is started with."""

from __future__ import annotations

import dataclasses

from tfsd.settings import Settings
from tfsd.tuner.candidate import Batching, Candidate

BATCHED = Candidate(Batching(16, 2000, 2, 64, (1, 4, 16)), instances=2, workers=3, inter_op=1, intra_op=2)


def test_settings_read_what_candidates_write() -> None:
    for candidate in (BATCHED, Candidate(None, 1, 2)):
        settings = Settings.from_environ(candidate.variables(), cpus=2)
        assert Candidate.of(settings) == candidate


def test_changes_are_what_differs_from_the_default() -> None:
    default = Candidate(None, 1, 2)
    assert default.changes(default) == {}
    assert dataclasses.replace(default, instances=2).changes(default) == {"SAGEMAKER_TFS_INSTANCE_COUNT": "2"}
    assert dataclasses.replace(BATCHED, batching=None).changes(BATCHED) == {
        "SAGEMAKER_TFS_ENABLE_BATCHING": "false"
    }


def test_what_a_default_has_and_a_candidate_has_not_is_emptied() -> None:
    assert BATCHED.batching is not None
    unpadded = dataclasses.replace(BATCHED, batching=dataclasses.replace(BATCHED.batching, allowed=()))
    changes = unpadded.changes(BATCHED)
    assert changes == {"SAGEMAKER_TFS_ALLOWED_BATCH_SIZES": ""}
    assert Candidate.of(Settings.from_environ({**BATCHED.variables(), **changes}, cpus=2)) == unpadded


def test_labels() -> None:
    default = Candidate(None, 1, 2)
    assert default.label(default) == "default"
    assert BATCHED.label(default) == (
        "batches of 16, 2 ms, 2 threads, padded, 2 model servers, 3 workers, inter-op 1, intra-op 2"
    )
    assert dataclasses.replace(BATCHED, batching=None).label(BATCHED) == "batching off"
