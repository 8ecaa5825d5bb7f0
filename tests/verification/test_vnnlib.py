"""VNN-LIB: what is written reads back; what else there may be is read or refused in one sentence."""

from decimal import Decimal

import pytest

from lunet_export.errors import ArtifactError
from lunet_export.verification import Claim, LatentBox, vnnlib
from lunet_export.verification.vnnlib import Comparison, Query, parse, write


def query(dim: int, claim: str | None, outputs: int) -> Query:
    bound = LatentBox.of_mass(0.9, dim).bound
    cases = Claim.parse(claim, outputs).cases if claim else ()
    return Query((-bound,) * dim, (bound,) * dim, outputs, cases)


@pytest.mark.parametrize("dim", [1, 2, 64])
@pytest.mark.parametrize("claim", [None, "class 1", "Y_0 <= 3.5", "Y_0 <= -1e-7 and Y_1 >= Y_0 and Y_2<=12e3"])
def test_what_is_written_reads_back(dim, claim):
    meant = query(dim, claim, 3)
    assert parse(write(meant, ["a (remark); with\nmarks"])) == meant


def test_the_text_is_as_verifiers_take_it():
    bound = Decimal("1.5")
    cases = Claim.parse("class 0", 3).cases
    assert write(Query((-bound,), (bound,), 3, cases), ["remark"]) == (
        "; remark\n\n"
        "(declare-const X_0 Real)\n(declare-const Y_0 Real)\n(declare-const Y_1 Real)\n(declare-const Y_2 Real)\n\n"
        "(assert (<= X_0 1.5))\n(assert (>= X_0 -1.5))\n\n"
        "(assert (or\n    (and (<= Y_0 Y_1))\n    (and (<= Y_0 Y_2))\n))\n"
    )


def test_numbers_are_written_without_exponents():
    small = Query((Decimal("-1e-9"),), (Decimal("1E+2"),), 1, ((Comparison("Y_0", ">=", Decimal("2.5e-8")),),))
    assert "e" not in write(small).partition("(assert")[2].lower().replace("assert", "")
    assert parse(write(small)) == small


def test_conjunctions_are_single_assertions():
    both = Query(
        (Decimal(0),), (Decimal(1),), 2, ((Comparison("Y_0", "<=", "Y_1"), Comparison("Y_1", ">=", Decimal(2))),)
    )
    assert "or" not in write(both)
    assert parse(write(both)) == both


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("(declare-const Y_0 Real)", "(declare-const Y_0 Int)", "declare-const Y_0 Int"),
        ("(declare-const X_1 Real)", "(declare-const X_2 Real)", "X_2 where X_1"),
        ("(declare-const X_1 Real)", "", "not declared"),
        ("(assert (<= X_1 ", "(assert (< X_1 ", "Expected Y_i <= or >="),
        ("(assert (>= X_0 ", "(assert (<= X_0 ", "two bounds"),
        ("(assert (>= X_0 -1.94882186250706))", "", "no bound >= of X_0"),
        ("-1.94882186250706", "nan", "a number or a variable"),
        ("-1.94882186250706", "-1e99999", "a number or a variable"),
        ("-1.94882186250706", "(- 1.9)", "got (>= X_0 (- 1.9))"),
        ("(assert (or", "(assert (or (or (or (or (or (or (or (or", "parentheses"),
        ("(assert (or", "(assert (xor", "got (xor"),
        ("(and (<= Y_1 Y_0))", "(and)", "got (and)"),
        ("(and (<= Y_1 Y_0))", "Y_1", "Y_1"),
        ("(and (<= Y_1 Y_0))", "(and (<= Y_1 Y_7))", "Y_7, which is not declared"),
        ("(assert (or", "(assert (or (and (<= Y_0 1)) (and (<= Y_0 2)))) (assert (or", "two disjunctions"),
        ("(assert (or", ") (assert (or", "a ) without its ("),
        ("(assert (or", "word (assert (or", "outside of parentheses"),
        ("))\n", ")\n", "a ( without its )"),
    ],
)
def test_other_texts_are_refused(old, new, said):
    text = write(query(2, "class 1", 3))
    assert old in text
    head, _, tail = text.rpartition(old) if old == "))\n" else text.partition(old)
    with pytest.raises(ArtifactError) as error:
        parse(head + new + tail)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_an_empty_text_is_refused():
    with pytest.raises(ArtifactError, match="no inputs or no outputs"):
        parse("; nothing\n")


def test_a_margin_is_by_how_much_a_comparison_holds():
    values = {"Y_0": 2.0, "Y_1": 5.0}
    assert Comparison("Y_0", "<=", "Y_1").margin(values) == 3
    assert Comparison("Y_0", ">=", "Y_1").margin(values) == -3
    assert vnnlib.comparison("Y_1", "<=", "-4").margin(values) == -9
    assert Comparison("Y_0", "<=", "Y_1").size(values) == 5
