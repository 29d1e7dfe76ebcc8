"""What short texts mean that clients send again and again, such as heads and paths of requests."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar

#: So many texts are remembered, of at most so many characters.
MAX_TEXTS, MAX_LENGTH = 256, 2048
MeaningT = TypeVar("MeaningT")


def remembered(meaning: Callable[[str], MeaningT]) -> Callable[[str], MeaningT]:
    """A function that remembers what it returned; whoever calls it must not change that. Errors are raised anew."""
    known = lru_cache(MAX_TEXTS)(meaning)

    @wraps(meaning)
    def call(text: str) -> MeaningT:
        return known(text) if len(text) <= MAX_LENGTH else meaning(text)

    return call
