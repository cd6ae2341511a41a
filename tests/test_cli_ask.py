"""`lutum ask`: the answer alone on standard output, everything else on standard error, and exit codes."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lutum
from lutum.cli import _ask, _settings, _spending, main
from lutum.testing.wire import Call, Cut, NeverEnding, Reply, Say, Script, Status, Think, WireServer

PNG = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00\x90wS\xde"
    b"\x00\x00\x00\x0cIDATx\x9cc\xf8\xcf\xc0\x00\x00\x03\x01\x01\x00\xc9\xfe\x92\xef\x00\x00\x00\x00IEND\xaeB`\x82"
)
SECONDS = 60
COMMAND = [sys.executable, "-P", "-W", "error", "-m", "lutum.cli", "ask"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def ask(monkeypatch: pytest.MonkeyPatch, server: WireServer, *args: str, piped: bytes | None = None) -> int:
    """Run the command in this process, at a server in a thread of its own."""
    stdin: Any = Terminal() if piped is None else io.TextIOWrapper(io.BytesIO(piped))
    monkeypatch.setattr(sys, "stdin", stdin)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    monkeypatch.setenv("NO_PROXY", "*")
    return main(["ask", "-m", f"claude:claude-sonnet-4-5@{server.url}", *args])


@pytest.fixture
def server() -> Iterator[WireServer]:
    """A server that runs beside the command, in another thread."""
    from anyio.from_thread import start_blocking_portal

    made = WireServer()
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(made):
        yield made


def sent(server: WireServer, index: int = -1) -> Any:
    return server.requests[index].json


def test_the_answer_alone_is_on_stdout(
    server: WireServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Thinking, notes and figures are on stderr, and only where they are asked for."""
    server.add(Reply(Think("Well."), Say("The ", "Nile.")), Reply(Think("Well."), Say("The ", "Nile.")))
    assert ask(monkeypatch, server, "Name", "a river.") == 0
    assert capsys.readouterr() == ("The Nile.\n", "")
    assert ask(monkeypatch, server, "-v", "-s", "Be brief.", "-o", "thinking=2048", "Name a river.") == 0
    out, err = capsys.readouterr()
    assert out == "The Nile.\n"
    assert err.startswith("Well.\n")
    assert "tokens in" in err
    assert sent(server)["messages"][0]["content"][0]["text"] == "Name a river."
    assert "Be brief." in json.dumps(sent(server)["system"])
    assert sent(server)["thinking"]["budget_tokens"] == 2048


def test_what_is_piped_goes_behind_the_question(
    server: WireServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of several lines is one message, alone or behind a question; --no-stdin leaves it."""
    server.add(*[Reply("ok")] * 3)
    piped = b"line 1\n\nline 3 \xff\n"
    assert ask(monkeypatch, server, piped=piped) == 0
    assert ask(monkeypatch, server, "What broke?", piped=piped) == 0
    assert ask(monkeypatch, server, "--no-stdin", "What broke?", piped=piped) == 0
    texts = [request.json["messages"][0]["content"][0]["text"] for request in server.requests]
    assert texts == [
        "line 1\n\nline 3 \ufffd",
        "What broke?\n\nline 1\n\nline 3 \ufffd",
        "What broke?",
    ]
    assert ask(monkeypatch, server, piped=b"") == 2
    assert "question: is missing" in capsys.readouterr().err


def test_attachments(
    server: WireServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Images and documents from files, URLs and standard input; what cannot be read is named."""
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "notes.txt").write_text("Some notes.")
    (tmp_path / "junk.bin").write_bytes(bytes(range(256)))
    server.add(Reply("ok"), Reply("ok"))
    args = ["-a", str(tmp_path / "a.png"), "-a", str(tmp_path / "notes.txt"), "-a", "https://x.test/b.jpg"]
    assert ask(monkeypatch, server, *args, "Look.") == 0
    kinds = [part["type"] for part in sent(server)["messages"][0]["content"]]
    assert kinds == ["image", "document", "image", "text"]
    assert ask(monkeypatch, server, "-a", "-", "Look.", piped=PNG) == 0
    assert [part["type"] for part in sent(server)["messages"][0]["content"]] == ["image", "text"]
    for name, code in (("missing.png", 1), ("junk.bin", 2)):
        assert ask(monkeypatch, server, "-a", str(tmp_path / name), "Look.") == code
        assert name in capsys.readouterr().err
    assert len(server.requests) == 2


def test_cli_ask_options(
    server: WireServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """General and provider options go out; unknown ones are refused with the known ones."""
    server.add(Reply("ok"))
    args = ["-o", "temperature=0.5", "-o", "stop=END", "-o", "user-id=u7", "--max-output-tokens", "77"]
    assert ask(monkeypatch, server, *args, "x") == 0
    body = sent(server)
    assert (body["temperature"], body["stop_sequences"], body["max_tokens"]) == (0.5, ["END"], 77)
    assert body["metadata"]["user_id"] == "u7"
    for option, said in (
        ("temprature=1", "Did you mean temperature?"),
        ("nope=1", "The options are"),
        ("temperature=hot", "'hot' is not allowed"),
        ("prefix_mismatch=maybe", "error, drop"),
        ("temperature", "option=value"),
    ):
        assert ask(monkeypatch, server, "-o", option, "x") == 2
        assert said in capsys.readouterr().err
    assert len(server.requests) == 1


def test_structured_answers(
    server: WireServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """A schema in a file or a type by its path: the value alone is on stdout."""
    schema = {
        "title": "Order",
        "type": "object",
        "properties": {
            "total": {"type": "number", "minimum": 0},
            "state": {"enum": ["open", "paid"]},
            "lines": {"type": "array", "items": {"$ref": "#/$defs/Line"}},
            "note": {"type": ["string", "null"], "description": "A remark."},
        },
        "required": ["total", "state", "lines"],
        "$defs": {"Line": {"type": "object", "properties": {"sku": {"type": "string"}}, "required": ["sku"]}},
    }
    (tmp_path / "order.json").write_text(json.dumps(schema))
    (tmp_path / "shop_types.py").write_text(
        "import msgspec\nclass Order(msgspec.Struct):\n    total: float\n"
    )
    monkeypatch.chdir(tmp_path)
    value = '{"total": 3.5, "state": "paid", "lines": [{"sku": "a"}], "note": null}'
    server.add(Reply(Say(value)), Reply(Say('{"total": 3.5}')), Reply(Say('{"total": "x"}')))
    assert ask(monkeypatch, server, "--schema", "order.json", "x") == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {"total": 3.5, "state": "paid", "lines": [{"sku": "a"}], "note": None}
    assert ask(monkeypatch, server, "--schema", "shop_types:Order", "--json", "x") == 0
    assert json.loads(capsys.readouterr().out)["value"] == {"total": 3.5}
    assert ask(monkeypatch, server, "--schema", "shop_types.Order", "x") == 1
    assert "OutputInvalid" in capsys.readouterr().err
    for wrong, code in (("nope.json", 1), ("shop_types:Nope", 2), ("nothing:X", 2)):
        assert ask(monkeypatch, server, "--schema", wrong, "x") == code
        assert wrong.partition(":")[0] in capsys.readouterr().err
    (tmp_path / "any.json").write_text('{"type": "object"}')
    assert ask(monkeypatch, server, "--schema", "any.json", "x") == 2
    assert "without properties" in capsys.readouterr().err


def test_as_json(
    server: WireServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.add(Reply("Nile."))
    assert ask(monkeypatch, server, "--json", "x") == 0
    out, _ = capsys.readouterr()
    record = json.loads(out)
    assert out.count("\n") == 1
    assert (record["text"], record["finish_reason"], record["request_id"]) == ("Nile.", "stop", "req_0000")
    assert record["usage"]["output_tokens"] > 0


TOOLS = """
import lutum

@lutum.tool
async def weather(city: str) -> str:
    \"\"\"Tell the weather.\"\"\"
    return f"snow in {city}"

tools = lutum.Toolset(weather)
number = 3
"""


def test_cli_ask_tools(
    server: WireServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Calls are run and shown on stderr, up to --max-rounds; what is not approved is not run."""
    (tmp_path / "shop_tools.py").write_text(TOOLS)
    monkeypatch.chdir(tmp_path)
    call = Reply(Say("Let me look."), Call("weather", {"city": "Oslo"}))
    server.add(call, Reply("Snow."))
    assert ask(monkeypatch, server, "--tools", "shop_tools:tools", "x") == 0
    out, err = capsys.readouterr()
    assert out == "Snow.\n"
    assert "weather" in err
    assert "snow in Oslo" in json.dumps(sent(server))
    server.add(call, call)
    assert ask(monkeypatch, server, "--tools", "shop_tools:weather", "--max-rounds", "1", "x") == 2
    assert "--max-rounds" in capsys.readouterr().err
    monkeypatch.setattr("lutum.cli._tools._approved", lambda _: False)
    server.add(call, Reply("Then not."))
    assert ask(monkeypatch, server, "--tools", "shop_tools:tools", "--approve", "x") == 0
    assert "did not approve" in json.dumps(sent(server))
    assert ask(monkeypatch, server, "--tools", "shop_tools:number", "x") == 2
    assert "@lutum.tool" in capsys.readouterr().err


def test_an_mcp_server(
    server: WireServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mcp")
    here = Path(__file__).parent / "mcp_server.py"
    server.add(Reply("ok"))
    assert ask(monkeypatch, server, "--mcp", f"{sys.executable} {here}", "x") == 0
    assert sent(server)["tools"]
    assert ask(monkeypatch, server, "--mcp", f"{sys.executable} /nope.py", "x") == 1
    assert capsys.readouterr().err


def test_a_store(
    server: WireServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """The second question goes on from the first."""
    url = f"sqlite:{tmp_path}/chats.db"
    server.add(Reply("Nile."), Reply("6,650 km."))
    assert ask(monkeypatch, server, "--store", url, "--branch", "trip", "A river?") == 0
    assert ask(monkeypatch, server, "--store", url, "--branch", "trip", "How long?") == 0
    assert [message["role"] for message in sent(server)["messages"]] == ["user", "assistant", "user"]
    with pytest.raises(SystemExit) as ended:
        main(["ask", "--branch", "trip", "x"])
    assert ended.value.code == 2
    capsys.readouterr()


@pytest.mark.parametrize(
    ("script", "args", "code", "out", "said"),
    [
        (Status(401, "authentication_error", "no"), (), 1, "", "401 authentication"),
        (Reply("half", stop_reason="max_tokens"), (), 3, "half\n", "cut at the output limit"),
        (Reply(Say("half of an answer"), Cut()), (), 1, "half of an answer\n", "Interrupted"),
        (Reply("never"), ("--budget", "5tokens"), 4, "", "BudgetExceeded"),
        (Reply("never"), ("--budget", "much"), 2, "", "0.05usd"),
        (Reply("never"), ("--effort", "high", "-o", "x"), 2, "", "option=value"),
    ],
)
def test_exit_codes(
    script: Script,
    args: tuple[str, ...],
    code: int,
    out: str,
    said: str,
    server: WireServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.add(script)
    assert ask(monkeypatch, server, *args, "x") == code
    written, err = capsys.readouterr()
    assert written == out
    assert said in err


def test_a_busy_provider_is_asked_again(
    server: WireServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_ask, "RETRY", type(_ask.RETRY)(attempts=2, initial=0.0))
    server.add(Status(529, "overloaded_error", "Overloaded"), Reply("Nile."), Status(500, "api_error", "no"))
    assert ask(monkeypatch, server, "x") == 0
    out, err = capsys.readouterr()
    assert out == "Nile.\n"
    assert "attempt 2 follows" in err
    assert ask(monkeypatch, server, "x") == 1  # 500 is told at once
    assert len(server.requests) == 3


def test_cli_ask_hostile_text(
    server: WireServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.add(Reply("a\x1b]52;c;eA==\x07b"), Reply("a\x1b[31mb"))
    assert ask(monkeypatch, server, "x") == 0
    assert "\x1b" not in capsys.readouterr().out
    assert ask(monkeypatch, server, "--raw", "x") == 0
    assert capsys.readouterr().out == "a\x1b[31mb\n"


@pytest.mark.parametrize(
    ("name", "said"),
    [("gpt-5.5", "provider:model"), ("cluade:m", "did you mean 'claude'"), ("claude:", "provider:model")],
)
def test_model_names(name: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", "--no-stdin", "-m", name, "x"]) == 2
    assert said in capsys.readouterr().err


def test_the_usual_model(monkeypatch: pytest.MonkeyPatch, server: WireServer) -> None:
    """LUTUM_MODEL, where none is named."""
    monkeypatch.setenv("LUTUM_MODEL", f"openai:gpt-5.5@{server.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("NO_PROXY", "*")
    server.add(Reply("ok"))
    assert main(["ask", "--no-stdin", "x"]) == 0
    assert sent(server)["model"] == "gpt-5.5"


@pytest.mark.parametrize(
    ("limit", "tokens", "cost"),
    [
        ("5000tokens", 5000, None),
        ("5_000 tokens", 5000, None),
        ("5k", 5000, None),
        ("0.05usd", None, "0.05"),
        ("$2", None, "2"),
    ],
)
def test_cli_ask_amounts(limit: str, tokens: int | None, cost: str | None) -> None:
    budget, pricing = _spending.local_budget(limit)
    left = budget.remaining
    assert left.total_tokens == tokens or tokens is None
    assert cost is None or str(left.cost_usd) == cost
    assert (pricing is None) is (cost is None)


def test_settings_of_lists() -> None:
    """Lists by commas or as JSON."""
    claude = lutum.ClaudeAdapter("m", api_key="k")
    assert _settings.settings_of(claude, ["stop=a,b"]).stop == ("a", "b")
    assert _settings.settings_of(claude, ['stop=["a,b"]']).stop == ("a,b",)


def environment() -> dict[str, str]:
    return {**os.environ, "ANTHROPIC_API_KEY": "k", "NO_PROXY": "*"}


def test_ctrl_c_and_a_closed_pipe(server: WireServer) -> None:
    """Both end quietly, with the exit codes of shells."""
    server.add(Reply(NeverEnding("more ", 0.001)), Reply(NeverEnding("more ", 0.001)))
    command = [*COMMAND, "--no-stdin", "-m", f"claude:m@{server.url}", "x"]
    for code in (130, 141):
        with subprocess.Popen(
            command,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as program:
            assert program.stdout is not None
            assert program.stderr is not None
            assert program.stdout.read(5) == b"more "
            if code == 130:
                program.send_signal(signal.SIGINT)
            else:
                program.stdout.close()
            assert program.wait(SECONDS) == code
            assert program.stderr.read() == b""
