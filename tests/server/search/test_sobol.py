"""Quasi-random settings."""

from random import Random

from tests.server.search.searching import paths

from talweg.search.answering import Answering
from talweg.search.question import Question
from talweg.spec.sweeps.space import Choices, Product, Setting, Uniform, Values


def settings(space: Product, numbers: range, seed: int = 0) -> list[Setting]:
    return Answering().settings(Question(space, "qmc", seed, numbers))


def test_points_are_spread_evenly() -> None:
    space = Product(
        [
            Uniform("x", 0.0, 1.0),
            Uniform("lr", 1e-4, 1.0, is_log=True),
            Values(["loss"], [["mse"], ["mae"]]),
        ]
    )
    found = [dict(each) for each in settings(space, range(64))]
    assert sorted(int(64 * each["x"]) for each in found) == list(range(64))
    cells = {
        (int(4 * each["x"]), each["lr"] < 1e-3, each["lr"] < 1e-2, each["lr"] < 1e-1, each["loss"])
        for each in found
    }
    assert len(cells) == 4 * 4 * 2
    assert [each["loss"] for each in found].count("mse") == 32
    assert settings(space, range(64), seed=1) != settings(space, range(64))


def test_any_order_gives_the_same_settings() -> None:
    space = Product([Uniform("x", 0.0, 1.0), Uniform("n", 1, 9, is_integer=True)])
    finite = Product([Values(["a"], [[each] for each in range(9)]), Values(["b"], [[0], [1]])])
    answering = Answering()
    for one in (space, finite):
        expected = settings(one, range(18))
        numbers = list(range(18))
        Random(0).shuffle(numbers)
        for number in numbers:
            assert answering.settings(Question(one, "qmc", 0, [number])) == [expected[number]]


def test_choices_take_the_numbers_that_others_leave_them() -> None:
    space = Product(
        [
            Choices(
                "loss",
                [
                    ("mse", Product()),
                    ("huber", Product([Uniform("delta", 0.0, 1.0)])),
                    ("sum", Product([Uniform("a", 0.0, 1.0), Uniform("b", 0.0, 1.0)])),
                    ("mae", Product()),
                ],
            ),
            Uniform("lr", 0.0, 1.0),
        ]
    )
    assert space.width == 4
    found = settings(space, range(64))
    by_loss: dict[str, list[Setting]] = {}
    for each in found:
        by_loss.setdefault(each[0][1], []).append(each)
    assert {loss: len(each) for loss, each in by_loss.items()} == dict.fromkeys(by_loss, 16)
    assert paths(by_loss["sum"][0]) == ["loss", "a", "b", "lr"]
    # The learning rate has its own number, whatever is chosen; and the others theirs.
    assert sorted(int(64 * dict(each)["lr"]) for each in found) == list(range(64))
    assert sorted(int(16 * dict(each)["delta"]) for each in by_loss["huber"]) == list(range(16))
    assert all(dict(each)["lr"] != dict(each)["delta"] for each in by_loss["huber"])


def test_of_finitely_many_settings_each_comes_once() -> None:
    space = Product(
        [
            Values(["a"], [[each] for each in range(7)]),
            Choices(
                "b", [(0, Product()), ({"c": {}}, Product([Values(["b.c.d"], [[1], [2], [3]])]))]
            ),
        ]
    )
    assert space.count == 28
    found = settings(space, range(28))
    assert len({str(each) for each in found}) == 28
    # The first ones are those of the sequence: as many of each choice, which only a count of
    # settings would make 1 to 3.
    assert [dict(each)["b"] for each in found[:8]].count(0) in range(3, 6)
    assert settings(Product(), range(1)) == [()]
    one = Product([Choices("loss", [("mse", Product())])])
    assert settings(one, range(1)) == [(("loss", "mse"),)]
