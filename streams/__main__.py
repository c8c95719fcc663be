"""`python -m streams`: one worker. Reads the settings, builds the models and the app, runs until it is told to stop.

Knows the environment, and is the only file of streams that does.
Next: streams/app.py
"""

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from models.config import TextSettings
from models.log_model import LogModel
from models.metric_model import MetricModel
from models.null import NullModel
from models.steps import SessionModel
from models.transformer import StreamingHierarchicalTransformer
from schemas.errors import StrataError
from schemas.events import MODALITIES
from schemas.known_settings import unknown_variables
from schemas.settings import load, toml_path
from streams.app import build_app
from streams.config import StreamConfig
from streams.delivery import run
from streams.tracing import Sampler


def build_models(config: StreamConfig) -> Mapping[str, SessionModel]:
    """The model of each modality; tokens and chat share one."""
    if config.model == "null":
        return {modality: NullModel() for modality in MODALITIES}
    text = StreamingHierarchicalTransformer.load(config.model_path, text_settings(config))
    return {"tokens": text, "chat": text, "logs": LogModel(settings=config.logs), "metrics": MetricModel(config.metrics)}


def text_settings(config: StreamConfig) -> TextSettings:
    """What is the text model's."""
    return TextSettings(config.buffer, config.hierarchical_update, config.state, config.topics, config.model_device)


def otlp_export(environ: Mapping[str, str]) -> Callable[[Sequence[ReadableSpan]], None]:
    """Sends spans by OTLP over HTTP in the background, when the SDK's variables name an endpoint."""
    if not (environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")):
        return lambda spans: None
    processor = BatchSpanProcessor(OTLPSpanExporter())

    def export(spans: Sequence[ReadableSpan]) -> None:
        for span in spans:
            processor.on_end(span)

    return export


def main() -> int:
    """Exit status 0 after TERM or INT, 2 on wrong settings, 1 on a failure."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for line in unknown_variables(os.environ):
        logging.getLogger("streams").warning("%s", line)
    try:
        config = load(StreamConfig, os.environ, toml_path(os.environ))
        sampler = Sampler.from_environment(os.environ)
    except StrataError as problem:
        print(f"strata worker: {problem}", file=sys.stderr)
        return 2
    try:
        app = build_app(config, build_models(config), sampler, otlp_export(os.environ))
    except (StrataError, ValueError) as problem:
        print(f"strata worker: {problem}", file=sys.stderr)
        return 1
    run(app)


if __name__ == "__main__":
    sys.exit(main())
