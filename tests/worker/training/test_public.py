import pytest

from talweg.worker import data, models, tasks, training

NAMES = {
    data: {
        "DIVIDED",
        "LOADERS",
        "DataBundle",
        "Inputs",
        "DataSplit",
        "RawData",
        "StandardScaler",
        "StoredInfo",
        "load",
        "ring_centres",
        "warnings_of",
    },
    models: {
        "CategoryBlock",
        "LAYERS",
        "MODELS",
        "SIDES",
        "GeneratorAndCritic",
        "HeadShape",
        "VariationalAutoencoder",
        "build",
        "draw",
        "share_answers",
    },
    tasks: {
        "TASKS",
        "Array",
        "Batch",
        "EvalResult",
        "MetricAccumulator",
        "StepInfo",
        "OneTarget",
        "Predictions",
        "TaskEntry",
        "TaskRunner",
        "DryRun",
        "make",
        "measure",
        "shuffled",
    },  # fmt: skip
    training: {
        "Control",
        "NeverStop",
        "NoStore",
        "NullReporter",
        "RecordingReporter",
        "Reporter",
        "Result",
        "Snapshot",
        "Stop",
        "Store",
        "continued",
        "run",
    },
}


@pytest.mark.parametrize("package", NAMES, ids=lambda package: package.__name__)
def test_public_names_are_meant(package: object) -> None:
    assert set(package.__all__) == NAMES[package]  # type: ignore[attr-defined, index]
