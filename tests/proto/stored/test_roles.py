"""Which column plays which role."""

from tests.proto.stored.columns import array, category, dataset, number

from talweg.spec.stored import Kind, features_of, roles_of
from talweg.v1.datasets_pb2 import StoredData
from talweg.v1.stored_datasets_pb2 import DataColumn

HOUSES = dataset(number("area"), category("kind", 20, 20), number("id"), number("price"))


def test_inputs_are_all_columns_without_another_role() -> None:
    roles, violations = roles_of(HOUSES, StoredData(target="price", id="id"))
    assert not violations
    assert [column.name for column in roles.inputs] == ["area", "kind"]
    assert [column.name for column in roles.targets] == ["price"]
    assert roles.columns["id"].name == "id"
    assert roles.is_table
    assert roles.array_names == ("x", "y")


def test_inputs_that_are_named_and_columns_left_out() -> None:
    roles, _ = roles_of(HOUSES, StoredData(target="price", inputs=["id", "area"]))
    assert [column.name for column in roles.inputs] == ["id", "area"]
    roles, _ = roles_of(HOUSES, StoredData(target="price", ignore=["id"]))
    assert [column.name for column in roles.inputs] == ["area", "kind"]


def test_arrays_play_the_roles_of_their_names() -> None:
    data = dataset(
        array("x", 1, 8, 8), array("mask", 8, 8), category("y", 3, 3), array("extra", 2)
    )
    roles, violations = roles_of(data, StoredData())
    assert not violations
    assert [column.name for column in roles.inputs] == ["x"]
    assert [column.name for column in roles.targets] == ["y"]
    assert roles.arrays["mask"].name == "mask"
    assert roles.array_names == ("x", "y", "mask")


def test_the_only_free_array_is_the_input_and_numbers_beside_it_are_none() -> None:
    data = dataset(array("image", 3, 8, 8, dtype="uint8"), category("label", 3, 3))
    roles, violations = roles_of(data, StoredData(target="label"))
    assert not violations
    assert [column.name for column in roles.inputs] == ["image"]
    assert [column.name for column in roles.targets] == ["label"]
    assert not roles.arrays


def test_beside_an_input_the_array_called_image_is_what_is_to_be_produced() -> None:
    data = dataset(array("x", 1, 8, 8), array("image", 1, 8, 8))
    roles, _ = roles_of(data, StoredData())
    assert [column.name for column in roles.inputs] == ["x"]
    assert roles.arrays["image"].name == "image"
    named, _ = roles_of(data, StoredData(inputs=["x"], image="image"))
    assert named.arrays["image"].name == "image"


def test_columns_that_are_not_there_are_answered_with_the_nearest() -> None:
    _, violations = roles_of(HOUSES, StoredData(target="prise", ignore=["idd"]))
    at = {each.field: each for each in violations}
    assert set(at) == {"dataset.stored.target", "dataset.stored.ignore[0]"}
    assert "price" in at["dataset.stored.target"].hint


def test_a_column_plays_one_role() -> None:
    _, violations = roles_of(HOUSES, StoredData(target="price", inputs=["area", "price"]))
    assert len(violations) == 1
    assert '"price"' in violations[0].found
    _, both = roles_of(HOUSES, StoredData(target="price", targets=["area"]))
    assert "target and targets" in [each.found for each in both]


def test_what_columns_become() -> None:
    columns = [
        number("area", num_missing=2),
        category("kind", 3, 3, num_missing=1),
        DataColumn(name="day", type=DataColumn.DATE),
        DataColumn(name="new", type=DataColumn.BOOLEAN),
    ]
    features = features_of(columns)
    assert [feature.kind for feature in features] == [
        Kind.NUMBER, Kind.CATEGORY, Kind.DATE, Kind.NUMBER,
    ]  # fmt: skip
    assert features[0].names == ("area", "area.is_missing")
    assert features[1].names == ("kind=v0", "kind=v1", "kind=other")
    assert [feature.width for feature in features] == [2, 3, 7, 1]
