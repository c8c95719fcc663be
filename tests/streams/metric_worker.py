"""`python -m tests.streams.metric_worker`: a worker as streams/__main__.py makes it, without the text model that metrics do not need."""

import logging
import os
import sys

from models.metric_model import MetricModel
from models.null import NullModel
from schemas.events import MODALITIES
from schemas.settings import load
from streams.app import build_app
from streams.config import StreamConfig
from streams.delivery import run

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    config = load(StreamConfig, os.environ)
    run(build_app(config, {**{m: NullModel() for m in MODALITIES}, "metrics": MetricModel(config.metrics)}))
