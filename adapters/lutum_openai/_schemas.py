"""The subset of JSON Schema that hosts of the OpenAI dialects accept in strict mode."""

from __future__ import annotations

from lutum.abc import SchemaDialect
from lutum_openai._profiles import Profile

# guides/structured-outputs, "Supported schemas"
SCHEMAS = SchemaDialect(
    name="openai",
    keywords=frozenset(
        {
            "pattern",
            "minimum",
            "maximum",
            "exclusiveMinimum",
            "exclusiveMaximum",
            "multipleOf",
            "minItems",
            "maxItems",
        }
    ),
    formats=frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}),
)

# For servers that compile a schema into a grammar (xgrammar, llguidance, GBNF). Measured with vLLM 0.32:
# response_format with maxLength gives strings of that length.
FULL_SCHEMAS = SchemaDialect(
    name="full",
    keywords=SCHEMAS.keywords | {"minLength", "maxLength", "uniqueItems", "format"},
)


def schemas_of(profile: Profile) -> SchemaDialect:
    """Return the part of JSON Schema that a host accepts."""
    return FULL_SCHEMAS if profile.schema == "full" else SCHEMAS
