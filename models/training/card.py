"""The model card: what the weights are, how they were made and what they were measured to do, in numbers of that very run.

Knows words; leaves figures to text_figures.py. Next: models/checkpoint.py
"""

from typing import Any

from models.config import ModelConfig
from models.heads import Calibration

SOURCES = """\
| set | part | licence |
|---|---|---|
| standardebooks | train chapters | text public domain in the United States, edition CC0 |
| peps | train documents | public domain / CC0 as stated in each document |
| prometheus_docs | 95 % by hash | Apache-2.0 |
| wikitext2_valid | first nine tenths | CC BY-SA (Wikipedia) |
| wiki300 | train articles | CC BY-SA (Wikipedia) |
| qmsum_meetings | train meetings | MIT; its README asks for research use |
| aci_bench, mts_dialog | train | CC BY 4.0 |
| sgd_multi | train | CC BY-SA 4.0 |
| superdialseg, tiage | train | MIT |
| dialseg711 | train | its source has no licence file; the same dialogues, minus their last turn, are in the MIT bundle of Def-DTS |

loghub was not used: its licence does not allow weights to be passed on. No `test` part was read, for training or for choosing anything."""


def write(config: ModelConfig, calibration: Calibration, run: dict[str, Any], figures: dict[str, Any], language: dict[str, float]) -> str:
    """MODEL_CARD.md."""
    segments = "\n".join(
        f"| {s} | {f['documents']} | {f['pk']:.3f} | {f['wd']:.3f} | {f['f1']:.3f} | **{f['score']:.3f}** | {f['no_boundary_score']:.3f} |"
        for s, f in figures["segments"].items()
    )
    labels = "\n".join(f"| {s} | {f['n']} | **{f['accuracy']:.3f}** | {f['most_common']:.3f} |" for s, f in figures["labels"].items())
    errors = "\n".join(f"| {name} | {value:.3f} |" for name, value in figures["ece"].items())
    return f"""# Model card: text-small

Streaming hierarchical transformer of Strata for `tokens` and `chat`: reads live text causally, keeps sentence, paragraph, topic and document
states, decides topic shifts, labels the topic being read, and measures surprise.

- {run["parameters"]:,} parameters: a causal trunk ({config.n_layers} layers, {config.width} wide, {config.n_heads} heads, {config.n_kv_heads} key heads,
  rotary, RMSNorm, SwiGLU, window {config.max_positions} with {config.n_sinks} sinks) and the levels above it ({config.sentence_width} wide). Stored in
  half precision, computed in float32. Vocabulary {config.vocab_size}, byte-level BPE.
- Labels ({len(config.labels)}): {", ".join(config.labels)}.
- Made in an hour on shared CPU cores. It is no judge of medical, legal or safety matters; labels of your own are told by likeness alone, and English is the only language it has met in any quantity.

## Training
`{run["command"]}`, seed {run["seed"]}. {run["history"]}

Stage one: next token on text, and on dialogues outside the four labelled chat sets (dialseg711, superdialseg, tiage, sgd_multi). Stage two: next token, topic shift, topic label, session label, and what
the teacher (MiniLM) says each sentence means, on the train parts; also MTS-Dialog's dialogues and notes joined into visits and notes of one to five sections, and ACI-Bench's notes with
their headings{f"; without {run['without']}" if run.get("without") else ""}. Stage three: thresholds, temperatures, biases and what the session's n-grams weigh, on dev. The same seed, steps and data give the same run (docs/training.md).

{SOURCES}

## Held-out figures
Measured on the running (streaming, half-precision-stored) model. The calibration that ships was fitted on all dev documents; these figures are
cross-fitted: each half of the dev documents under a calibration of the other half; talks of MTS-Dialog stand in several sets, so some in both (the two weights by which labels are mixed over a segment and a session were chosen on all of dev). SGD dev: first {run["sgd_limit"]} dialogues.

Topic segments, decided at the item or sentence itself, from the past only (Pk, WindowDiff, F1, Score as in SuperDialseg; last column: the
Score of never finding a boundary). DialSeg711 in-domain is mostly finding the seam between joined dialogues; 194 of 250 SuperDialseg dev dialogues
share their first two turns with a train dialogue.

| set | documents | Pk | WD | F1 | Score | none |
|---|---|---|---|---|---|---|
{segments}

Labels (`topic`: of each utterance's or sentence's topic, told right then; `document`: of the whole session at its end; last column: share of the most common label).

| set | n | accuracy | most common |
|---|---|---|---|
{labels}

Expected calibration error, 15 equal-mass bins:

| head | ECE |
|---|---|
{errors}

Plain text held out ({language["bytes"]:,} bytes of dev books, PEPs, documentation and Wikipedia), bits per byte, the session's own n-grams in it: **model {language["model"]:.3f}**,
xz -9e {language["xz"]:.3f}, gzip -9 {language["gzip"]:.3f} (both over the whole text as one file).

Calibration: {calibration}.
"""
