"""Write docs/hosts.md from the tables of known hosts.

    python scripts/hosts_page.py

`tests/test_hosts_page.py` fails when the page is not what this script writes.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from lutum_claude._hosts import HOSTS as CLAUDE_HOSTS
from lutum_clouds import DOORS, FEATURES, CloudDoor
from lutum_openai._hosts import HOSTS, HostRow
from lutum_openai._profiles import Profile

PAGE = Path(__file__).parents[1] / "docs" / "hosts.md"

HEAD = """\
# Hosts

Servers that speak one dialect differ in what they require, accept and refuse. lutum keeps this as data: one
row per host, and a source for each value. `scripts/hosts_page.py` generates this page from the table, and a
test compares the two.

A row is found by the host of `base_url`. A server at a local address is found by its default port. To use
another row, give its name, as in `OpenAIChatAdapter("m", base_url=..., profile="vllm")`. To override a value,
give a profile:

```python
from lutum_openai import OpenAIChatAdapter, Profile

profile = Profile(system="any", tool_choice="auto")
adapter = OpenAIChatAdapter("m", base_url="https://gateway.example/v1", profile=profile)
```

`lutum smoke` tries an endpoint and prints the `Profile(...)` that fits it. The
[reference](reference/index.md) explains the fields. A host without a row gets the defaults, which most
servers accept.

Three rules depend on the model, not on the host. They hold at servers that apply the model's chat template:

- OpenAI's models from o1 and GPT-5 on get `max_completion_tokens`.
- Gemma 1 to 3 and Mistral's open models get one system message, and user and assistant messages alternate.
- Mistral's open models get an assistant message between a tool message and a user message.

"""


MESSAGES = """
## Hosts of the Messages API

`ClaudeAdapter` works with each of them. Its `base_url` ends before `/v1/messages`. A host without a row gets
only what every endpoint of the dialect accepts.

"""

CLOUDS = """
## Clouds

Clouds, and the two APIs of Gemini, serve the same dialects with other features. Each has a row, which is
`adapter.door`; [Clouds](clouds.md) is the guide. If a request shows that it needs a feature that the door
lacks, it is refused before anything is sent.
"""


def page() -> str:
    """Return the text of the page."""
    rows = sorted(HOSTS, key=lambda row: row.title.lower())
    lines = [HEAD, "| name | host | found by |\n|---|---|---|\n"]
    lines += [f"| `{row.name}` | {row.title} | {_places(row)} |\n" for row in rows]
    return (
        "".join(lines) + "".join(map(_section, rows)) + _messages_api() + CLOUDS + "".join(map(_door, DOORS))
    )


def _places(row: HostRow) -> str:
    places = [f"`{host}`" for host in row.hosts]
    places += [f"port {port} of a local address" for port in row.ports]
    return ", ".join(places)


def _section(row: HostRow) -> str:
    lines = [f"\n## {row.title}\n\n"]
    default = Profile()
    for field in Profile.__struct_fields__:
        value = getattr(row.profile, field)
        if value != getattr(default, field):
            lines.append(f"- `{field} = {_shown(value)}`: {_markdown(row.sources[field])}\n")
    if len(lines) == 1:
        lines.append("The defaults.\n")
    if row.note:
        lines.append(f"\n{row.note}\n")
    return "".join(lines)


def _messages_api() -> str:
    lines = [MESSAGES, "| host | found by | what differs |\n|---|---|---|\n"]
    for row in CLAUDE_HOSTS:
        places = ", ".join(f"`{host}`" for host in row.hosts)
        facts = [f"`{name} = True`: {_markdown(source)}" for name, source in row.sources.items()]
        lines.append(f"| {row.title} | {places} | {'; '.join([*facts, *filter(None, [row.note])])} |\n")
    return "".join(lines)


def _door(door: CloudDoor) -> str:
    hosts = ", ".join(f"`{host}`" for host in door.hosts)
    lines = [f"\n### {door.title}\n\n", f"`{door.name}`, found by {hosts}.\n\n"]
    lines += [f"- lacks {FEATURES[name]}: {_markdown(source)}\n" for name, source in door.lacks.items()]
    if door.tools:
        lines.append(f"- server tools that it lacks: {', '.join(f'`{name}`' for name in door.tools)}\n")
    lines += [f"- errors: {door.errors}\n", f"- usage: {door.usage}\n", f"- replay scope: {door.scope}\n"]
    lines.append(
        f"- prices: {f'`{door.prices}` in genai-prices' if door.prices else 'the maker of the model'}\n"
    )
    return "".join([*lines, *(f"- {note}\n" for note in door.notes)])


def _markdown(text: str) -> str:
    return re.sub(r"(<[^>]*>)", r"`\1`", text)


def _shown(value: object) -> str:
    return msgspec.json.encode(value).decode() if isinstance(value, str) else repr(value)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
