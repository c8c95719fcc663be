"""The error tree of what crosses a boundary: settings, bytes, fields.

StrataError                        everything we raise by name
├── SettingError                   a setting is wrong: the process does not start, exit status 2
├── CodecError                     bytes that no reader understands: dead letter, recovery action `dead_letter`
│   ├── UnknownEncodingError       first bytes of no encoding of the contract
│   ├── UnknownSchemaError         a fingerprint or schema id nobody registered
│   ├── TruncatedRecordError       Avro that ends early or has bytes left over
│   └── InvalidJsonError           not JSON, or JSON that is not the record
└── RecordError                    readable, but a field is not acceptable
    ├── MissingSessionError        no session id, neither in the record nor as key
    ├── FieldError                 a value out of its range
    └── RecordTooLargeError        beyond max_record_bytes

None of these can be cured by another try (`retriable = False`): the same bytes fail again.
"""


class StrataError(Exception):
    """Base of our named errors."""

    retriable = False


class SettingError(StrataError):
    """A setting has a value it cannot have."""


class CodecError(StrataError):
    """Bytes that cannot be read as the record of their topic."""


class UnknownEncodingError(CodecError):
    """The first bytes are of none of the encodings."""


class UnknownSchemaError(CodecError):
    """The fingerprint or schema id is not known here."""


class TruncatedRecordError(CodecError):
    """Avro bytes do not fit their schema."""


class InvalidJsonError(CodecError):
    """Not JSON, or not this record's JSON."""


class RecordError(StrataError):
    """A record was read, but cannot be accepted as it is."""


class MissingSessionError(RecordError):
    """Nobody says which session this is."""


class FieldError(RecordError):
    """A field has a value it cannot have."""


class RecordTooLargeError(RecordError):
    """Larger than the worker accepts."""
