"""Searches over branches of a session, each a program of its own: `python examples/search beam_search`."""
