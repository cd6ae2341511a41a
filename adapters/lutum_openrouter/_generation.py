"""Reading of OpenRouter's record of a generation (`GET /generation?id=`): its `Usage`."""

from __future__ import annotations

from decimal import Decimal

import msgspec
from msgspec import Raw

from lutum import Usage
from lutum.dialect.usage import Reported, cost, count, recovered

_decode = msgspec.json.Decoder(dict[str, dict[str, Raw] | None]).decode


def usage_of(record: bytes) -> Usage | None:
    """Return the usage of a generation with its exact decimal cost; None if the record has no counts yet.

    Native counts are those of the upstream provider, and they are billed. The other counts are normalised.

    Raises:
      msgspec.DecodeError: `record` is not a record.
    """
    members = _decode(record).get("data")
    if members is None:
        return None

    def first(*names: str) -> int | None:
        return next((found for name in names if (found := count(members.get(name))) is not None), None)

    bill = cost(members.get("total_cost"))
    # If the user brings their own keys, OpenRouter bills only a fee, and the upstream provider the rest.
    upstream = cost(members.get("upstream_inference_cost"))
    if members.get("is_byok") == Raw(b"true") and upstream is not None:
        bill = (bill or Decimal(0)) + upstream
    return recovered(
        Reported(
            input_tokens=first("native_tokens_prompt", "tokens_prompt"),
            output_tokens=first("native_tokens_completion", "tokens_completion"),
            cache_read_tokens=first("native_tokens_cached", "cached_tokens"),
            reasoning_tokens=first("native_tokens_reasoning"),
            cost_usd=bill,
        )
    )
