"""The parser of event streams."""

from agent.cli.job.stream import Event, EventParser


def test_events_are_the_same_however_the_bytes_are_cut() -> None:
    data = b": hello\n\nid: 1\nevent: line\ndata: {}\n\nid: 2\r\nevent: gap\r\ndata: a\r\ndata: b\r\n\r\n"
    expected = [Event("line", b"{}"), Event("gap", b"a\nb")]
    for size in range(1, len(data) + 1):
        parser = EventParser()
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        assert [each for piece in pieces for each in parser.feed(piece)] == expected
        assert parser.last_id == "2"


def test_a_partial_event_does_not_change_the_last_id() -> None:
    parser = EventParser()
    assert len(list(parser.feed(b"id: 1\ndata: x\n\nid: 2\ndata: y\n"))) == 1
    assert parser.last_id == "1"
    parser.reset()
    assert list(parser.feed(b"data: z\n\n")) == [Event("message", b"z")]
    assert parser.last_id == "1"


def test_the_last_id_is_that_of_the_yielded_event() -> None:
    parser = EventParser()
    seen = [parser.last_id for _ in parser.feed(b"id: 1\ndata: x\n\ndata: y\n\nid: 3\ndata: z\n\n")]
    assert seen == ["1", "1", "3"]
