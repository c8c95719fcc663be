"""What can stop the local stack, each with what to do next.

StrataError
└── StackError                 the stack cannot do what was asked: exit status 1
    ├── DownloadError          a jar could not be fetched or is not the locked one (retriable)
    ├── JavaMissingError       no Java 17 or later
    ├── PortTakenError         a port is in use
    ├── AlreadyRunningError    a stack runs on this data folder
    ├── NotRunningError        no stack runs on this data folder
    └── NotReadyError          a process did not get ready in time, or ended
"""

from schemas.errors import StrataError


class StackError(StrataError):
    """The stack cannot do what was asked."""


class DownloadError(StackError):
    """A file could not be fetched, or is not the one that is locked."""

    retriable = True


class JavaMissingError(StackError):
    """No Java that can run the broker."""


class PortTakenError(StackError):
    """A port that the stack needs is in use."""


class AlreadyRunningError(StackError):
    """A second stack on one data folder."""


class NotRunningError(StackError):
    """No stack runs on this data folder."""


class NotReadyError(StackError):
    """A process did not get ready in time."""
