"""What `talweg replay` and `talweg show` print of a replay."""

import io

import pytest
from rich.console import Console

from talweg.client.cli.commands.replay import print_replay
from talweg.v1.replay_pb2 import ReplayLayer, ReplayReport, ReplayRow


def report(name: str) -> ReplayReport:
    """Return a replay with the widest numbers that there are."""
    layer = ReplayLayer(
        name=name,
        output_mean=-1.23456e-100,
        output_sd=1.23456e-100,
        output_max=1.23456e-100,
        output_zeros=0.9999,
        output_bad=123456,
        gradient_norm=1.23456e-100,
        weight_norm=1.0,
        update_norm=1.234567,
    )
    return ReplayReport(
        job="jobs/abc",
        step=18402,
        from_step=18000,
        measure=ReplayReport.OWN_LOSS,
        num_rows=400,
        rows=[ReplayRow(row=123456789, sample=123456789, loss=-1.23456e-100, gradient_norm=1e-100)]
        * 30,
        layers=[layer] * 40,
    )


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize(
    "name", ["linear1", "backbone.stages.3.blocks.11.attention.projection.out"]
)
def test_tables_fit_the_terminal(name: str, width: int) -> None:
    out = Console(file=io.StringIO(), width=width)
    print_replay(out, report(name))
    assert isinstance(out.file, io.StringIO)
    lines = out.file.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    layers = [line for line in lines if line.startswith(name[:11])]
    # One line a layer, whose gradient and update are never left out.
    assert len(layers) == 30
    assert all(line.rstrip().endswith("123.46%") for line in layers)
    assert all("1.2346e-100" in line for line in layers)
    assert "and 10 more layers" in lines
    assert "and 390 more of 400 rows" in lines
