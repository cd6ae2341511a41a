"""`lutum show sqlite:chats.db`: prints the branches of a store as a tree, with sizes, dates and cost."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal

import lutum
import lutum.store
from lutum._text import cells
from lutum.cli._terminal import Terminal

Line = tuple[str, lutum.store.BranchInfo, lutum.Usage]


async def branches(out: Terminal, url: str) -> None:
    """Print the branches of a store. Raises StoreError."""
    async with lutum.store.connect(url, create=False) as store:
        infos, after = list[lutum.store.BranchInfo](), None
        while page := await store.branches(after=after):
            infos += page
            after = page[-1].name
        usages = {info.name: await (await store.branch(info.name)).usage() for info in infos}
    lines = _tree(infos, usages)
    out.title(f"{url}: {len(lines)} {'branch' if len(lines) == 1 else 'branches'}")
    room = max((cells(name) for name, _, _ in lines), default=0)
    for name, info, usage in lines:
        words = [
            f"{info.items} items",
            _bytes(info.size),
            f"{info.updated:%Y-%m-%d %H:%M}",
            f"{usage.total_tokens:,} tokens",
        ]
        if usage.cost_usd is not None:
            words.append(f"${usage.cost_usd.quantize(Decimal('0.0001'))}")
        if usage.known != "exact":
            words.append(usage.known.replace("_", " "))
        if info.open_round:
            words.append("an open round")
        out.line(f"{name}{' ' * (room - cells(name))}  {', '.join(words)}")


async def transcript(url: str, branch: str) -> lutum.Transcript:
    """Return the transcript at the head of a branch. Raises StoreError."""
    async with lutum.store.connect(url, create=False) as store:
        return (await store.branch(branch)).transcript


def _tree(infos: list[lutum.store.BranchInfo], usages: dict[str, lutum.Usage]) -> list[Line]:
    """Return a line for each branch. A fork follows the branch that it comes from, and is indented by two
    more columns."""
    there = {info.name for info in infos}
    below = defaultdict[str | None, list[lutum.store.BranchInfo]](list)
    for info in infos:
        below[info.origin if info.origin in there else None].append(info)
    lines, shown = list[Line](), set[str]()
    waiting = [(info, 0) for info in reversed(below[None])]
    while waiting:
        info, depth = waiting.pop()
        shown.add(info.name)
        forked = f" (from item {info.origin_items})" if info.origin in there else ""
        lines.append((f"{'  ' * depth}{info.name}{forked}", info, usages[info.name]))
        waiting += [(one, depth + 1) for one in reversed(below[info.name])]
    # A branch that was deleted and made again from its own fork has no place in the tree, so it is last.
    return lines + [(info.name, info, usages[info.name]) for info in infos if info.name not in shown]


def _bytes(size: int) -> str:
    for unit in ("B", "KB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size //= 1000
    return f"{size} GB"
