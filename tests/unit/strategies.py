"""Texts for property tests, at no cost before the first one.

Hypothesis's own default builds a table of all that UTF-8 can encode, in each process: three seconds for the same texts.
"""

from __future__ import annotations

from hypothesis import strategies as st

CHARACTERS = st.characters(exclude_categories=["Cs"])
"""All that UTF-8 can encode: everything but surrogates."""
TEXT = st.text(CHARACTERS)


def matching(pattern: str) -> st.SearchStrategy[str]:
    """Texts that match a regular expression as a whole."""
    return st.from_regex(pattern, fullmatch=True, alphabet=CHARACTERS)
