"""`CloudAdapter`: the base class of HTTP adapters whose models clouds offer too."""

from __future__ import annotations

from lutum import ProviderError, Response
from lutum.transport import HttpAdapter
from lutum_clouds._doors import CloudDoor, advised


class CloudAdapter(HttpAdapter):
    """An HTTP adapter that may use a cloud's door. Subclasses call `_stand_at` in their constructors."""

    _door: CloudDoor | None = None

    @property
    def door(self) -> CloudDoor | None:
        """The row of the cloud's door that requests are sent to; None for other hosts."""
        return self._door

    def _stand_at(self, door: CloudDoor | None) -> None:
        self._door = door
        self._billed_by = None if door is None else door.prices

    def _fault(self, response: Response, body: bytes) -> ProviderError:
        return advised(self._door, super()._fault(response, body))
