"""Stages (act, verify, repair) as a state machine: the model does the work, and your code chooses the next
stage. Copy it when the steps of a job have a fixed order, and one of them may not be skipped."""

import csv
from typing import Literal

from _provider import run

import lutum
from lutum.testing.wire import Reply

REPLIES = [
    Reply("river,km\nNile,6650\nDanube,long\n"),
    Reply("river,km\nNile,6650\nDanube,2850\n"),
]
Stage = Literal["act", "verify", "repair", "done", "failed"]


def faults(table: str) -> list[str]:
    rows = list(csv.DictReader(table.splitlines()))
    found = [] if rows and rows[0].keys() == {"river", "km"} else ["the columns are not river and km"]
    return found + [
        f"{row['river']}: km is not a number" for row in rows if not (row.get("km") or "").isdigit()
    ]


def following(stage: Stage, found: list[str], repairs: int) -> Stage:
    """Return the next stage. This is the whole plan, without a model: each new table is verified."""
    match stage:
        case "act" | "repair":
            return "verify"
        case "verify" if found:
            return "repair" if repairs else "failed"
        case _:
            return "done"


async def main(llm: lutum.Lutum, repairs: int = 2) -> None:
    session = lutum.Session(llm)
    session.push_system("Answer with CSV only, without a fence.")
    stage: Stage = "act"
    table, found = "", list[str]()
    while stage not in ("done", "failed"):
        if stage == "verify":
            found = faults(table)
        else:
            if stage == "act":
                session.push_user("A table of the Nile and the Danube, with the columns river and km.")
            else:
                session.push_user(f"{'; '.join(found)}. Repair the table.")
                repairs -= 1
            result = await session.text_turn().max_output_tokens(500).collect()
            session.commit_text(result)
            table = result.text
        print(stage, *found)
        stage = following(stage, found, repairs)
    print(f"{stage}\n{table}")


if __name__ == "__main__":
    run(main, REPLIES)
