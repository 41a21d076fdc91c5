"""The files by which the process that computes is asked, and answers: all in one folder."""

from typing import Final

ORDER: Final = "order.binpb"
"""A TakePredictionResponse without its table."""

MODEL: Final = "model"
"""The folder of the model's files."""

TABLE: Final = "table"
"""The table; the ending of its format follows."""

PREDICTIONS: Final = "predictions"
"""The predictions; the ending of their format follows."""

RESULT: Final = "result.binpb"
"""A FinishPredictionRequest: the response without its table, or why there is none."""
