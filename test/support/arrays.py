"""A NumPy file that a worker sends on as it comes, where it is the first that gets it."""

from __future__ import annotations

import io

import numpy as np

from tfsd.worker.binary import SENT_ON_BYTES

NPY = "application/x-npy"
SUMS = "tfs-signature-name=sums"
"""The custom attributes that have the model `waiting` answer it in few bytes, which come at once or not at all."""


def sent_on() -> bytes:
    """Two rows of float32."""
    file = io.BytesIO()
    np.save(file, np.zeros((2, SENT_ON_BYTES // 4), np.float32))
    return file.getvalue()
