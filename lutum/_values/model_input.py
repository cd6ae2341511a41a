"""`ModelInput`: the ordered items of one request, without a session."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lutum._values.check import check_type
from lutum._values.committed import CommittedTurn
from lutum._values.items import Content, Item, message, raw, tool_result
from lutum._values.transcript import Transcript


class ModelInput:
    """Ordered items for one request, without a session.

    It is immutable: each method returns a longer one, which shares the items before the new one.
    """

    __slots__ = ("transcript",)

    transcript: Transcript

    def __init__(self, items: Iterable[Item] | Transcript = ()) -> None:
        self.transcript = items if isinstance(items, Transcript) else Transcript(items)

    def item(self, item: Item) -> ModelInput:
        """Append any item. Raises TranscriptError as `Transcript.append`."""
        return ModelInput(self.transcript.append(item))

    def system(self, content: Content) -> ModelInput:
        """Append a system item. Before any other item it belongs to the head."""
        return self.item(message("system", content))

    def developer(self, content: Content) -> ModelInput:
        """Append a developer item. A provider without developer items gets it as a system item."""
        return self.item(message("developer", content))

    def user(self, content: Content) -> ModelInput:
        """Append a user item: text, or parts."""
        return self.item(message("user", content))

    def assistant(self, text: str) -> ModelInput:
        """Append an assistant item with your text. For a turn that the model made, use `turn`."""
        return self.item(message("assistant", text))

    def tool_result(
        self,
        call_id: str,
        content: Content,
        *,
        is_error: bool = False,
        name: str | None = None,
        arguments: str | None = None,
    ) -> ModelInput:
        """Append the result of an open call; with `name` and `arguments`, of a call that no turn contains."""
        return self.item(tool_result(call_id, content, is_error=is_error, name=name, arguments=arguments))

    def turn(self, turn: CommittedTurn) -> ModelInput:
        """Append a committed turn. It is sent in its exact form if that is possible."""
        check_type("turn", turn, CommittedTurn, "a committed turn, which is in result.turn")
        return self.item(turn)

    def raw(self, adapter: str, json: str | bytes) -> ModelInput:
        """Append JSON of one adapter's own protocol, which that adapter sends unchanged."""
        return self.item(raw(adapter, json))

    def __len__(self) -> int:
        return len(self.transcript)

    def __iter__(self) -> Iterator[Item]:
        return iter(self.transcript)

    def __eq__(self, other: object) -> bool:
        return self.transcript == other.transcript if isinstance(other, ModelInput) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.transcript)

    def __repr__(self) -> str:
        return f"<ModelInput of {len(self)} items>"
