"""What surrounds the processes: the command line, the local stack, replay."""
