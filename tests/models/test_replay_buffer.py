"""The replay buffer keeps its size, both its halves do what they say, and the same lines give the same bytes."""

import random
from collections import Counter

from models.learnable import Lesson
from models.replay_buffer import ReplayBuffer, is_held_out


def line(n: int, surprise: float = 0.0) -> Lesson:
    return Lesson(f"line {n}", (f"line {n - 1}",) if n else (), 6, 1.0, surprise)


def filled(n: int, capacity: int = 100, surprise=lambda n: 0.0) -> ReplayBuffer:
    buffer = ReplayBuffer(capacity)
    for number in range(n):
        buffer.add(line(number, surprise(number)))
    return buffer


def test_any_number_of_lines_is_kept_within_the_capacity() -> None:
    assert [len(filled(n)) for n in (10, 50, 100, 5000)] == [20, 100, 100, 100]
    assert len({lesson.text for _, lesson in filled(10).numbered()}) == 10  # a line in both halves is one line


def test_the_reservoir_gives_every_line_the_same_chance() -> None:
    buffer = filled(50_000, 1000)
    numbers = sorted(number for number, _ in buffer._even)
    tenths = Counter(number // 5_000 for number in numbers)
    assert len(numbers) == 500
    assert all(25 <= tenths[n] <= 80 for n in range(10)), tenths  # 50 each on average, sd 6.7


def test_the_other_half_is_drawn_by_surprise() -> None:
    buffer = filled(20_000, 1000, lambda n: 0.5 if n % 100 == 0 else 0.0)
    odd = [number for _, number, _ in buffer._odd]
    even = [number for number, _ in buffer._even]
    surprising = [sum(number % 100 == 0 for number in half) / len(half) for half in (odd, even)]
    assert surprising[0] > 0.2  # one line in a hundred of the stream, with 51 times the weight, and there are only 200
    assert surprising[1] < 0.05


def test_the_same_lines_give_the_same_bytes_and_a_packed_buffer_goes_on_as_if_nothing_had_been() -> None:
    rng = random.Random(1)
    surprises = [rng.random() for _ in range(3000)]
    whole = filled(3000, 100, surprises.__getitem__)
    first = filled(1234, 100, surprises.__getitem__)
    again = ReplayBuffer.unpack(first.pack())
    for n in range(1234, 3000):
        again.add(line(n, surprises[n]))
    assert again.pack() == whole.pack()
    assert list(again.numbered()) == list(whole.numbered())


def test_held_out_lines_are_never_replayed() -> None:
    buffer = filled(3000)
    held = {lesson.text for lesson in buffer.held_out()}
    replayed = {lesson.text for seed in range(20) for lesson in buffer.replayed(1000, seed)}
    assert held
    assert held.isdisjoint(replayed)
    assert held | replayed == {lesson.text for _, lesson in buffer.numbered()}
    assert 0.05 < sum(map(is_held_out, range(10_000))) / 10_000 < 0.15
    assert buffer.replayed(10, 1) == buffer.replayed(10, 1) != buffer.replayed(10, 2)
