"""Both detectors decide as river's do, value for value; a packed one goes on; memory is bounded."""

import random

import pytest

from models.drift import Adwin, PageHinkley

river_drift = pytest.importorskip("river.drift")


def steps(seed: int, n: int = 4000) -> list[float]:
    """Noise whose mean jumps every few hundred values."""
    rng = random.Random(seed)
    values: list[float] = []
    while len(values) < n:
        mean, spread = rng.random() * 0.6, rng.random() * 0.3
        values += [min(1.0, max(0.0, rng.gauss(mean, spread))) for _ in range(rng.randint(100, 1500))]
    return values[:n]


def fires(detector, values) -> list[int]:
    return [n for n, value in enumerate(values) if detector.update(value)]


def river_fires(detector, values) -> list[int]:
    found = []
    for n, value in enumerate(values):
        detector.update(value)
        if detector.drift_detected:
            found.append(n)
    return found


@pytest.mark.parametrize("seed", range(6))
def test_adwin_fires_where_rivers_does(seed: int) -> None:
    values = steps(seed)
    ours = fires(Adwin(), values)
    assert ours == river_fires(river_drift.ADWIN(), values)
    assert ours


@pytest.mark.parametrize("seed", range(6))
def test_page_hinkley_fires_where_rivers_does(seed: int) -> None:
    values = steps(seed)
    ours = fires(PageHinkley(threshold=3), values)
    assert ours == river_fires(river_drift.PageHinkley(threshold=3, mode="up"), values)
    assert ours


@pytest.mark.parametrize("make", [Adwin, lambda: PageHinkley(threshold=3)])
def test_a_packed_detector_goes_on_as_if_nothing_had_been(make) -> None:
    values = steps(7)
    whole = fires(make(), values)
    first, second = make(), make()
    found = fires(first, values[:1777])
    second.restore(first.pack())
    assert found + [1777 + n for n in fires(second, values[1777:])] == whole


def test_adwins_window_is_bounded() -> None:
    detector = Adwin(sizes=8)
    rng = random.Random(3)
    for _ in range(20_000):
        detector.update(rng.random() * 0.1)
    assert detector.width <= 6 * (2**8)
    assert sum(map(len, detector.rows)) <= 6 * 8
    assert detector.spread >= 0
    assert abs(detector.mean - 0.05) < 0.01
