"""The search process: what it refuses, and what ends it."""

from typing import Any

import pytest

from talweg.server.errors import InternalError
from talweg.server.services.search.process import SearchProcess
from talweg.spec.sweeps import space_to_json
from talweg.spec.sweeps.space import Choices, Product, Uniform, Values

SPACE = Product(
    [
        Uniform("lr", 1e-4, 1.0, is_log=True),
        Choices("loss", [({"huber": {}}, Product([Values(["loss.huber.delta"], [[1], [2]])]))]),
    ]
)
HUBER = [["loss", {"huber": {}}], ["loss.huber.delta", 2]]


def question(**changes: Any) -> dict[str, Any]:
    """Return a question; `changes` replace its parts."""
    return {
        "space": space_to_json(SPACE),
        "algorithm": "tpe",
        "seed": 0,
        "numbers": [1],
        "trials": [trial([["lr", 0.1], *HUBER])],
        **changes,
    }


def trial(setting: Any, outcome: Any = 0.5, number: int = 0) -> dict[str, Any]:
    return {"number": number, "setting": setting, "outcome": outcome}


BAD = {
    "the algorithm must be qmc or tpe, but is 'grid'": question(algorithm="grid"),
    "the goal must be one of minimize, maximize, but is 'best'": question(goal="best"),
    "numbers must differ, and be of no trial, but are [0, 0]": question(numbers=[0]),
    "numbers must be >= 0 and < 2, but are [2]": question(
        space=space_to_json(Product([Values(["x"], [[1], [2]])])), numbers=[2], trials=[]
    ),
    "numbers must be >= 0 and < 1,073,741,824, but are [-1]": question(
        algorithm="qmc", numbers=[-1]
    ),
    "trial 0 has the outcome 'lost'": question(trials=[trial([["lr", 0.1], *HUBER], "lost")]),
    "the setting has loss where its space has lr": question(trials=[trial(HUBER)]),
    "the setting has nothing where its space has loss": question(trials=[trial([["lr", 0.1]])]),
    "the setting has [('b', 1)] beside its space": question(
        trials=[trial([["lr", 0.1], *HUBER, ["b", 1]])]
    ),
    "the setting has a value that is not in its list: 'mse'": question(
        trials=[trial([["lr", 0.1], ["loss", "mse"]])]
    ),
    "lr must be in [0.0001, 1.0], but is 2": question(trials=[trial([["lr", 2], *HUBER])]),
    "lr must be a number, but is True": question(trials=[trial([["lr", True], *HUBER])]),
    "no part of a space: {'values': [], 'paths': ['x']}": question(
        space={"product": [{"values": [], "paths": ["x"]}]}
    ),
    "KeyError: 'space'": {"algorithm": "tpe"},
}


async def test_questions_that_cannot_be_answered_are_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    process = SearchProcess()
    try:
        good = await process.ask(question())
        pid = process.pid
        for problem, bad in BAD.items():
            caplog.clear()
            with pytest.raises(InternalError):
                await process.ask(bad)
            assert problem in caplog.text
            # One that failed leaves nothing behind.
            assert await process.ask(question()) == good
        assert process.pid == pid
    finally:
        await process.close()


async def test_a_search_goes_on_in_another_process_as_it_would_have() -> None:
    async def sweep(*, ends_at: int) -> list[Any]:
        process = SearchProcess()
        trials: list[dict[str, Any]] = []
        try:
            for number in range(18):
                if number == ends_at:
                    # As after a time without questions, or a server's end.
                    await process.close()
                answer = await process.ask(question(trials=trials, numbers=[number]))
                (setting,) = answer["settings"]
                outcome = "diverged" if setting[0][1] > 0.3 else setting[0][1] + setting[2][1]
                trials.append(trial(setting, outcome, number))
        finally:
            await process.close()
        return trials

    assert await sweep(ends_at=14) == await sweep(ends_at=-1)
