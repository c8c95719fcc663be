"""What `strata bench` compares and how: load.py (records in), contest.py (one run of one program), latency.py, and the two rival programs."""
