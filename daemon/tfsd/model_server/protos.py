"""Text protos: reading configuration files, and the messages that the published API package leaves out.

Never imports TensorFlow: a bad configuration is reported before it loads.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Any, TypeVar

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from google.protobuf.message import Message

from tfsd.model_server.errors import Code, ServingError, invalid

log = logging.getLogger(__name__)
AnyMessage = TypeVar("AnyMessage", bound=Message)

_Field = descriptor_pb2.FieldDescriptorProto
_INT64 = ".google.protobuf.Int64Value"
_STRING = ".google.protobuf.StringValue"
_BOOL = ".google.protobuf.BoolValue"
#: message -> its fields: (name, number, type or message name, repeated), as in TensorFlow Serving's config.
_MESSAGES: dict[str, tuple[tuple[str, int, Any, bool], ...]] = {
    "BatchingParameters": (
        ("max_batch_size", 1, _INT64, False),
        ("batch_timeout_micros", 2, _INT64, False),
        ("max_enqueued_batches", 3, _INT64, False),
        ("num_batch_threads", 4, _INT64, False),
        ("thread_pool_name", 5, _STRING, False),
        ("allowed_batch_sizes", 6, _Field.TYPE_INT64, True),
        ("pad_variable_length_inputs", 7, _Field.TYPE_BOOL, False),
        ("enable_large_batch_splitting", 8, _BOOL, False),
        ("max_execution_batch_size", 9, _INT64, False),
    ),
    "PrometheusConfig": (("enable", 1, _Field.TYPE_BOOL, False), ("path", 2, _Field.TYPE_STRING, False)),
    "MonitoringConfig": (("prometheus_config", 1, ".tensorflow.serving.PrometheusConfig", False),),
    "SSLConfig": (
        ("server_key", 1, _Field.TYPE_STRING, False),
        ("server_cert", 2, _Field.TYPE_STRING, False),
        ("custom_ca", 3, _Field.TYPE_STRING, False),
        ("client_verify", 4, _Field.TYPE_BOOL, False),
    ),
}


@cache
def message_class(name: str) -> type[Message]:
    """The class of one of the messages above, from a descriptor pool of our own."""
    file = descriptor_pb2.FileDescriptorProto(name="tfsd/config.proto", package="tensorflow.serving")
    file.syntax = "proto3"
    file.dependency.append("google/protobuf/wrappers.proto")
    for message, fields in _MESSAGES.items():
        proto = file.message_type.add(name=message)
        for field_name, number, kind, repeated in fields:
            label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            field = proto.field.add(name=field_name, number=number, label=label)
            if isinstance(kind, str):
                field.type, field.type_name = _Field.TYPE_MESSAGE, kind
            else:
                field.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tensorflow.serving.{name}"))


def read_text_proto(path: str, message: AnyMessage) -> AnyMessage:
    """Fill `message` from the text proto in a file.

    Raises ServingError: NOT_FOUND or another file error, INVALID_ARGUMENT for an empty or a bad file; where
        and why the text is bad goes to the log.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        raise ServingError(Code.NOT_FOUND, f"{path}; No such file or directory") from None
    except PermissionError:
        raise ServingError(Code.PERMISSION_DENIED, f"{path}; Permission denied") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ServingError(Code.FAILED_PRECONDITION, f"{path}; {error}") from error
    if not text:
        raise invalid(f"{path}; Invalid argument")
    try:
        return text_format.Parse(text, message)
    except text_format.ParseError as error:
        log.error("Error parsing text-format %s in %s: %s", message.DESCRIPTOR.full_name, path, error)
        raise invalid(f"Invalid protobuf file: '{path}'") from None
