"""Claims in words, and the cases in which they are violated."""

import pytest

from lunet_export.errors import BadInputError
from lunet_export.verification import Claim


def cases(claim: Claim) -> list[str]:
    return [" and ".join(map(str, case)) for case in claim.cases]


def test_a_class_is_violated_by_any_rival():
    claim = Claim.parse("class 1", 3)
    assert cases(claim) == ["Y_1 <= Y_0", "Y_1 <= Y_2"]
    assert claim.names == ("rival-0", "rival-2")


def test_a_conjunction_is_violated_by_any_part():
    claim = Claim.parse("Y_0<=3.5 and  Y_1 >= Y_0", 2)
    assert cases(claim) == ["Y_0 >= 3.5", "Y_1 <= Y_0"]
    assert (claim.names, claim.text) == (("1", "2"), "Y_0<=3.5 and Y_1 >= Y_0")


@pytest.mark.parametrize(
    ("text", "outputs", "said"),
    [
        ("class 3", 3, "Expected a class of 0 .. 2"),
        ("class 0", 1, "at least 2 outputs"),
        ("class", 3, 'like "class 3"'),
        ("", 3, "got nothing"),
        ("Y_0 < 3", 3, "Expected a claim like"),
        ("Y_0 = 3", 3, "Expected a claim like"),
        ("Y_0 <= three", 3, "a number or a variable after Y_0 <="),
        ("Y_0 <= inf", 3, "a number or a variable"),
        ("Y_3 <= 1", 3, "outputs Y_0 .. Y_2"),
        ("X_0 <= 1", 3, "outputs Y_0 .. Y_2"),
        ("Y_0 <= 1 or Y_1 <= 2", 3, "Expected a claim like"),
        ("3 <= Y_0", 3, "Expected Y_i <= or >="),
    ],
)
def test_other_claims_are_refused(text, outputs, said):
    with pytest.raises(BadInputError) as error:
        Claim.parse(text, outputs)
    assert said in str(error.value)
