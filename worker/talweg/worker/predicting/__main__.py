"""The process of a prediction: `python -m talweg.worker.predicting PARENT_PID`.

It reads {"prediction", "token", "until", "worker"} from standard input, `until` being a time of
CLOCK_MONOTONIC; settings come from
TALWEG_* variables.
"""

import json
import logging
import os
import sys
import time

import grpc

from talweg.v1.workers_pb2 import FinishPredictionRequest, TakePredictionRequest
from talweg.worker.channels import Channel, ServerAwayError, call
from talweg.worker.confinement.privileges import hide_memory
from talweg.worker.parents import die_with_parent
from talweg.worker.predicting.answering import answer
from talweg.worker.settings import Settings

_NICENESS = 10
_REPORT_SECONDS = 5.0

log = logging.getLogger(__name__)


def main() -> None:
    """Take a prediction, have it computed, and report what it gave."""
    die_with_parent(int(sys.argv[1]))
    hide_memory()
    os.nice(_NICENESS)
    arguments = json.load(sys.stdin)
    until = arguments["until"]
    settings = Settings.from_env()
    logging.basicConfig(
        level=settings.log_level, format="%(asctime)s %(levelname)s predicting: %(message)s"
    )
    channel = Channel(settings.address)
    id_, token = arguments["prediction"], arguments["token"]
    try:
        request = TakePredictionRequest(prediction=id_, token=token, worker=arguments["worker"])
        order = call(channel.workers.TakePrediction, request, until=until)
        result = FinishPredictionRequest(prediction=id_, token=token)
        answer(order, result, settings, until=until)
        until = time.monotonic() + _REPORT_SECONDS
        call(channel.workers.FinishPrediction, result, until=until)
    except (ServerAwayError, grpc.RpcError) as exc:
        # The caller has left, or will be told by the server that nobody has answered.
        log.warning("a prediction is given up: %s", exc)
    finally:
        channel.close()


if __name__ == "__main__":
    main()
