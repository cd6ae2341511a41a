"""What OpenAI's strict mode accepts of JSON Schema (guides/structured-outputs, "Supported schemas")."""

from lutum.abc import SchemaDialect

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
