"""Names of columns: which are any, how a sentence calls one, and where a model's are in a table."""

import pytest

from lunet_export.columns import Columns, called, numbered, read_names, usable
from lunet_export.errors import DataError, near

STARS = Columns(3, ("mass", "radius", "age"))


def test_a_column_is_called_by_its_number_from_one_and_its_name():
    assert called(2, STARS.names) == STARS.called(2) == "column 3 (age)"
    assert called(2) == called(2, ("a", "b", "")) == "column 3"
    assert called(0, ("m\n" * 30,)) == f"column 1 ({' '.join('m' * 20)} …)"


@pytest.mark.parametrize("names", [(), ("a", ""), ("a", "a"), ("a", " a"), ("a\nb", "c"), ("a", "\ud800"), None])
def test_names_that_tell_no_columns_apart_are_none(names):
    assert usable(names) is None


def test_names_are_kept_without_the_spaces_around_them():
    assert usable((" mass", "Größe, m", "m/s²")) == ("mass", "Größe, m", "m/s²")


@pytest.mark.parametrize("value", [["a"], ["a", "a"], ["a", 1], ["a", " b"], "ab", [["a"], "b"], {"a": 1, "b": 2}])
def test_names_in_a_file_are_those_of_all_columns(value):
    with pytest.raises(ValueError, match=r"^model\.columns$"):
        read_names(value, 2, "model.columns")


def test_no_names_in_a_file_are_none():
    assert (read_names(None, 2, "columns"), read_names(["a", "b"], 2, "columns")) == (None, ("a", "b"))


@pytest.mark.parametrize(
    ("names", "places"),
    [(("mass", "radius", "age"), [0, 1, 2]), (("id", "age ", "kind", "radius", "mass", "mass"), [4, 3, 1])],
)
def test_the_columns_of_a_model_are_found_by_name_in_any_order(names, places):
    assert STARS.places(names, "stars.csv", "") == places


def test_columns_that_a_table_lacks_are_named_beside_what_is_near():
    with pytest.raises(DataError) as caught:
        STARS.places(("id", "Mass", "mass_kg", "AGE"), "stars.csv", "Choose others.")
    assert str(caught.value) == (
        "Expected the model's columns in stars.csv; it lacks column 1 (mass), column 2 (radius), column 3 (age). Did "
        "you mean Mass or mass_kg or AGE? It has id, Mass, mass_kg, AGE. Choose others."
    )


def test_a_model_without_names_has_those_of_its_samples():
    plain = Columns(2)
    assert plain.places(("label", "x_2", "x_1"), "x.csv", "") == [2, 1]
    assert plain.places(("x_1", "x_3"), "x.csv", "") is None
    assert numbered(2) == ("x_1", "x_2")


def test_the_own_columns_in_another_order_are_refused():
    STARS.validate_order(("mass", "radius", "age"))
    STARS.validate_order(("m", "r", "a"))
    with pytest.raises(DataError, match=r"the model's order, mass, radius, age; got age, mass, radius\. Leave it out"):
        STARS.validate_order(("age", "mass", "radius"))


def test_words_are_near_in_any_case():
    assert near("mass", ["MASS", "radius", "masses"]) == ["MASS", "masses"]
    assert near("mass", []) == []
