"""`lutum.dialect.ids`: ids that repeat in a conversation, or that a provider does not accept."""

from functools import partial

from lutum.dialect.ids import CallIds, bounded, schema_name


def test_an_id_that_repeats_gets_the_place_of_its_turn() -> None:
    ids = CallIds()
    assert ids.rename(("a", "b"), 1) == {}
    assert ids.rename(("a", "c"), 3) == {"a": "a_3"}
    assert ids.rename(("a_3", "a"), 5) == {"a_3": "a_3_5", "a": "a_5"}
    assert ids.rename(("a",), 7, keep=True) == {}
    assert ids.rename(("a_9",), 8) == {}
    assert ids.rename(("a",), 9) == {"a": "a_9_"}


def test_new_ids_fit() -> None:
    fit = partial(bounded, limit=12)
    ids = CallIds(fit)
    assert ids.rename(("long" * 3,), 1) == {}
    new = ids.rename(("long" * 3,), 2)["long" * 3]
    assert new.startswith("call_")
    assert len(new) == 12
    assert ids.rename(("long" * 3,), 2)["long" * 3] != new


def test_bounded_ids_and_names() -> None:
    assert bounded("call_1", 64) == "call_1"
    assert len(bounded("x" * 65, 64)) == 64
    assert bounded("", 40) == bounded("", 40)
    assert len(bounded("", 40)) == 40
    assert schema_name("My Type[int]") == "My_Type_int_"
    assert len(schema_name("x" * 100)) == 64
    assert schema_name("") == "schema"
