"""An agent for SQLite databases: read-only until a person grants more, every write shown before it happens.

Copy it when a model should work on data that matters. Start it in the folder `examples`:

    python -m sqlite_agent shop                     # a folder of databases; a demo if there are none
    python -m sqlite_agent shop --provider claude   # with a real model
    python -m sqlite_agent --eval                   # its own evaluation

`database` knows SQLite and no model, `agent` the loop and the tools, `terminal` the person, `evaluation` the
cases; `scripted` stands in for a provider.
"""
