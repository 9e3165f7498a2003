"""Server-sent events: the same whatever the cuts between the bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evident_core.decode.remote.sse import event_data

TEXTS = st.text(st.characters(exclude_characters="\r\n", exclude_categories=("Cs",)), max_size=20)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])


@given(st.lists(st.lists(TEXTS, min_size=1, max_size=3), max_size=5), st.data())
def test_events_survive_any_line_ends_and_any_cuts(events, data):
    stream = ""
    for lines in events:
        for line in lines:
            stream += data.draw(st.sampled_from(["", ": comment", "event: e", "id: 7", "retry"])) + data.draw(ENDS)
            stream = stream if stream.strip("\r\n") else ""
            stream += f"data: {line}"
            stream += data.draw(ENDS)
        stream += "\n\n"
    raw = stream.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    chunks = [raw[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert list(event_data(chunks)) == list(event_data([raw]))
    assert "".join(event_data(chunks)).replace("\n", "") == "".join(line for lines in events for line in lines)


@pytest.mark.parametrize(
    ("raw", "events"),
    [
        (b"data: a\ndata: b\n\n", ["a\nb"]),
        (b"data:a\n\ndata:  b\n\n", ["a", " b"]),
        (b"\xef\xbb\xbfdata: a\n\n", ["a"]),
        (b": only a comment\n\n", []),
        (b"event: x\n\n", []),
        (b"data\n\n", [""]),
        (b"dataset: a\n\n", []),
        (b"data: cut off\n", []),
        ("data: a\u2028b\x85c\x0bd\n\n".encode(), ["a\u2028b\x85c\x0bd"]),
        (b"data: a\r\ndata: b\r\r\ndata: c\n\n", ["a\nb", "c"]),
    ],
)
def test_what_the_standard_says(raw, events):
    assert list(event_data([raw])) == events
    assert list(event_data([raw[at : at + 1] for at in range(len(raw))])) == events


def test_an_event_comes_with_its_last_byte():
    fed = []

    def chunks():
        for chunk in (b"data: a\n", b"\n", b"data: b\n\n"):
            fed.append(chunk)
            yield chunk

    events = event_data(chunks())
    assert (next(events), len(fed)) == ("a", 2)


@pytest.mark.parametrize("chunks", [[b"data: " + b"x" * 50], [b"data: " + b"x" * 9 + b"\n"] * 5])
def test_an_event_without_end_is_refused(chunks):
    with pytest.raises(ValueError, match="more than 32 bytes"):
        list(event_data(chunks, max_bytes=32))


def test_what_is_not_utf_8_is_refused():
    with pytest.raises(UnicodeDecodeError):
        list(event_data([b"data: \xff\n\n"]))
