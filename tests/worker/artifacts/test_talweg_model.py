"""What MLflow's pyfunc takes: data frames by name, arrays of any numbers, lists."""

import json
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PyFuncModel, scoring_server
from torch import Tensor, nn

from talweg.worker.artifacts import mlflow_flavour

NAMES = ("height", "weight", "age")
ROWS = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.5]]


class Weighted(nn.Module):
    """1 height + 10 weight + 100 age: an order of columns that is wrong shows."""

    input_names = NAMES

    def forward(self, x: Tensor) -> Tensor:
        return x @ torch.tensor([[1.0], [10.0], [100.0]])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PyFuncModel:
    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder}/mlflow.db"
    client = mlflow.MlflowClient(uri)
    experiment = client.create_experiment("models", artifact_location=f"{folder}/files")
    run = client.create_run(experiment)
    logged = client.create_logged_model(experiment, name="model", source_run_id=run.info.run_id)
    module: Any = Weighted().eval()
    mlflow_flavour.log_model(
        module,
        torch.tensor(ROWS),
        run_id=run.info.run_id,
        model_id=logged.model_id,
        tracking_uri=uri,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
        loaded: PyFuncModel = mlflow.pyfunc.load_model(f"models:/{logged.model_id}")
        return loaded


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_arrays_of_any_numbers_are_taken(model: PyFuncModel, dtype: type) -> None:
    np.testing.assert_allclose(model.predict(np.array(ROWS, dtype)), [[321.0], [704.0]])


def test_lists_and_integers_are_taken(model: PyFuncModel) -> None:
    np.testing.assert_allclose(model.predict([[1, 2, 3]]), [[321.0]])


def test_columns_are_taken_by_name_in_any_order(model: PyFuncModel) -> None:
    frame = pd.DataFrame(ROWS, columns=NAMES, index=["a", "b"])
    frame["left out"] = "text"
    predicted: Any = model.predict(frame[["age", "left out", "height", "weight"]])
    assert list(predicted.index) == ["a", "b"]
    np.testing.assert_allclose(predicted, [[321.0], [704.0]])


def test_unnamed_columns_are_taken_by_position(model: PyFuncModel) -> None:
    np.testing.assert_allclose(model.predict(pd.DataFrame(ROWS)), [[321.0], [704.0]])


def test_the_example_is_taken(model: PyFuncModel) -> None:
    example: Any = model.metadata.load_input_example()
    np.testing.assert_allclose(model.predict(example), [[321.0], [704.0]])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pd.DataFrame([[1.0, 2.0]], columns=["height", "age"]), r"lacks the columns \['weight'\]"),
        ([[1.0, 2.0]], r"shape \(1, 2\); this model takes \(N, 3\)"),
        ([1.0, 2.0, 3.0], r"shape \(3,\); this model takes \(N, 3\)"),
        ([["tall", 2.0, 3.0]], "not all numbers"),
    ],
)
def test_what_does_not_fit_is_refused(model: PyFuncModel, data: Any, message: str) -> None:
    with pytest.raises(MlflowException, match=message):
        model.predict(data)


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["age", "height", "weight"], "data": [[3, 1, 2]]}},
        {"dataframe_records": [{"weight": 2, "age": 3, "height": 1.0}]},
        {"inputs": [[1.0, 2.0, 3.0]]},
        {"instances": [[1, 2, 3]]},
    ],
)
def test_it_can_be_served(model: PyFuncModel, body: dict[str, Any]) -> None:
    invocations: Any = scoring_server.invocations
    metadata: Any = model.metadata
    answer = invocations(
        json.dumps(body),
        scoring_server.CONTENT_TYPE_JSON,
        model,
        metadata.get_input_schema(),
    )
    assert answer.status == 200, answer.response
    (row,) = json.loads(answer.response)["predictions"]
    assert list(row.values() if isinstance(row, dict) else row) == [321.0]
