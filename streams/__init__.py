"""One worker: topics in, topics out."""
