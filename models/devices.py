"""Where the trunk runs: the choice of a device, and the encoder that goes with it.

Knows names of devices; leaves arithmetic to the encoders.
Next: models/encoder.py, models/paged_encoder.py
"""

import torch

from models.config import ModelConfigError, TextSettings
from models.encoder import CachedEncoder, Encoder
from models.paged_encoder import PagedEncoder
from models.trunk import Trunk


def device_of(name: str) -> torch.device:
    """`cpu`, `cuda`, or with `auto` cuda where torch sees it. Raises ModelConfigError for another name, and for cuda where there is none."""
    if name not in ("cpu", "cuda", "auto"):
        raise ModelConfigError(f"model_device is {name!r}; wanted cpu, cuda or auto: set STRATA_MODEL_DEVICE to one of them")
    seen = name != "cpu" and torch.cuda.is_available()
    if name == "cuda" and not seen:
        raise ModelConfigError(
            "model_device is cuda, and torch sees no CUDA device; wanted one that `nvidia-smi` lists too: mend its driver, "
            "or set STRATA_MODEL_DEVICE to auto or cpu"
        )
    return torch.device("cuda" if seen else "cpu")


def encoder_of(trunk: Trunk, settings: TextSettings) -> Encoder:
    """The encoder of the device that the settings name."""
    device = device_of(settings.device)
    if device.type == "cpu":
        return CachedEncoder(trunk)
    return PagedEncoder(trunk, device, settings.state.max_cache_size_mb * 2**20)
