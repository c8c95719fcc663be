"""Predictions on a stream as one writes them first: Quix Streams, and for every record the whole window through a model again.

A rival of the worker, run as a process in its own environment; knows nothing of ours. The window is the session's state; a record adds
its tokens, the transformer (as large as ours: width 256, 4 layers, 8 heads on 2, feed-forward 640, window 512, 4096 words) reads all of it,
one session at a time, and says how surprising the new tokens are and which of 16 topics the window is of, for every record. Weights are
random, which changes no time. Torch has both cores, as it takes them.
"""

import zlib
from typing import Any

import torch
import torch.nn.functional as F
from quix_app import begin
from torch import Tensor, nn

WIDTH, LAYERS, HEADS, KV_HEADS, FEED, WINDOW, WORDS, TOPICS = 256, 4, 8, 2, 640, 512, 4096, 16
HEAD = WIDTH // HEADS


class Block(nn.Module):
    """Attention and gated feed-forward, each behind a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.feed_norm = nn.RMSNorm(WIDTH), nn.RMSNorm(WIDTH)
        self.q, self.out = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.k, self.v = nn.Linear(WIDTH, KV_HEADS * HEAD, bias=False), nn.Linear(WIDTH, KV_HEADS * HEAD, bias=False)
        self.gate, self.up = nn.Linear(WIDTH, FEED, bias=False), nn.Linear(WIDTH, FEED, bias=False)
        self.down = nn.Linear(FEED, WIDTH, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        n = x.shape[1]
        y = self.norm(x)
        q = self.q(y).view(1, n, HEADS, HEAD).transpose(1, 2)
        k = self.k(y).view(1, n, KV_HEADS, HEAD).transpose(1, 2)
        v = self.v(y).view(1, n, KV_HEADS, HEAD).transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.out(y.transpose(1, 2).reshape(1, n, WIDTH))
        y = self.feed_norm(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    left, right = x.chunk(2, dim=-1)
    return torch.cat((left * cos - right * sin, right * cos + left * sin), dim=-1)


class Model(nn.Module):
    """A causal language model with a head for topics."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm, self.topics = nn.RMSNorm(WIDTH), nn.Linear(WIDTH, TOPICS)
        angles = torch.outer(torch.arange(WINDOW).float(), 10000.0 ** (-torch.arange(0, HEAD, 2).float() / HEAD))
        self.cos, self.sin = angles.cos(), angles.sin()

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """ids: int64 (1, T). Returns logits of the next word (1, T, WORDS) and of the topic (1, TOPICS)."""
        x, n = self.embedding(ids), ids.shape[1]
        for block in self.blocks:
            x = block(x, self.cos[:n], self.sin[:n])
        x = self.norm(x)
        return F.linear(x, self.embedding.weight), self.topics(x.mean(1))


def tokens_of(text: str) -> list[int]:
    """Word ids, about two for a piece as the worker's tokenizer gives."""
    halves = (text[: (len(text) + 1) // 2], text[(len(text) + 1) // 2 :])
    return [zlib.crc32(half.encode()) % WORDS for half in halves if half]


def main() -> None:
    app, source, target = begin(__doc__, "json")
    torch.manual_seed(0)
    model = Model().eval()

    @torch.inference_mode()
    def predict(value: dict[str, Any], state: Any) -> dict[str, Any]:
        new = tokens_of(value["text"])
        window = [*(state.get("window") or ()), *new][-WINDOW:]
        state.set("window", window)
        logits, topics = model(torch.tensor([window]))
        n = min(len(new), len(window) - 1)
        nats = F.cross_entropy(logits[0, -n - 1 : -1], torch.tensor(window[-n:])).item() if n else 0.0
        shares = topics.softmax(-1)[0]
        return {
            "session_id": value["session_id"],
            "topic": int(shares.argmax()),
            "confidence": float(shares.max()),
            "nats": nats,
        }

    app.dataframe(source).apply(predict, stateful=True).to_topic(target)
    app.run()


if __name__ == "__main__":
    main()
