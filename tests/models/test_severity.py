"""Severity by words: what a message says of itself, the same whatever came before, bounded, and learned from source code."""

import math
import re

import numpy as np
import pytest

from models.masking import HOLE, mask
from models.severity import SEVERITIES
from models.severity_features import READ_CHARS, ROWS, THROWN, WITH_DENIAL, WITH_EXCEPTION, features, signs
from models.severity_model import CACHED, FIRST, LEVELS_LEARNED, WEIGHTS, load, shipped
from models.training import severity as training
from models.training.severity_calibration import LEANS, PRIOR, calibration, chances, figures, stream_weights
from models.training.severity_statements import Statement, of_source, statements
from models.training.severity_texts import WRITTEN


def read(message: str) -> str:
    return SEVERITIES[shipped().read(mask(message)[0], message)[0]]


@pytest.mark.parametrize(
    ("message", "severity"),
    [
        ("failed to open file /x: Permission denied", "error"), ("0 errors found", "informational"), ("FATAL: cannot go on", "critical"),
        ("Kernel panic - not syncing", "emergency"), ("disk usage exceeds 90%", "warning"), ("Warning: low disk space", "warning"),
        ("server started on port 80", "informational"), ("User bob logged in", "informational"), ("java.io.IOException: gone", "error"), ("", "informational"),
        ("out of memory, killing process 7", "critical"), ("entering function bar()", "debug"),
    ],
)  # fmt: skip
def test_words_tell_the_severity(message, severity):
    assert read(message) == severity


def test_a_level_word_in_front_decides():
    for word, level in (("ERROR", "error"), ("WARNING", "warning"), ("FATAL", "critical"), ("NOTICE", "notice")):
        assert read(f"{word}: job 7 of 9 is at the gate") == level


def test_a_reading_does_not_depend_on_what_was_read_before():
    fresh, used = load(WEIGHTS), load(WEIGHTS)
    messages = [f"{word} {n} {word}s" for n in range(9) for word in ("error", "block", "java.io.IOException:", "no error")]
    for n in range(CACHED + 100):
        used.read(f"text {'x' * (n % 100)} {'y' * (n // 100)}", "")
    assert [used.read(mask(m)[0], m) for m in reversed(messages)][::-1] == [fresh.read(mask(m)[0], m) for m in messages]
    assert len(used.known) <= CACHED


def test_confidence_is_a_probability():
    for message in ("", "error", "a b c " * 400, HOLE, "é" * 900, "{" * 999, "\ud800"):
        number, confidence, source = shipped().read(mask(message)[0], message)
        assert 0 <= number <= 7
        assert 0 < confidence <= 1
        assert source in ("model", "keyword")


def test_what_stands_after_the_first_characters_changes_nothing():
    start = "block is fine " * (READ_CHARS // 10)
    assert features(start + "error") == features(start + "good")
    assert all(0 <= row < ROWS for row in features("a b ERROR=7 x.y(z) 12"))


def test_what_masking_takes_away_is_still_seen():
    message = "java.io.IOException: gone"
    assert signs(mask(message)[0], message) == WITH_EXCEPTION | THROWN
    message = "finished with errors=0"
    assert signs(mask(message)[0], message) == WITH_DENIAL
    assert signs("all is well", "all is well") == 0


# the training


def test_a_logger_call_gives_its_level_and_its_message_with_holes(tmp_path):
    sources = {
        "A.java": """LOG.warn("Slow read of " + block + " took " + ms + " ms"); if (x) { log.error("cannot open {}", path, e); }""",
        "b.py": """logger.info("Got %d rows from %s", n, url)\nlog.debug(f"cache has {len(cache)} entries")""",
        "c.c": """ngx_log_error(NGX_LOG_NOTICE, cycle->log, 0, "start worker " "processes"); serverLog(LL_WARNING,"Can't save: %s", err);""",
        "d.go": """klog.ErrorS(err, "Failed to watch", "pod", p); level.Warn(logger).Log("msg", "slow scrape", "took", d)
            return fmt.Errorf("no statement: %w", err); s.Noticef("Server is ready")""",
        "test_d.py": """logger.info("nothing of a test is read")""",
    }
    for name, source in sources.items():
        (tmp_path / name).write_text(source)
    assert [(s.severity, s.message.replace(HOLE, "<*>")) for s in statements("p", tmp_path)] == [
        (4, "Slow read of <*> took <*> ms"), (3, "cannot open <*>"), (6, "Got <*> rows from <*>"), (7, "cache has <*> entries"),
        (5, "start worker processes"), (4, "Can't save: <*>"), (3, "Failed to watch"), (4, "slow scrape"), (5, "Server is ready"),
    ]  # fmt: skip


def test_hostile_source_is_read_in_time():
    for source in ("LOG.warn(" * 4_000, 'log.info("' + '"' * 50_000, "LOG.error(" + "(" * 50_000, 'LOG.info("' + "{" * 50_000):
        list(of_source("p", source, re.compile(r"\b(?:LOG|log)\.(?P<level>warn|info|error)\(")))


def test_programs_that_are_measured_on_are_not_learned_from(tmp_path):
    (tmp_path / "hadoop-common").mkdir()
    with pytest.raises(ValueError, match="hadoop-common"):
        training.all_statements(tmp_path)


def drawn(sharpness: float) -> tuple[np.ndarray, list[Statement]]:
    """6,000 statements of 20 programs that speak for their level with noise, and their true log odds under PRIOR divided by the sharpness."""
    chance = np.random.default_rng(1)
    levels = np.arange(6000) % LEVELS_LEARNED
    seen = chance.normal(0, 1, (6000, LEVELS_LEARNED)) + 2.0 * np.eye(LEVELS_LEARNED)[levels]
    logits = (2.0 * seen - 2.0 + np.log(list(PRIOR.values()))) / sharpness
    return logits, [Statement(f"p{n % 20}", int(level) + FIRST, str(n)) for n, level in enumerate(levels)]


@pytest.mark.parametrize("sharpness", [0.6, 1.0, 1.4])
def test_calibration_finds_how_sharp_logits_are(sharpness):
    logits, told = drawn(sharpness)
    assert calibration(logits, told).slope == pytest.approx(sharpness, abs=0.1)


def test_a_lean_says_the_gravest_level_more_often_and_leaves_confidences_alone():
    plain, leaning = load(WEIGHTS), load(WEIGHTS)
    plain.lean, leaning.lean = 0.0, 3.0
    messages = [
        f"{word} {thing}" for word in ("fatal", "corrupt", "halted", "session opened for", "slow") for thing in ("disk", "node", "job")
    ]
    before, after = ([model.read(mask(m)[0], m) for m in messages] for model in (plain, leaning))
    assert sum(number == 2 for number, _, _ in before) < sum(number == 2 for number, _, _ in after)
    for message, (number, confidence, source) in zip(messages, after):
        if source == "model":
            shares = chances(plain.logits(mask(message)[0], 0)[None], plain.slope)[0]
            assert confidence == pytest.approx(shares[number - FIRST], abs=1e-3)


def test_the_lean_is_the_one_worth_most():
    logits, told = drawn(1.0)
    levels, weights = np.array([s.severity for s in told]), stream_weights(told)
    found = calibration(logits, told)
    assert found.figures.worth == max(figures(logits, levels, weights, found.slope, lean).worth for lean in LEANS)


def test_each_level_counts_as_often_as_a_stream_shows_it():
    _, told = drawn(1.0)
    weights, levels = stream_weights(told), np.array([s.severity for s in told])
    assert {level: round(float(weights[levels == level].sum()), 6) for level in PRIOR} == pytest.approx(PRIOR, abs=1e-6)


def test_a_text_is_written_for_one_level_alone():
    texts = [text for level in WRITTEN.values() for text in level.strip().splitlines()]
    assert len(texts) == len(set(texts))


def test_training_learns_what_the_statements_say():
    told = [
        Statement(f"p{n % 6}", level, f"{word} {HOLE} of {thing}")
        for n in range(6)
        for level, word in ((3, "blorp"), (6, "quux"), (7, "zin"))
        for thing in ("disks", "nodes", "jobs", "files")
    ]
    model = training.fitted([*told, *training.with_texts([])], passes=30)
    for level, word in ((3, "blorp"), (6, "quux"), (7, "zin")):
        assert model.read(f"{word} {HOLE} of disks", "")[0] == level
    assert math.isfinite(float(model.bias.sum()))
