"""OTLP requests whose text is no UTF-8, mended: the Collector passes on what an application wrote, and protobuf refuses all of it.

On the wire a string is bytes: the same messages with every string declared as bytes read what the proper ones refuse. Bytes that are no
UTF-8 become `\\xff`, and one bad line does not cost the thousands beside it. Next: schemas/otlp.py
"""

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.message import Message

_STRING, _BYTES = descriptor_pb2.FieldDescriptorProto.TYPE_STRING, descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
_MESSAGE = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE


def mended(value: bytes, request: Descriptor) -> bytes:
    """The same request with all text UTF-8. Raises DecodeError where it is not whole."""
    kind, texts = _with_bytes(request)
    found: Any = kind()
    found.ParseFromString(value)
    _mend(found, texts)
    return bytes(found.SerializeToString())


@cache
def _with_bytes(request: Descriptor) -> tuple[type[Message], frozenset[str]]:
    """The message with bytes for strings, and the full names of the fields that were strings."""
    pool, texts, done = descriptor_pool.DescriptorPool(), set[str](), set[str]()

    def add(file: FileDescriptor) -> None:
        if file.name in done:
            return
        done.add(file.name)
        for other in file.dependencies:
            add(other)
        proto = descriptor_pb2.FileDescriptorProto()
        file.CopyToProto(proto)
        for message in proto.message_type:
            _declare(message, f"{file.package}.{message.name}", texts)
        pool.Add(proto)

    add(request.file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(request.full_name)), frozenset(texts)


def _declare(message: descriptor_pb2.DescriptorProto, name: str, texts: set[str]) -> None:
    for field in message.field:
        if field.type == _STRING:
            field.type = _BYTES
            texts.add(f"{name}.{field.name}")
    for inner in message.nested_type:
        _declare(inner, f"{name}.{inner.name}", texts)


def _mend(message: Any, texts: frozenset[str]) -> None:
    for field, value in message.ListFields():
        if field.type == _MESSAGE:
            for one in value if field.is_repeated else (value,):
                _mend(one, texts)
        elif field.full_name in texts:
            if field.is_repeated:
                value[:] = [_utf8(one) for one in value]
            else:
                setattr(message, field.name, _utf8(value))


def _utf8(value: bytes) -> bytes:
    return value.decode("utf-8", "backslashreplace").encode()
