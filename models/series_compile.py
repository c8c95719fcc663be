"""The detector's functions as machine code of their own. Next: models/series_state.py"""

from models.machine_code import compiler

compiled = compiler("series")
