"""An adapter for Reed, a provider that does not exist, as a third party would write it.

dialect  the API as two pure functions: a request to bytes, and bytes to events
adapter  `ReedAdapter`: where requests go, and with which key
server   the provider's side, for the tests and for `python -m own_adapter`

An adapter of your own needs what the first two files need: `lutum.abc`, `lutum.dialect`, `lutum.transport`
and the values of `lutum`. The page "Write an adapter" explains them.
"""

from own_adapter.adapter import ReedAdapter as ReedAdapter
from own_adapter.dialect import ReedOptions as ReedOptions

__all__ = ["ReedAdapter", "ReedOptions"]
