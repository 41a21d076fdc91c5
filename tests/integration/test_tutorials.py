"""The tutorials run in a kernel as they stand, and show what they promise."""

import re
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode
from tests.integration.stack import Stack

TUTORIALS = Path(__file__).parents[2] / "docs/tutorials"


@pytest.fixture
def executed(
    stack: Stack,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> NotebookNode:
    """The notebook of the test's parameter, with its outputs."""
    folder = shutil.copytree(TUTORIALS, tmp_path / "tutorials")
    monkeypatch.setenv("TALWEG_ADDRESS", stack.address)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    path = folder / f"{request.param}.ipynb"
    notebook: NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    assert not any(cell.get("outputs") for cell in notebook.cells)
    client = NotebookClient(
        notebook, timeout=600, startup_timeout=300, resources={"metadata": {"path": folder}}
    )
    client.execute()
    return notebook


def outputs(notebook: NotebookNode, source: str) -> str:
    """Return all that the cell with a piece of source showed, as text and HTML."""
    (cell,) = [cell for cell in notebook.cells if source in cell.source and "outputs" in cell]
    shown: list[str] = []
    for output in cell.outputs:
        shown += [output.text] if "text" in output else map(str, output.get("data", {}).values())
    return "\n".join(shown)


@pytest.mark.parametrize("executed", ["compare_losses"], indirect=True)
def test_losses_are_compared_on_a_csv(executed: NotebookNode) -> None:
    assert "body_mass_g" in outputs(executed, "column.num_missing")
    assert "rows 4, 272" in outputs(executed, "InvalidSpec")
    # In a real kernel a wait shows a bar for each job, all full at the end.
    waited = outputs(executed, "submit_many")
    assert waited.count("60/60") >= 9
    table = outputs(executed, "client.compare")
    assert all(loss in table for loss in ("mse", "mae", "huber"))
    assert "<svg" in table
    assert "scikit-learn" in outputs(executed, "comparison.notes")
    assert "prediction" in outputs(executed, "best.predict")


@pytest.mark.parametrize("executed", ["fine_tune_images"], indirect=True)
def test_a_network_is_fine_tuned_on_a_folder_of_images(executed: NotebookNode) -> None:
    assert "noisy-digits" in outputs(executed, "client.upload(noisy)")
    (accuracy,) = re.findall(r"^[01]\.\d*$", outputs(executed, "trained.wait()"), re.M)
    assert float(accuracy) > 0.9
    assert "14 tensors were taken, 0 are new" in outputs(executed, "taken_weights")
    # What the tutorial is there to show: the fine-tuned group stands first.
    means = re.findall(r"mean=([\d.]+)", outputs(executed, "client.compare"))
    assert float(means[0]) > float(means[1]) + 0.05
    assert outputs(executed, "model.classes").count("'7'") >= 3


@pytest.mark.parametrize("executed", ["why_a_run_diverged"], indirect=True)
def test_the_cause_of_a_divergence_is_found(executed: NotebookNode) -> None:
    assert "DIVERGED" in outputs(executed, "job.outcome.message")
    assert "SUCCEEDED" in outputs(executed, "calm.wait()")
    assert "9999.0" in outputs(executed, "parts.iloc")
    (losses,) = re.findall(
        r"loss ([\d.e-]+), without row 137: ([\d.e-]+)", outputs(executed, "without.wait()")
    )
    assert float(losses[0]) > 100 * float(losses[1])
