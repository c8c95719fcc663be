"""Parts of the latent model: the encoder tells templates apart, each dynamics learns what follows, tails make views comparable."""

import numpy as np
import pytest
import torch

from models import latent_density, latent_dynamics
from models.latent_counts import Counts, key_of
from models.latent_dynamics import KINDS, Moves
from models.latent_encoder import CACHED, WIDTH, Encoder, unit
from models.latent_probation import Probation
from models.latent_sessions import Sessions
from models.latent_views import LINE_VIEWS, Tails, deviations_of

ENCODER = Encoder.shipped()


def test_a_template_has_one_latent_whatever_was_encoded_before_and_beside_it():
    texts = ["user <*> logged in", "disk <*> failed", "", "never <*> met [qzx]"]
    together = ENCODER.latents(texts)
    alone = np.stack([Encoder.shipped().latents([text])[0] for text in texts])
    assert np.array_equal(together, alone)
    assert np.allclose((together[[0, 1, 3]] ** 2).mean(1), 1.0, atol=1e-5)
    assert not together[2].any()


def test_near_texts_are_nearer_than_far_ones():
    same, near, far = ENCODER.latents(["connection to <*> refused", "connection from <*> refused", "GC paused for <*> ms"])
    assert np.linalg.norm(same - near) < np.linalg.norm(same - far)


def test_a_flood_of_templates_does_not_grow_the_table():
    encoder = Encoder(np.ones((4096, WIDTH), np.float32), np.zeros((8, WIDTH), np.float32))
    for at in range(0, CACHED * 2, 4096):
        encoder.latents([f"kind {'x' * (n % 7)} {n}" for n in range(at, at + 4096)])
    assert len(encoder._table.rows) <= CACHED
    assert encoder._table.latents.shape == (CACHED, WIDTH)


def cycle(n, seed):
    """Moves of a session that goes round four points, and as many to a wrong one of the four."""
    chance = np.random.default_rng(seed)
    points = np.stack([unit(row) for row in np.random.default_rng(9).normal(size=(4, WIDTH)).astype(np.float32)])
    at = chance.integers(0, 4, n)

    def moves(to):
        start, way, end = points[at], points[(at - 1) % 4], points[to]
        return Moves(*[torch.from_numpy(part.astype(np.float32)) for part in (start, way, np.full((n, 1), 0.5), end)])

    return moves((at + 1) % 4), moves((at + 3) % 4)


@pytest.mark.parametrize("kind", KINDS)
def test_each_dynamics_learns_which_line_follows_which(kind):
    usual, _ = cycle(256, 1)
    weights, moments = latent_dynamics.new_weights(kind, 0), {}
    for seed in range(60):
        weights, moments = latent_dynamics.learned(kind, weights, moments, usual, 3, seed)
    unseen_usual, unseen_wrong = cycle(64, 2)
    scores = [latent_dynamics.scores(kind, weights, moves).numpy() for moves in (unseen_usual, unseen_wrong)]
    assert (scores[0] >= 0).all()
    assert scores[0].max() < scores[1].min()
    assert scores[1].min() > 2 * scores[0].mean()
    again = latent_dynamics.new_weights(kind, 0)
    assert all(torch.equal(left, latent_dynamics.new_weights(kind, 0)[name]) for name, left in again.items())


def test_distance_is_in_standard_deviations_of_the_lines_learned():
    chance = np.random.default_rng(3)
    lines = (chance.normal(size=(20_000, WIDTH)) * 0.5 + 1.0).astype(np.float32)
    sums = latent_density.added(latent_density.new_sums(), lines)
    distances = latent_density.distances(sums, lines)
    assert abs(distances.mean()) < 0.05
    assert abs(distances.std() - 1.0) < 0.05
    assert latent_density.distances(sums, np.full((1, WIDTH), 3.0, np.float32))[0] > 6.0


def test_counts_give_each_value_its_share_and_novelty_the_share_of_values_seen_once():
    keys = np.array([key_of(text) for text in ["a"] * 90 + ["b"] * 8 + ["c", "d"]], np.uint64)
    family = np.full(len(keys), key_of("family"), np.uint64)
    counts = Counts.empty()
    for at in range(0, 100, 7):
        counts = counts.with_more(family[at : at + 7], keys[at : at + 7])
    asked = np.array([key_of(text) for text in "abcx"], np.uint64)
    assert np.allclose(counts.chance(family[:4], asked) * 101, [90, 8, 1, 2.1])
    other = np.full(4, key_of("another"), np.uint64)
    assert np.allclose(counts.chance(other, asked), 0.1)


def test_counts_do_not_depend_on_how_values_fall_into_lessons():
    chance = np.random.default_rng(5)
    keys, family = chance.integers(1, 300, 2000).astype(np.uint64), np.full(2000, 7, np.uint64)
    once = Counts.empty().with_more(family, keys)
    parts = Counts.empty()
    for part in np.array_split(np.arange(2000), 37):
        parts = parts.with_more(family[part], keys[part])
    assert np.array_equal(once.cells, parts.cells)


def test_chances_stay_chances_when_far_more_values_came_than_there_are_cells():
    chance = np.random.default_rng(2)
    counts = Counts.empty()
    for _ in range(20):
        keys = chance.integers(1, 1 << 62, 20_000).astype(np.uint64)
        counts = counts.with_more(np.repeat(keys[:10_000], 2), keys)
    share = counts.chance(keys, chance.integers(1, 1 << 62, 20_000).astype(np.uint64))
    assert ((share > 0.0) & (share <= 1.0)).all()


def test_an_invariant_between_two_templates_is_kept_where_their_counts_vary():
    opened, closed = key_of("opened"), key_of("closed")
    usual = [{opened: n, closed: n} for n in [1, 2, 3, 4, 5, 6, 7, 8] * 200]
    sessions = Sessions.empty().with_more(usual)
    assert sessions.chance({opened: 4, closed: 4})[0] > 0.05
    chance, left, right = sessions.chance({opened: 4, closed: 3})
    assert chance < 1e-3
    assert {left, right} == {opened, closed}
    assert sessions.chance({opened: 4})[0] < 1e-3


def test_more_templates_than_slots_displace_the_least_used():
    often, crowd = key_of("often"), [key_of(f"t{n}") for n in range(200)]
    sessions = Sessions.empty().with_more([{often: 1, one: 1} for one in crowd for _ in range(2)])
    assert often in sessions.places
    assert len(sessions.places) == len(sessions.slots) - 1


def test_a_view_that_is_loud_every_day_is_believed_less():
    chance = np.random.default_rng(1)
    quiet = chance.exponential(size=(len(LINE_VIEWS), 20_000))
    loud = quiet * np.array([[3.0], *[[1.0]] * (len(LINE_VIEWS) - 1)])
    tails = Tails.empty().with_more(0, loud)
    single, _ = tails.judged_lines(np.full((len(LINE_VIEWS), 1), 8.0))
    assert single[0, 0] > 20 * single[1, 0]


def test_any_of_the_views_is_as_rare_as_its_deviations_say():
    chance = np.random.default_rng(1)
    tails = Tails.empty()
    for _ in range(20):
        scores = chance.exponential(size=(len(LINE_VIEWS), 2000))
        tails = tails.with_more(0, tails.with_loudest(scores))
    _, together = tails.judged_lines(chance.exponential(size=(len(LINE_VIEWS), 50_000)))
    assert 0.2 < np.mean([deviations_of(one) >= 3.0 for one in together.tolist()]) / 0.00135 < 1.5


def test_probation_lets_a_quiet_window_through_and_drops_a_loud_one():
    rows = np.arange(20, dtype=np.uint64).reshape(20, 1)
    none, few, many = np.zeros(20, bool), np.arange(20) < 1, np.arange(20) < 9
    quiet, now, _ = Probation.empty(1, 40, 0.05).after(rows, few, False)
    assert len(now) == 0
    _, learned, is_quiet = quiet.after(rows, none, False)
    assert (len(learned), is_quiet) == (40, True)
    loud, _, _ = Probation.empty(1, 40, 0.05).after(rows, many, False)
    after, learned, is_quiet = loud.after(rows, none, False)
    assert (len(learned), is_quiet, after.seen, after.suspects) == (0, False, 0, 0)
    _, now, _ = Probation.empty(1, 40, 0.05).after(rows, few, True)
    assert len(now) == 19


def test_what_is_held_makes_a_window_loud_and_is_never_learned_and_what_was_released_is_learned_in_a_loud_one():
    rows, none = np.arange(40, dtype=np.uint64).reshape(40, 1), np.zeros(40, bool)
    few, many = np.arange(40) < 2, np.arange(40) < 9
    _, learned, is_quiet = Probation.empty(1, 40, 0.05).after(rows, none, False, few)
    assert (len(learned), is_quiet) == (38, True)
    _, learned, is_quiet = Probation.empty(1, 40, 0.05).after(rows, none, False, many)
    assert (len(learned), is_quiet) == (0, False)
    _, learned, is_quiet = Probation.empty(1, 40, 0.05).after(rows, np.arange(40) >= 20, False, None, many)
    assert (learned[:, 0].tolist(), is_quiet) == (list(range(9)), False)
