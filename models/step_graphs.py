"""One CUDA graph for each shape of step: recorded when the shape is first met, replayed from then on.

Knows buffers at fixed addresses, and that recordings are bounded; leaves what is recorded to paged_step.py. On a CPU nothing is recorded:
the same step runs, through the same buffers.
Next: models/paged_step.py
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.paged_shapes import Shape
from models.paged_step import PagedStep, fill_sinks

Outputs = tuple[Tensor, Tensor]
Record = Callable[[Callable[[], Outputs]], Callable[[], Outputs]]
"""Takes a step over fixed buffers, gives what runs it again."""
MOST_GRAPHS = 96
"""Kept; the least recently used goes first. All shapes of the shipped model are 71 (tests/models/test_paged_encoder.py)."""
WARM_UPS = 2
"""Runs before a recording, in which libraries set up what may not be set up in one. A step that is run again changes nothing."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A shape's buffers and what runs the step over them."""

    rows: Tensor
    sinks: Tensor
    run: Callable[[], Outputs]


class StepGraphs:
    """Runs steps, each shape through its own buffers."""

    def __init__(self, step: PagedStep, record: Record, most: int = MOST_GRAPHS):
        self.step, self.record, self.most = step, record, most
        self.recorded: OrderedDict[Shape, Recorded] = OrderedDict()

    def __call__(self, shape: Shape, rows: np.ndarray, memories: dict[int, Tensor]) -> Outputs:
        """rows: int64 (S, T + 2 + P); memories: session of the batch -> what its sinks carry. The outputs last until the next call."""
        found = self.recorded.pop(shape, None)
        buffers = (found.rows, found.sinks) if found else self.step.inputs(shape)
        buffers[0].copy_(torch.from_numpy(rows))
        buffers[1].zero_()
        for session, memory in memories.items():
            fill_sinks(buffers[1], session, memory)
        found = found or Recorded(*buffers, self.record(lambda: self.step(shape, *buffers)))
        while len(self.recorded) >= self.most:
            self.recorded.popitem(last=False)
        self.recorded[shape] = found
        return found.run()


def as_it_is(run: Callable[[], Outputs]) -> Callable[[], Outputs]:
    """Record nothing."""
    return run


class CudaGraphs:
    """Records CUDA graphs that share their memory: only one at a time is replayed, and its outputs are read before the next is."""

    def __init__(self) -> None:
        self.memory = torch.cuda.graph_pool_handle()

    def __call__(self, run: Callable[[], Outputs]) -> Callable[[], Outputs]:
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                run()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.memory, capture_error_mode="thread_local"):  # other threads may use the device meanwhile
            outputs = run()

        def replay() -> Outputs:
            graph.replay()
            return outputs

        return replay
