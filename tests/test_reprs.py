"""What a notebook and a prompt show of results, transcripts, traces and budgets."""

from decimal import Decimal

import lutum
from lutum import trace
from lutum.testing import ScriptedAdapter


def test_a_budget_is_readable() -> None:
    """The spent part of each limit, and what open turns hold."""
    assert repr(lutum.Budget(cost_usd="5")) == "<Budget 0.00 of 5.00 USD spent>"
    assert repr(lutum.Budget(tokens=200_000)) == "<Budget 0 of 200,000 tokens spent>"
    assert repr(lutum.Budget()) == "<Budget without a limit, 0 tokens spent>"
    spent = lutum.Usage(1000, 200, cost_usd=Decimal("0.42"))
    both = lutum.Budget(cost_usd=5, tokens=9_000, spent=spent)
    assert repr(both) == "<Budget 0.42 of 5.00 USD and 1,200 of 9,000 tokens spent>"


async def test_notebooks_show_text_as_text() -> None:
    """Hostile text of a model runs nothing and steers nothing."""
    session = lutum.Session(lutum.Lutum(ScriptedAdapter([["<script>x</script>\x1b[31m done"]])))
    session.push_user("<b>Question</b>")
    async with trace.capture() as recorded:
        result = await session.text_turn().collect()
    session.commit_text(result)
    for shown in (result, session.transcript, recorded):
        page = shown._repr_html_()
        assert page.startswith("<pre")
        assert "<script" not in page
        assert "<b>" not in page
        assert "\x1b" not in page
    assert "&lt;script&gt;x&lt;/script&gt; done" in result._repr_html_()
    assert "user: &lt;b&gt;Question&lt;/b&gt;" in session.transcript._repr_html_()
    assert "an empty transcript" in lutum.Transcript()._repr_html_()
    assert "turn" in recorded._repr_html_()
