"""Text as it comes: stop texts end it before they are seen, wherever tokens cut them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evident_core.decode.text import Text


class Letters:
    """A decoder whose tokens are characters."""

    def put(self, token: int) -> str:
        return chr(token)

    def flush(self) -> str:
        return ""


class Late(Letters):
    """A decoder that keeps its last character until it is asked for the rest."""

    def __init__(self) -> None:
        self.kept = ""

    def put(self, token: int) -> str:
        given, self.kept = self.kept, chr(token)
        return given

    def flush(self) -> str:
        given, self.kept = self.kept, ""
        return given


def write(text: Text, letters: str) -> list[str]:
    pieces = []
    for letter in letters:
        pieces.append(text.push(ord(letter)))
        if text.stopped:
            break
    return [*pieces, text.flush()]


def test_without_stop_texts_each_piece_is_given_at_once() -> None:
    text = Text(Letters())
    assert write(text, "abc") == ["a", "b", "c", ""]
    assert text.whole == "abc"


def test_the_first_stop_text_ends_it_and_is_not_shown() -> None:
    text = Text(Letters(), ("END", "NDX"))
    assert write(text, "a ENEND b") == ["a", " ", "", "", "EN", "", "", ""]
    assert (text.whole, text.stopped) == ("a EN", True)


def test_what_only_began_like_a_stop_text_is_given_in_the_end() -> None:
    text = Text(Letters(), ("END",))
    assert write(text, "an EN") == ["a", "n", " ", "", "", "EN"]
    assert (text.whole, text.stopped) == ("an EN", False)


@pytest.mark.parametrize("decoder", [Letters, Late])
@given(letters=st.text("ab", max_size=12), stop=st.lists(st.text("ab", min_size=1, max_size=4), max_size=3))
def test_the_whole_is_cut_at_the_stop_text_that_is_complete_first(decoder, letters: str, stop: list[str]) -> None:
    text = Text(decoder(), tuple(stop))
    pieces = write(text, letters)
    ends = [(letters.find(each) + len(each), letters.find(each)) for each in stop if each in letters]
    first_complete = min(end for end, _ in ends) if ends else None
    expected = letters
    if first_complete is not None:
        # Of those that are complete at the same character, the one that began first.
        expected = letters[: min(begin for end, begin in ends if end == first_complete)]
    assert "".join(pieces) == text.whole == expected
    assert text.stopped == bool(ends)
