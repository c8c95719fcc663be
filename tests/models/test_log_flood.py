"""A flood of lines that are all of another kind: bounded memory, and a line at its end costs what one in its middle cost."""

import random
import time

from models import latent_encoder, latent_systems, masking, severity_model
from models.log_model import LogModel
from models.steps import Item, Work

LINES, STEP = 20_000, 200
"""More than any cache of texts holds; at 100,000 a minute it is what comes in 12 seconds."""
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def test_a_flood_of_new_kinds_fills_no_memory_and_costs_the_same_at_its_end() -> None:
    model, chance, state, costs, sizes = LogModel(), random.Random(3), None, [], []
    for first in range(0, LINES, STEP):
        texts = [" ".join("".join(chance.choices(LETTERS, k=6)) for _ in range(6)) for _ in range(STEP)]
        began = time.process_time()
        (result,) = model.step([Work("logs/a", state, [Item(first + n, text, first * 600) for n, text in enumerate(texts)])])
        costs.append(time.process_time() - began)
        assert [len(item.findings) for item in result.items] == [3] * STEP
        state = result.state
        sizes.append(len(model.pack(state)))
        assert len(masking._cuts) <= masking.CACHED
        assert len(severity_model.shipped().known) <= severity_model.CACHED
        assert all(len(normal.encoder._table.rows) <= latent_encoder.CACHED for normal in model.normal.models.values())
        assert len(model.normal.owners) <= latent_systems.REMEMBERED
    assert max(sizes) < 1.05 * max(sizes[:20]), "the row does not grow once it is full"
    assert min(costs[60:]) < 1.5 * min(costs[20:60])
