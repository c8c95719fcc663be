"""The trunk as a whole: a causal transformer over token ids, whole sequences at once.

Knows blocks of attention and feed-forward layers; leaves caches to encoder.py, which uses these weights.
Next: models/encoder.py
"""

import torch.nn.functional as F
from torch import Tensor, nn

from models.attention import full_attention, rotary_tables, rotate
from models.config import MARKS, ModelConfig


class Block(nn.Module):
    """Attention and feed-forward, each behind an RMSNorm and added to its input."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        key_width = config.n_kv_heads * config.head_size
        self.attention_norm = nn.RMSNorm(config.width, eps=1e-5)
        self.qkv = nn.Linear(config.width, config.width + 2 * key_width, bias=False)
        self.output = nn.Linear(config.width, config.width, bias=False)
        self.feed_norm = nn.RMSNorm(config.width, eps=1e-5)
        self.gate_up = nn.Linear(config.width, 2 * config.feed_forward, bias=False)
        self.down = nn.Linear(config.feed_forward, config.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        c = self.config
        B, T, _ = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(B, T, c.n_heads + 2 * c.n_kv_heads, c.head_size)
        qk = rotate(qkv[:, :, : c.n_heads + c.n_kv_heads], cos, sin)
        q, k = qk.transpose(1, 2).split((c.n_heads, c.n_kv_heads), dim=1)  # (B, H, T, D)
        v = qkv[:, :, c.n_heads + c.n_kv_heads :].transpose(1, 2)
        y = full_attention(q.to(v.dtype), k.to(v.dtype), v)
        x = x + self.output(y.transpose(1, 2).reshape(B, T, c.width))
        gate, up = self.gate_up(self.feed_norm(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


class Trunk(nn.Module):
    """Token ids to hidden states, whole sequences at once: for training, and the oracle of the cached encoder."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = nn.RMSNorm(config.width, eps=1e-5)
        cos, sin = rotary_tables(config.max_positions, config.head_size, config.rope_base)
        self.cos: Tensor
        self.sin: Tensor
        self.register_buffer("cos", cos[:, None], persistent=False)
        self.register_buffer("sin", sin[:, None], persistent=False)

    def forward(self, ids: Tensor, memory: Tensor | None = None) -> Tensor:
        """ids: int64 (B, T). Returns the normalised hidden states, (B, T, C); logits are these times the embedding.

        memory: float32 (B, n_sinks - MARKS, C), added to the embeddings of the sinks behind the marks; None for nothing.
        """
        x = self.embedding(ids)
        if memory is not None:
            behind = x.shape[1] - MARKS - memory.shape[1]
            x = x + F.pad(memory, (0, 0, MARKS, behind)).to(x.dtype)
        cos, sin = self.cos[: ids.shape[1]], self.sin[: ids.shape[1]]
        for block in self.blocks:
            x = block(x, cos, sin)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden @ self.embedding.weight.t()
