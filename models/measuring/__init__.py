"""What the text model costs, measured in a process of its own: trunk.py (matrix products and caches), alone.py (the whole step), memory.py."""
