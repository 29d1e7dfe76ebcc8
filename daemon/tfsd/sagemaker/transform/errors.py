"""What goes wrong in a transform job, by whose fault: the prefix of a failure reason is SageMaker's."""

from __future__ import annotations


class TransformError(Exception):
    """Something that fails one object, or the whole job; the text is for the user."""

    origin = "InternalServerError"


class DataError(TransformError):
    """The data set, or what the job says of it, is wrong."""

    origin = "ClientError"


class AlgorithmError(TransformError):
    """The container answered an error, something that cannot be used, or not at all."""

    origin = "AlgorithmError"
