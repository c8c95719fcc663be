"""All that a LatentModel learned as named tensors, for a safetensors file, and back; but counts, which systems share.

Knows names and shapes of what is learned; leaves files to who keeps them.
Next: models/latent_model.py
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.latent_sessions import Sessions
from models.latent_views import Tails

if TYPE_CHECKING:
    from models.latent_model import LatentModel

PROBATIONS = ("suspects", "odd_ends")
NETS = ("weights", "moments", "density_weights", "density_moments")


def tensors_of(model: "LatentModel") -> dict[str, Tensor]:
    """Copies: what the model learns later does not change them. Unsigned keys are written as int64, bit for bit."""
    arrays: dict[str, NDArray[Any]] = {
        "sessions.slots": model.sessions.slots.view(np.int64),
        "sessions.uses": model.sessions.uses,
        "sessions.last": model.sessions.last,
        "sessions.pairs": model.sessions.pairs,
        "severities": model.severities,
        "tails": model.tails.above,
        "pending": model.pending.above,
        "density": model.density,
        "rates": model.rates,
    }
    found = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    found["counted"] = torch.tensor([model.sessions.counted, model.sessions.strangers])
    for name in PROBATIONS:
        probation = getattr(model, name)
        found[f"{name}.rows"] = torch.from_numpy(probation.rows.copy().view(np.int64))
        found[f"{name}.told"] = torch.tensor([probation.suspects, probation.seen, int(probation.is_calm)])
    for name in NETS:
        found |= {f"{name}.{key}": value.clone() for key, value in getattr(model, name).items()}
    return found


def fields_of(model: "LatentModel", tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The fields of a model of the same kind that learned these tensors."""
    arrays = {name: tensor.numpy().copy() for name, tensor in tensors.items()}
    fields: dict[str, Any] = {
        "sessions": Sessions(
            arrays["sessions.slots"].view(np.uint64),
            arrays["sessions.uses"],
            arrays["sessions.last"],
            arrays["sessions.pairs"],
            *arrays["counted"].tolist(),
        ),
        "severities": arrays["severities"],
        "tails": Tails(arrays["tails"]),
        "pending": Tails(arrays["pending"]),
        "density": arrays["density"],
        "rates": arrays["rates"],
    }
    for name in PROBATIONS:
        suspects, seen, is_calm = arrays[f"{name}.told"].tolist()
        rows = arrays[f"{name}.rows"].view(np.uint64)
        fields[name] = replace(getattr(model, name), rows=rows, suspects=suspects, seen=seen, is_calm=bool(is_calm))
    for name in NETS:
        fields[name] = {key.removeprefix(f"{name}."): value.clone() for key, value in tensors.items() if key.startswith(f"{name}.")}
    return fields
