"""Habits of servers that speak the Responses API, one test each; the others are in `test_decode.py`."""

import msgspec
from openai_responses.responses_wire import decode, event, message, response, sse

import lutum


def test_the_id_changes_within_a_stream() -> None:
    """A gateway that writes another response id into every event: the first is what can be asked for, the
    last is the turn's."""
    delta = {"item_id": "m", "output_index": 0, "content_index": 0, "delta": "Hi"}
    events = decode(
        sse(
            event("response.created", response=response(id="resp_a", status="in_progress")),
            event("response.in_progress", response=response(id="resp_b", status="in_progress")),
            event("response.output_text.delta", **delta),
            event("response.output_item.done", item=message("Hi"), output_index=0),
            event("response.completed", response=response(message("Hi"), id="resp_c")),
        )
    )
    started, *_, done = events
    assert isinstance(started, lutum.TurnStarted)
    assert isinstance(done, lutum.Completed)
    assert started.response.id == "resp_a"
    assert msgspec.json.decode(done.turn.wire)["id"] == "resp_c"
    assert done.turn.text == "Hi"
    assert sum(isinstance(e, lutum.TurnStarted) for e in events) == 1


def test_crlf_comments_and_padding() -> None:
    """CRLF line ends, comments between events and spaces behind the JSON are no part of it."""
    whole = sse(
        event("response.created", response=response(status="in_progress")),
        event("response.output_item.done", item=message("Hi"), output_index=0),
        event("response.completed", response=response(message("Hi"))),
    )
    odd = b": OPENROUTER PROCESSING\r\n\r\n" + whole.replace(b"}\n\n", b"}   \r\n\r\n: still there\r\n\r\n")
    assert decode(odd) == decode(whole)
