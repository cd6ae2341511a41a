"""An adapter for Reed, a provider that does not exist, as a third party would write it.

dialect  the API as two pure functions: a request to bytes, and bytes to events
adapter  `ReedAdapter`: where requests go, and with which key
server   the provider's side, for the tests and for `python -m own_adapter`

The first two files use `lutum.abc`, `lutum.dialect`, `lutum.transport` and the values of `lutum`. Your own
adapter needs the same. The page "Write an adapter" explains both files.
"""

from own_adapter.adapter import ReedAdapter as ReedAdapter
from own_adapter.dialect import ReedOptions as ReedOptions

__all__ = ["ReedAdapter", "ReedOptions"]
