"""The claim about every x in the set, and the cases in which it is violated.

    class K                              output K is larger than every other: a classifier's decision
    Y_0 <= 3.5 and Y_1 >= Y_0            comparisons of outputs, all of which hold

VNN-LIB has no strict comparisons, so the border counts as violated: `unsat` proves the claim with strict comparisons.
"""

import re
from dataclasses import dataclass

from lunet_export.errors import BadInputError
from lunet_export.verification import vnnlib
from lunet_export.verification.vnnlib import Case, Comparison


@dataclass(frozen=True)
class Claim:
    """This is a claim about K outputs; it is violated if any of its cases holds."""

    text: str
    cases: tuple[Case, ...]
    names: tuple[str, ...]  # names of the cases for files: the rival class, or the number of the comparison

    @classmethod
    def parse(cls, text: str, outputs: int) -> "Claim":
        """Return the claim in a text.

        Args:
            text: Text in one of the two forms above.
            outputs: Number of outputs.

        Raises:
            BadInputError: if the text has neither form, or names an output that does not exist.
        """
        words = " ".join(text.split())
        if found := re.fullmatch(r"class (\d{1,9})", words):
            return cls._of_class(int(found[1]), outputs)
        holds = [_comparison(part) for part in words.split(" and ")]
        for name in (name for entry in holds for name in entry.variables()):
            if name[0] != "Y" or int(name[2:]) >= outputs:
                raise BadInputError(f"Expected outputs Y_0 .. Y_{outputs - 1} in a claim; got {name}.")
        cases = tuple((_negated(entry),) for entry in holds)
        return cls(words, cases, tuple(str(number) for number in range(1, len(cases) + 1)))

    @classmethod
    def _of_class(cls, wanted: int, outputs: int) -> "Claim":
        if outputs < 2 or wanted >= outputs:
            raise BadInputError(
                f"Expected a class of 0 .. {outputs - 1} in a claim; got {wanted} of {outputs} outputs."
                if outputs > 1
                else "Expected at least 2 outputs for a claim about a class; got 1. Claim Y_0 <= NUMBER instead."
            )
        rivals = [rival for rival in range(outputs) if rival != wanted]
        cases = tuple((Comparison(f"Y_{wanted}", "<=", f"Y_{rival}"),) for rival in rivals)
        return cls(f"class {wanted}", cases, tuple(f"rival-{rival}" for rival in rivals))


def _comparison(text: str) -> Comparison:
    words = re.sub(r"(<=|>=)", r" \1 ", text).split()
    if len(words) != 3 or words[1] not in ("<=", ">="):
        raise BadInputError(
            f'Expected a claim like "class 3" or "Y_0 <= 3.5 and Y_1 >= Y_0"; got {text[:60] or "nothing"}.'
        )
    return vnnlib.comparison(*words)


def _negated(holds: Comparison) -> Comparison:
    """Return the closed complement."""
    return Comparison(holds.left, ">=" if holds.relation == "<=" else "<=", holds.right)
