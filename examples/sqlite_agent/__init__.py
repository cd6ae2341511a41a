"""An agent for SQLite databases. It is read-only until a person grants more, and it shows every write first.

Copy it when a model should work on important data. Start it in the folder `examples`:

    python -m sqlite_agent shop                     # a folder of databases; a demo if there are none
    python -m sqlite_agent shop --provider claude   # with a real model
    python -m sqlite_agent --eval                   # its own evaluation

`database` has the access to SQLite, `agent` the loop and the tools, `terminal` the dialogue with the person,
and `evaluation` the cases. `scripted` replaces a provider.
"""
