"""The local stack: embedded broker, supervisor, ports."""
