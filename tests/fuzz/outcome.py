"""What became of one input, and which of that is a finding."""

import re
from dataclasses import dataclass

#: What a finding may be.
FINDINGS = (
    "foreign exception",  # an error that is none of ours
    "no sentence",  # an error of ours that cannot be shown as one sentence
    "hang",  # more processor time, or more time, than any good file takes
    "memory",  # more than the file can be worth
    "path escape",  # a file outside of the input was opened
    "code",  # the input made something run
    "wrong answer",  # it was taken, and the answer is not what is in the file
    "died",  # the process is gone
)
#: What was expected; or, of JSON, that a file is none, and what to do.
_SAYS_WHAT = re.compile(r"Expected|is not valid JSON\. \w")
_LONGEST = 1600  # characters of a sentence that anybody reads


@dataclass(frozen=True)
class Outcome:
    """Of one input: `refused` or `accepted`, and what was found of FINDINGS, if anything."""

    reader: str
    number: int
    mutation: str
    verdict: str
    finding: str | None = None
    detail: str = ""


def complaint(sentence: str) -> str | None:
    """Why a text is no sentence that can be printed; None where it is one."""
    if not _SAYS_WHAT.search(sentence):
        return f"it does not say what was expected: {sentence[:80]!r}"
    if len(sentence.splitlines()) > 1:
        return f"it has {len(sentence.splitlines())} lines: {sentence[:200]!r}"
    if len(sentence) > _LONGEST:
        return f"it has {len(sentence)} characters: {sentence[:80]!r}"
    try:
        sentence.encode()
    except UnicodeEncodeError:
        return f"it cannot be printed: {sentence[:80]!r}"
    return None
