"""Programs of other makers that `strata bench` runs beside the worker, in an environment of their own (peers.py makes it)."""
