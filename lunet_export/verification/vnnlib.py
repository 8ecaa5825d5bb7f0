"""VNN-LIB 1.0, as much of it as latent boxes and claims need, written and read.

    (declare-const X_0 Real) ... (declare-const Y_0 Real) ...
    (assert (<= X_0 1.5)) (assert (>= X_0 -1.5)) ...               the box, two lines per input
    (assert (or (and (<= Y_3 Y_0)) (and (<= Y_3 Y_1)) ...))        the negated claim: a disjunction of conjunctions

A verifier looks for inputs and outputs that meet every assertion: `sat` is a counterexample, `unsat` a proof.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Literal, TypeAlias, cast

from lunet_export.errors import ArtifactError, BadInputError

Relation = Literal["<=", ">="]
Operand: TypeAlias = "str | Decimal"  # a variable's name, or a number

_VARIABLE = re.compile(r"[XY]_(0|[1-9]\d{0,8})")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_TOKEN = re.compile(r"\(|\)|[^\s()]+")
_MOST_ATOMS = 10**6  # most comparisons in all cases together
_DEEPEST = 8  # levels of parentheses; (assert (or (and (<= a b)))) has 4


@dataclass(frozen=True)
class Comparison:
    """This is left <= right or left >= right, of a variable with a variable or a number."""

    left: str
    relation: Relation
    right: Operand

    def __str__(self) -> str:
        return f"{self.left} {self.relation} {self.right}"

    def margin(self, values: Mapping[str, float]) -> float:
        """Return by how much it holds; negative if it does not."""
        left, right = (values[o] if isinstance(o, str) else float(o) for o in (self.left, self.right))
        return right - left if self.relation == "<=" else left - right

    def size(self, values: Mapping[str, float]) -> float:
        """Return the largest of 1 and the absolute values of both sides, relative to which rounding is measured."""
        return max(1.0, *(abs(values[o] if isinstance(o, str) else float(o)) for o in (self.left, self.right)))

    def variables(self) -> list[str]:
        """Return the names of its variables."""
        return [operand for operand in (self.left, self.right) if isinstance(operand, str)]


Case: TypeAlias = tuple[Comparison, ...]  # all of them hold


@dataclass(frozen=True)
class Query:
    """This is a box of inputs and, if there is a claim, the cases that violate it; one of them is enough.

    lower and upper are the bounds of X_0 .. X_{D-1}, as written.
    """

    lower: tuple[Decimal, ...]
    upper: tuple[Decimal, ...]
    outputs: int
    cases: tuple[Case, ...] = ()

    @property
    def dim(self) -> int:
        """Return the number of inputs D."""
        return len(self.lower)


def write(query: Query, remarks: Sequence[str] = ()) -> str:
    """Return the text of a query, with remarks as comments on top."""
    names = [f"X_{i}" for i in range(query.dim)] + [f"Y_{j}" for j in range(query.outputs)]
    lines = [f"; {' '.join(remark.split())}" for remark in remarks]
    lines += ["", *(f"(declare-const {name} Real)" for name in names), ""]
    for number, (low, high) in enumerate(zip(query.lower, query.upper, strict=True)):
        lines += [f"(assert (<= X_{number} {_plain(high)}))", f"(assert (>= X_{number} {_plain(low)}))"]
    if len(query.cases) == 1:
        lines += ["", *(f"(assert {_atom(comparison)})" for comparison in query.cases[0])]
    elif query.cases:
        cases = [f"    (and {' '.join(map(_atom, case))})" for case in query.cases]
        lines += ["", "(assert (or", *cases, "))"]
    return "\n".join(lines) + "\n"


def _atom(comparison: Comparison) -> str:
    right = comparison.right
    return f"({comparison.relation} {comparison.left} {right if isinstance(right, str) else _plain(right)})"


def _plain(number: Decimal) -> str:
    """Return the number without an exponent, which some readers do not understand."""
    return f"{number:f}"


# Reading

Node: TypeAlias = "str | list[Node]"


def parse(text: str) -> Query:
    """Return the query in a text.

    Raises:
        ArtifactError: if it is not VNN-LIB of the form above, or an input lacks a bound.
    """
    inputs, outputs = 0, 0
    bounds: dict[tuple[str, Relation], Decimal] = {}
    asserted: list[list[Case]] = []
    for node in _nodes(text):
        match node:
            case ["declare-const", str(name), "Real"] if _VARIABLE.fullmatch(name):
                wanted = f"{name[0]}_{inputs if name[0] == 'X' else outputs}"
                if name != wanted:
                    raise _refused(f"{name} where {wanted} should be declared")
                inputs, outputs = inputs + (name[0] == "X"), outputs + (name[0] == "Y")
            case ["assert", body]:
                found = list(_cases(body))
                only = found[0][0] if len(found) == 1 and len(found[0]) == 1 else None
                if only and only.left[0] == "X" and isinstance(only.right, Decimal):
                    if (only.left, only.relation) in bounds:
                        raise _refused(f"two bounds {only.relation} of {only.left}")
                    bounds[only.left, only.relation] = only.right
                else:
                    asserted.append(found)
            case _:
                raise _refused(f"{_shown(node)}")
    cases = _all_of(asserted)
    names = {f"X_{i}" for i in range(inputs)} | {f"Y_{j}" for j in range(outputs)}
    for name in [left for left, _ in bounds] + [v for case in cases for atom in case for v in atom.variables()]:
        if name not in names:
            raise _refused(f"{name}, which is not declared")
    try:
        lower, upper = (tuple(bounds[f"X_{i}", way] for i in range(inputs)) for way in (">=", "<="))
    except KeyError as error:
        raise _refused(f"no bound {error.args[0][1]} of {error.args[0][0]}") from None
    if not inputs or not outputs:
        raise _refused("no inputs or no outputs")
    return Query(lower, upper, outputs, () if cases == [()] else tuple(cases))


def comparison(left: str, relation: str, right: str) -> Comparison:
    """Return a comparison from its words.

    Raises:
        BadInputError: if there is no variable on the left, the relation is unknown, or there is neither a variable nor
            a number on the right.
    """
    if not _VARIABLE.fullmatch(left) or relation not in ("<=", ">="):
        raise BadInputError(f"Expected Y_i <= or >= a number or Y_j; got {left} {relation} {right}.")
    if _VARIABLE.fullmatch(right):
        return Comparison(left, cast(Relation, relation), right)
    try:
        if not _NUMBER.fullmatch(right):
            raise InvalidOperation
        return Comparison(left, cast(Relation, relation), Decimal(right))
    except InvalidOperation:
        raise BadInputError(f"Expected a number or a variable after {left} {relation}; got {right[:40]}.") from None


def _cases(node: Node) -> Iterable[Case]:
    """Return the disjunctive normal form of `or` over `and` over comparisons."""
    match node:
        case ["or", *parts] if parts:
            return [case for part in parts for case in _cases(part)]
        case ["and", *parts] if parts:
            return _all_of([list(_cases(part)) for part in parts])
        case [str(relation), str(left), str(right)]:
            try:
                return [(comparison(left, relation, right),)]
            except BadInputError as error:
                raise ArtifactError(str(error)) from None
    raise _refused(_shown(node))


def _all_of(disjunctions: Sequence[list[Case]]) -> list[Case]:
    """Return the cases of a conjunction of disjunctions, all but one of which have a single case."""
    several = [number for number, cases in enumerate(disjunctions) if len(cases) > 1]
    if len(several) > 1:
        raise _refused("two disjunctions that must both hold")
    place = several[0] if several else len(disjunctions)
    before = [atom for cases in disjunctions[:place] for atom in cases[0]]
    after = [atom for cases in disjunctions[place + 1 :] for atom in cases[0]]
    middle = disjunctions[place] if several else [()]
    if len(middle) * (len(before) + len(after)) > _MOST_ATOMS:
        raise _refused(f"more than {_MOST_ATOMS} comparisons")
    return [(*before, *case, *after) for case in middle]


def _nodes(text: str) -> Iterator[Node]:
    stack: list[list[Node]] = []
    for token in _TOKEN.findall("\n".join(line.partition(";")[0] for line in text.splitlines())):
        if token == "(":
            stack.append([])
            if len(stack) > _DEEPEST:
                raise _refused(f"parentheses {len(stack)} deep")
        elif token == ")":
            if not stack:
                raise _refused("a ) without its (")
            done = stack.pop()
            if stack:
                stack[-1].append(done)
            else:
                yield done
        elif stack:
            stack[-1].append(token)
        else:
            raise _refused(f"{token[:40]} outside of parentheses")
    if stack:
        raise _refused("a ( without its )")


def _shown(node: Node) -> str:
    return node[:60] if isinstance(node, str) else f"({' '.join(_shown(part) for part in node[:4])})"[:60]


def _refused(what: str) -> ArtifactError:
    return ArtifactError(f"Expected VNN-LIB of a box and comparisons of outputs; got {what}. Export it again.")
