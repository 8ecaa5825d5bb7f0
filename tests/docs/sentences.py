"""The sentences of the documentation, without what `python -m benchmarks.pages` writes."""

import re

from tests.docs.pages import PAGES, read

_GENERATED = re.compile(r"<!-- (?:table|value): .*?<!-- end -->", re.DOTALL)


def written(text: str) -> str:
    """A page's text without what is generated: a table has a figure whatever a sentence says."""
    return _GENERATED.sub("", text)


#: Paragraphs, lists and tables of all pages, each as one line.
PARAGRAPHS = [" ".join(part.split()) for page in PAGES for part in re.split(r"\n\s*\n", written(read(page)))]


def says(figure: str, *words: str) -> bool:
    """Whether a paragraph with all these words holds the figure, which is no part of a longer number."""
    whole = re.compile(rf"(?<![\d.,]){re.escape(figure)}(?![\d]|[.,]\d)")
    found = [text for text in PARAGRAPHS if all(word.lower() in text.lower() for word in words)]
    return any(whole.search(text) for text in found)
