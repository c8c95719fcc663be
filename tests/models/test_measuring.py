"""What `strata bench` says of the model's arithmetic is what torch counts."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from models.config import ModelConfig
from models.measuring.trunk import flops_of_token
from models.trunk import Trunk


def test_operations_of_a_token_are_those_that_torch_counts() -> None:
    config = ModelConfig(width=64, n_heads=4, n_kv_heads=2, feed_forward=96, n_layers=3, max_positions=64)
    ids = torch.zeros(1, 32, dtype=torch.int64)
    with torch.inference_mode(), FlopCounterMode(display=False) as counted:
        Trunk(config).eval()(ids)
    by_operation = counted.get_flop_counts()["Global"]
    attention = sum(n for operation, n in by_operation.items() if "attention" in str(operation) or "bmm" in str(operation))
    linear = sum(by_operation.values()) - attention
    assert linear == 32 * flops_of_token(config, 0)
    # torch counts all keys of the square for each token, whatever the mask hides
    assert attention == 32 * (flops_of_token(config, 32) - flops_of_token(config, 0))
