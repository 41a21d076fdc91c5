"""Losses from plug-ins: the example package, installed as an operator would, and worse ones."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests._plugins import EXAMPLE_MODULE, install_example, write_package
from tests.worker.training.jobs import flat, job, run, trained

from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.worker.errors import UserSpecError
from talweg.worker.losses import OwnLoss, build, evaluate

PAIR = {"pred": torch.tensor([1.0, -2.0, 0.5]), "target": torch.tensor([0.0, 1.0, 0.5])}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which pip has installed the example."""
    folder = tmp_path_factory.mktemp("site")
    install_example(folder)
    return folder


@pytest.fixture
def example(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The example, where the worker finds it."""
    monkeypatch.syspath_prepend(installed)
    yield
    for name in [name for name in sys.modules if name.startswith(EXAMPLE_MODULE)]:
        del sys.modules[name]


def cauchy(**parameters: float) -> dict[str, Any]:
    return {"plugin": {"name": "cauchy", "parameters": parameters}}


@pytest.mark.usefixtures("example")
def test_the_example_computes_its_loss() -> None:
    error = PAIR["pred"] - PAIR["target"]
    expected = torch.log1p((error / 2).square())
    for reduction, reduced in (("mean", expected.mean()), ("sum", expected.sum()),
                               ("none", expected)):  # fmt: skip
        spec = cauchy(scale=2.0)
        spec["plugin"]["reduction"] = reduction
        torch.testing.assert_close(evaluate(spec, PAIR), reduced)
    torch.testing.assert_close(evaluate({"plugin": "cauchy"}, PAIR), error.square().log1p().mean())
    half = {name: tensor.half() for name, tensor in PAIR.items()}
    assert evaluate({"plugin": "cauchy"}, half).dtype is torch.float32
    none = {name: tensor[:0] for name, tensor in PAIR.items()}
    assert evaluate({"plugin": "cauchy"}, none).item() == 0
    with pytest.raises(ValueError, match="missing target"):
        evaluate({"plugin": "cauchy"}, {"pred": PAIR["pred"]})


@pytest.mark.usefixtures("example")
def test_a_job_trains_with_the_example() -> None:
    formula = {"formula": "log1p(((pred - target) / scale)**2)", "params": {"scale": 2.0}}
    by_plugin = trained(job(loss=cauchy(scale=2.0)))
    by_formula = trained(job(loss={"expression": formula}))
    torch.testing.assert_close(flat(by_plugin), flat(by_formula), rtol=1e-4, atol=1e-5)
    terms = [{"loss": cauchy(scale=2.0)}, {"loss": "mse"}]
    result, _ = run(job(loss={"sum": {"terms": terms}}))
    assert result.state == Job.SUCCEEDED, result.message


@pytest.mark.usefixtures("example")
def test_parameters_that_the_plugin_does_not_declare_are_the_jobs_fault() -> None:
    result, _ = run(job(loss=cauchy(scale=-1.0)))
    assert (result.state, result.cause) == (Job.FAILED, Outcome.USER_SPEC)
    assert "loss plug-in 'cauchy': plugin.parameters.scale" in result.message
    assert "found -1; allowed a number > 0" in result.message
    result, _ = run(job(loss=cauchy(skale=1.0)))
    assert result.cause == Outcome.USER_SPEC
    assert "did you mean 'scale'?" in result.message


def test_a_plugin_that_declares_nothing_takes_what_it_takes(
    plugin: Callable[[str], dict[str, Any]],
) -> None:
    code = """
def make(parameters):
    if parameters["scale"] < 0:
        raise ValueError("scale must be > 0")
    return lambda inputs: (inputs["pred"] - inputs["target"]).abs() * parameters["scale"]
"""
    plugin(code)
    loss: dict[str, Any] = {"plugin": {"name": "own", "parameters": {"scale": 2}}}
    assert evaluate(loss, PAIR).item() == pytest.approx(2 * 4 / 3)
    loss["plugin"]["parameters"] = {"scale": -1}
    result, _ = run(job(loss=loss))
    assert (result.state, result.cause) == (Job.FAILED, Outcome.USER_SPEC)
    assert "plug-in 'own' failed with parameters" in result.message
    assert "scale must be > 0" in result.message


@pytest.mark.usefixtures("example")
def test_an_unknown_plugin_is_the_jobs_fault_and_the_installed_ones_are_named() -> None:
    result, _ = run(job(loss={"plugin": "couchy"}))
    assert (result.state, result.cause, result.steps) == (Job.FAILED, Outcome.USER_SPEC, 0)
    assert "cauchy, but got 'couchy'" in result.message


def test_where_none_is_installed() -> None:
    with pytest.raises(UserSpecError, match="none, but got 'cauchy'"):
        evaluate({"plugin": "cauchy"}, PAIR)


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Installs a plug-in of the code given, and gives its loss."""

    def install(code: str, name: str = "own", module: str = "own_plugin") -> dict[str, Any]:
        write_package(tmp_path, module, f"import torch\n{code}", {f"talweg.losses:{name}": "make"})
        monkeypatch.delitem(sys.modules, module, raising=False)
        monkeypatch.syspath_prepend(tmp_path)
        return {"plugin": name}

    return install


# code, what the job says of it
WORSE: list[tuple[str, str]] = [
    ("import no_such_module", "failed while it was loaded: ModuleNotFoundError"),
    ("made = 1", "failed while it was loaded: AttributeError"),
    ("make = lambda p: 5", "must return a callable, but returned int"),
    ("make = lambda p: lambda i: 5.0", "must return a tensor, but returned float"),
    ("make = lambda p: lambda i: i['prd']", "failed over its inputs: KeyError"),
    ("make = lambda p: lambda i: i['pred'] > 0", "must be floating point, but is torch.bool"),
    ("make = lambda p: lambda i: (i['pred'] - i['target']).abs().mean(0)",
     "for pred of shape (32, 1) it has shape (1,)"),
    ("make = lambda p: lambda i: i['pred'].detach()", "the loss has no gradient"),
    ("make = lambda p: lambda i: i['pred'].detach() + i['target']", "the loss has no gradient"),
    ("make = lambda p: lambda i: (i['pred'] - i['target']).log()", "the value of the loss is nan"),
    ("make = lambda p: lambda i: (i['pred'] - i['pred'].detach()).abs().sqrt()",
     "the gradient of the loss is nan"),
    ("make = lambda p: lambda i: (i['pred'] / 0).sum()", "the value of the loss is"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "says"), WORSE, ids=[row[0][:60] for row in WORSE])
def test_what_is_wrong_with_a_plugin_ends_the_job_before_its_first_step(
    plugin: Callable[[str], dict[str, Any]], code: str, says: str
) -> None:
    result, report = run(job(loss=plugin(code)))
    assert (result.state, result.cause, report.steps) == (Job.FAILED, Outcome.USER_SPEC, 0)
    assert says in result.message


def test_memory_that_does_not_suffice_is_not_the_plugins_fault(
    plugin: Callable[[str], dict[str, Any]],
) -> None:
    loss = plugin("make = lambda p: lambda i: i['pred'] * torch.empty(2**48)")
    result, _ = run(job(loss=loss))
    assert (result.state, result.cause) == (Job.FAILED, Outcome.OUT_OF_MEMORY)


def test_one_value_and_other_inputs(plugin: Callable[[str], dict[str, Any]]) -> None:
    loss = plugin("""
class Spread(torch.nn.Module):
    input_names = ("embeddings", "labels")
    def __init__(self, parameters):
        super().__init__()
        self.register_buffer("centre", torch.zeros(2))
    def forward(self, inputs):
        rows = (inputs["embeddings"] - self.centre)[inputs["labels"] == 1]
        return rows.square().sum()
make = Spread
""")
    embeddings = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    inputs = {"embeddings": embeddings, "labels": torch.tensor([0, 1])}
    assert evaluate(loss, inputs).item() == 25
    with pytest.raises(ValueError, match="inputs must be embeddings, labels"):
        evaluate(loss, PAIR)


def test_two_of_one_name_are_refused(plugin: Callable[..., dict[str, Any]]) -> None:
    plugin("make = None", module="first_plugin")
    loss = plugin("make = None", module="second_plugin")
    with pytest.raises(UserSpecError, match="more than once, as first_plugin:make, second_plug"):
        evaluate(loss, PAIR)


@pytest.mark.usefixtures("example")
def test_a_plugin_is_a_loss_of_ones_own() -> None:
    from talweg.v1.losses_pb2 import Loss, Plugin

    module = build(Loss(plugin=Plugin(name="cauchy", parameters='{"scale": 3}')))
    assert isinstance(module, OwnLoss)
    assert "inner" in dict(module.named_modules()), "it moves to the device with the rest"
