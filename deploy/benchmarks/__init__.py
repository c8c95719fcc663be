"""What `strata bench` measures and how: parts.py lists the parts, each a file; ground.py is what they stand on, page.py what is written.

contest.py runs one program over one load (load.py), backlog.py one load through the whole stack, open_loop.py one at a rate; peers/ are
programs of others; simulation.py and capacity.py say what follows for other loads.
"""
