"""A transform job as it was asked for: CreateTransformJob's request, read and checked.

What botocore's shapes cannot say is checked here; the texts follow SageMaker's where they are known.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from tfsd.sagemaker.errors import ValidationException
from tfsd.sagemaker.object_store import split_uri
from tfsd.sagemaker.transform import jsonpath, record_formats
from tfsd.sagemaker.transform.data_processing import DataProcessing
from tfsd.sagemaker.transform.jsonpath import JsonPath, PathError

MAX_PAYLOAD_MB = 100
MAX_INSTANCES = 100
DEFAULT_PAYLOAD_MB = 6
DEFAULT_TIMEOUT_SECONDS = 600
DEFAULT_RETRIES = 3
SUPPORTED_TYPES = ("text/csv", "application/json", "application/jsonlines")


@dataclasses.dataclass(frozen=True)
class Specification:
    """What the job says. None: it does not say, so that the container or a default decides."""

    input_type: str
    input_uri: str
    content_type: str | None
    gzip: bool
    split_type: str
    output_path: str
    accept: str | None
    assemble_by_line: bool
    instances: int
    max_concurrent: int | None
    max_payload_mb: int | None
    batch_strategy: str | None
    timeout_seconds: int
    max_retries: int
    processing: DataProcessing | None

    @property
    def record_split(self) -> str:
        """How objects are split: JSON Lines that are filtered or joined are taken by line whatever SplitType says."""
        by_line = self.processing is not None and self.processing.input_format.by_line
        return "Line" if by_line else self.split_type

    @property
    def environment(self) -> dict[str, str]:
        """What batch transform adds to the container's environment: only what was asked for, besides the first."""
        strategies = {"MultiRecord": "MULTI_RECORD", "SingleRecord": "SINGLE_RECORD"}
        values = {
            "SAGEMAKER_BATCH": "true",
            "SAGEMAKER_MAX_PAYLOAD_IN_MB": self.max_payload_mb,
            "SAGEMAKER_BATCH_STRATEGY": strategies.get(self.batch_strategy or ""),
            "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": self.max_concurrent,
        }
        return {name: str(value) for name, value in values.items() if value is not None}


def read(request: dict[str, Any]) -> Specification:
    """The job of a request that has been validated against botocore's shape. Raises ValidationException."""
    data, output = request["TransformInput"], request["TransformOutput"]
    source = data["DataSource"].get("S3DataSource")
    if source is None or source["S3DataType"] not in ("S3Prefix", "ManifestFile"):
        raise ValidationException(
            "TransformInput needs an S3DataSource of S3DataType S3Prefix or ManifestFile."
        )
    for uri in (source["S3Uri"], output["S3OutputPath"]):
        _check_uri(uri)
    client = request.get("ModelClientConfig", {})
    specification = Specification(
        input_type=source["S3DataType"],
        input_uri=source["S3Uri"],
        content_type=data.get("ContentType"),
        gzip=data.get("CompressionType") == "Gzip",
        split_type=data.get("SplitType", "None"),
        output_path=output["S3OutputPath"],
        accept=output.get("Accept"),
        assemble_by_line=output.get("AssembleWith") == "Line",
        instances=request["TransformResources"]["InstanceCount"],
        max_concurrent=request.get("MaxConcurrentTransforms") or None,
        max_payload_mb=request.get("MaxPayloadInMB"),
        batch_strategy=request.get("BatchStrategy"),
        timeout_seconds=client.get("InvocationsTimeoutInSeconds", DEFAULT_TIMEOUT_SECONDS),
        max_retries=client.get("InvocationsMaxRetries", DEFAULT_RETRIES),
        processing=_processing(request),
    )
    _check_limits(specification)
    return specification


def _check_uri(uri: str) -> None:
    try:
        split_uri(uri)
    except ValueError as error:
        raise ValidationException(str(error)) from error


def _check_limits(job: Specification) -> None:
    if job.instances > MAX_INSTANCES:
        raise ValidationException(f"InstanceCount must be at most {MAX_INSTANCES}.")
    payload = DEFAULT_PAYLOAD_MB if job.max_payload_mb is None else job.max_payload_mb
    if payload > MAX_PAYLOAD_MB:
        raise ValidationException(f"MaxPayloadInMB must be at most {MAX_PAYLOAD_MB}.")
    if job.max_concurrent and job.max_payload_mb and job.max_concurrent * payload > MAX_PAYLOAD_MB:
        raise ValidationException(
            f"MaxConcurrentTransforms * MaxPayloadInMB must be at most {MAX_PAYLOAD_MB}; "
            f"it is {job.max_concurrent} * {payload}."
        )
    if job.batch_strategy == "SingleRecord" and job.split_type == "None":
        raise ValidationException("BatchStrategy SingleRecord needs SplitType Line, RecordIO or TFRecord.")


def _processing(request: dict[str, Any]) -> DataProcessing | None:
    """The job's DataProcessing; None if it changes nothing."""
    given = request.get("DataProcessing", {})
    data, output = request["TransformInput"], request["TransformOutput"]
    paths = {name: given.get(name) or "$" for name in ("InputFilter", "OutputFilter")}
    join = given.get("JoinSource") == "Input"
    if not join and set(paths.values()) == {"$"}:
        return None
    split_type = data.get("SplitType", "None")
    formats = [
        _format("ContentType", data.get("ContentType"), split_type),
        _format("Accept", output.get("Accept") or data.get("ContentType"), split_type),
    ]
    if type(formats[0]) is not type(formats[1]):
        raise ValidationException("DataProcessing needs ContentType and Accept to be of one format.")
    parsed = {name: _path(name, text, formats[0], data["ContentType"]) for name, text in paths.items()}
    return DataProcessing(formats[0], formats[1], parsed["InputFilter"], parsed["OutputFilter"], join)


def _format(member: str, content_type: str | None, split_type: str) -> record_formats.RecordFormat:
    record_format = record_formats.of_content_type(content_type or "", split_type)
    if record_format is None:
        raise ValidationException(
            f"DataProcessing needs {member} to be one of {', '.join(SUPPORTED_TYPES)}; it is {content_type!r}."
        )
    if isinstance(record_format, record_formats.Csv) and split_type != "Line":
        raise ValidationException("DataProcessing of text/csv needs SplitType to be Line.")
    return record_format


def _path(member: str, text: str, record_format: record_formats.RecordFormat, content_type: str) -> JsonPath:
    character = jsonpath.unsupported_character(text)
    if character:
        operators = ", ".join(f"'{operator}'" for operator in jsonpath.ALLOWED)
        raise ValidationException(
            f'Invalid {member}: "{text}". Unexpected "{character}" in JsonPath. '
            f'Supported operators for "{content_type}" are [{operators}]'
        )
    try:
        path = jsonpath.parse(text)
    except PathError as error:
        raise ValidationException(f"Invalid JsonPath: {text}: {error}.") from error
    if isinstance(record_format, record_formats.Csv) and not path.by_index:
        raise ValidationException(
            f"Invalid JsonPath: {text}: rows of text/csv are chosen by index, as $[1:]."
        )
    return path
