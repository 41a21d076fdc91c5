"""Rules about starting weights, frozen parameters and learning rates by parameter."""

from collections.abc import Iterator

from talweg.spec.characters import has_control
from talweg.spec.errors import Violation, shown
from talweg.spec.semantics.context import SpecContext

_MOST_CHARS = 200
_PATTERN = f"a pattern of 1 to {_MOST_CHARS} characters, such as conv* or linear1.weight"


def weights_rules(case: SpecContext) -> Iterator[Violation]:
    """Check what a model starts from, and which of its parameters learn how quickly.

    Which parameters there are only the worker knows: it refuses patterns that match none.
    """
    yield from _start(case)
    yield from _freeze(case)
    yield from _learning_rates(case)


def _start(case: SpecContext) -> Iterator[Violation]:
    spec = case.spec
    if not spec.HasField("weights"):
        return
    # A replay has both where the job does whose step it replays; no such job passes this.
    if spec.HasField("continued_from"):
        yield Violation(
            "weights",
            "starting weights beside continued_from",
            "one of them",
            "A continued job has the weights of the other's checkpoint: leave weights out. To "
            "start a new training from that job's model, leave continued_from out and set "
            "weights.job",
        )
    if spec.weights.HasField("registry"):
        yield Violation(
            "weights.registry",
            shown(spec.weights.registry),
            "weights.job or weights.stored in what the server is sent",
            "`talweg submit` and the Python client look the job up in MLflow; other clients "
            "send weights.job, the tag talweg.job of the version's run",
        )


def _freeze(case: SpecContext) -> Iterator[Violation]:
    seen = set[str]()
    for index, pattern in enumerate(case.spec.freeze):
        path = f"freeze[{index}]"
        if not pattern:
            yield Violation(path, shown(pattern), _PATTERN)
        elif not pattern.strip("*"):
            yield Violation(
                path,
                f"{shown(pattern)}, which freezes all parameters",
                "patterns that leave something to train",
                "name the layers, such as conv*; to evaluate a model without training it, use "
                "talweg predict",
            )
        elif pattern in seen:
            yield Violation(path, f"{shown(pattern)} twice", "each pattern once")
        seen.add(pattern)


def _learning_rates(case: SpecContext) -> Iterator[Violation]:
    for pattern in sorted(case.spec.learning_rates):
        if not pattern or len(pattern) > _MOST_CHARS or has_control(pattern):
            yield Violation(f"learning_rates.{shown(pattern)}", shown(pattern), _PATTERN)
