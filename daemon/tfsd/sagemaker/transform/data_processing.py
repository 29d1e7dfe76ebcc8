"""DataProcessing: what is left out before a record is sent, joined to the answer, and left out of the output.

Follows "Associate Prediction Results with Input Records" of AWS's developer guide: InputFilter chooses what is sent,
JoinSource adds the result to the whole input record, OutputFilter chooses what is stored.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator

from tfsd.sagemaker.transform.errors import AlgorithmError, DataError
from tfsd.sagemaker.transform.jsonpath import JsonPath
from tfsd.sagemaker.transform.record_formats import RecordFormat, filtered, select

MISMATCH = "Fail to join data: mismatched line count between the input and the output"


@dataclasses.dataclass(frozen=True)
class DataProcessing:
    """Formats of the records that come and of those that the container answers with, and what is done to them."""

    input_format: RecordFormat
    output_format: RecordFormat
    input_filter: JsonPath
    output_filter: JsonPath
    join_input: bool

    @property
    def filters_input(self) -> bool:
        return not self.input_filter.everything

    @property
    def finishes_output(self) -> bool:
        return self.join_input or not self.output_filter.everything

    def filter_input(self, records: Iterable[bytes]) -> Iterator[bytes]:
        """What is sent for each record. Raises DataError."""
        for record in records:
            yield filtered(self.input_format, self.input_filter, record)

    def finish(self, inputs: Iterable[bytes], results: Iterable[bytes]) -> Iterator[bytes]:
        """What is stored for each result, in order.

        Args:
            inputs: the records as they lie in the object; one a result if they are joined, else not looked at.
            results: the records of the container's answer.

        Raises DataError and AlgorithmError.
        """
        if not self.join_input:
            for result in results:
                yield filtered(self.output_format, self.output_filter, result)
            return
        between = self.input_format.joined_by if self.output_filter.everything else None
        pairs = zip(inputs, results, strict=True)
        try:
            if between is None:
                yield from itertools.starmap(self._joined, pairs)
            else:
                yield from map(between.join, pairs)
        except ValueError as error:  # of zip
            raise AlgorithmError(MISMATCH) from error

    def _joined(self, record: bytes, result: bytes) -> bytes:
        value = self.input_format.parse(record)
        try:
            answer = self.output_format.parse(result)
        except DataError as error:
            raise AlgorithmError(f"The container's response cannot be joined. {error}") from error
        joined = self.input_format.join(value, answer)
        return self.input_format.render(select(self.output_filter, joined))
