"""Attention over block tables: keys and values are read from the pages that a session's table names.

Knows slots, pages, masks and grouped queries, in operations of torch that never wait for the device; leaves who holds which page to
paged_cache.py, weights to paged_step.py.
Next: models/paged_step.py
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models.paged_cache import NOWHERE, PAGE


@dataclass(frozen=True)
class Places:
    """Where the tokens of a batch lie, the same in every layer. S sessions, T tokens each, P pages each, all padded."""

    positions: Tensor
    """int64 (S, T), in the window."""
    absent: Tensor
    """bool (S, T, 1, 1): padding, not a token."""
    slots: Tensor
    """int64 (S * T): page * PAGE + place in it, of each token; of padding on the page that nobody holds."""
    table: Tensor
    """int64 (S * P): pages, in order."""
    sees: Tensor
    """bool (S, 1, group * T, P * PAGE): keys at or before each query."""


def places_of(starts: Tensor, counts: Tensor, table: Tensor, n_tokens: int, group: int) -> Places:
    """starts, counts: int64 (S, 1), tokens held before and new ones; table: int64 (S, P)."""
    device, length = table.device, table.shape[1] * PAGE
    order = torch.arange(n_tokens, device=device)
    absent = order >= counts
    positions = (starts + order).clamp(max=length - 1)  # of padding only: it must not read beside the tables
    pages = table.gather(1, positions // PAGE).masked_fill(absent, NOWHERE)
    sees = torch.arange(length, device=device) <= positions[..., None]  # (S, T, K); padding sees some key: no row is NaN by the mask alone
    slots = (pages * PAGE + positions % PAGE).flatten()
    return Places(positions, absent[..., None, None], slots, table.flatten(), sees.repeat(1, group, 1)[:, None])


def write(pages: Tensor, new: Tensor, places: Places) -> None:
    """pages: float16 (N, PAGE, H_kv, D), changed in place; new: (S, T, H_kv, D)."""
    rows = new.masked_fill(places.absent, 0).flatten(0, 1).to(pages.dtype)  # not times 0: a row that is not finite must not get there
    pages.view(-1, *pages.shape[2:]).index_copy_(0, places.slots, rows)


def attend(queries: Tensor, keys: Tensor, values: Tensor, places: Places) -> Tensor:
    """queries: (S, T, H, D), keys and values: float16 (N, PAGE, H_kv, D). Returns (S, T, H * D)."""
    S, T, H, D = queries.shape
    k, v = (_read(pages, places.table, S).to(queries.dtype) for pages in (keys, values))  # (S, H_kv, K, D)
    q = queries.view(S, T, k.shape[1], -1, D).permute(0, 2, 3, 1, 4).flatten(2, 3)  # (S, H_kv, group * T, D): no key is copied for a group
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=places.sees)
    return y.view(S, k.shape[1], -1, T, D).permute(0, 3, 1, 2, 4).reshape(S, T, H * D)


def weights(queries: Tensor, keys: Tensor, pages: Tensor, positions: Tensor) -> Tensor:
    """What some queries of one session look at, mean over heads, (n, K); beyond the position 0.

    queries: (n, H, D); keys: float16 (N, PAGE, H_kv, D); pages: int64 (P,), the session's; positions: int64 (n,).
    """
    k = _read(keys, pages, 1)[0].to(queries.dtype)  # (H_kv, K, D)
    q = queries.view(len(queries), k.shape[0], -1, queries.shape[2])  # (n, H_kv, group, D)
    scores = torch.einsum("nhgd,hkd->nhgk", q, k) * queries.shape[2] ** -0.5
    later = torch.arange(k.shape[1], device=k.device) > positions[:, None]
    return torch.softmax(scores.masked_fill(later[:, None, None], float("-inf")), dim=-1).mean(dim=(1, 2))


def _read(pages: Tensor, table: Tensor, n_sessions: int) -> Tensor:
    """(S, H_kv, P * PAGE, D)"""
    return pages.index_select(0, table).view(n_sessions, -1, *pages.shape[2:]).transpose(1, 2)
