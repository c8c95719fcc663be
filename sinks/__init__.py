"""Topics in, ClickHouse out, and what reads it."""
