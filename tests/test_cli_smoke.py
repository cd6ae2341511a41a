"""`lutum smoke`: what works at an endpoint, what it lacks, what is broken; against wire servers."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal

from lutum import trace
from lutum.cli import _stand_in, main
from lutum.testing.wire import Answer, Call, Cut, Refuse, Reply, Say, Status, WireRequest, WireServer

CASES = ["text", "thinking", "tools", "structured", "replay", "cancel", "usage"]
Script = Callable[[WireRequest], Answer]
KEY = "sk-not-to-be-shown"
PROVIDERS = {"claude": "", "gemini": "", "openai": "/v1", "openai-chat": "/v1", "openrouter": "/api/v1"}

MODELS = {"gemini": "gemini-3.8-flash"}


@pytest.fixture(autouse=True)
def shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of somebody who has every key, and no proxy."""
    for name in ("ANTHROPIC", "GOOGLE", "OPENAI", "OPENROUTER"):
        monkeypatch.setenv(f"{name}_API_KEY", KEY)
        monkeypatch.delenv(f"{name}_BASE_URL", raising=False)
    monkeypatch.setenv("no_proxy", "*")


@contextmanager
def serving(script: Script = _stand_in.answer) -> Iterator[WireServer]:
    """An endpoint on a real socket, in another thread: the command has an event loop of its own."""
    with start_blocking_portal() as portal:
        server = WireServer(script)
        with portal.wrap_async_context_manager(server):
            yield server


def smoke(
    server: WireServer, capsys: pytest.CaptureFixture[str], *args: str, provider: str = "claude"
) -> tuple[int, dict[str, Any]]:
    """The exit code, and what `--json` prints."""
    path = PROVIDERS.get(provider, "/v1")
    where = [
        "--provider",
        provider,
        "--base-url",
        server.url + path,
        "--model",
        MODELS.get(provider, "claude-sonnet-4-5"),
    ]
    code = main(["smoke", *where, "--json", *args])
    out, err = capsys.readouterr()
    assert KEY not in out + err
    return code, json.loads(out)


def verdicts(report: dict[str, Any]) -> dict[str, str]:
    """What came out, by case."""
    return {found["case"]: found["verdict"] for found in report["cases"]}


@pytest.mark.parametrize("provider", ["wire", "wire-openai", "wire-openai-chat", "wire-gemini"])
def test_without_a_key(provider: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every case works at the server in this process, in each of its protocols."""
    assert main(["smoke", "--provider", provider]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert [line.split()[:2] for line in out.split("\n") if line.startswith("  works")] == [
        ["works", case] for case in CASES
    ]
    assert "7 works." in out
    assert max(map(len, out.split("\n"))) < 80


@pytest.mark.parametrize("provider", PROVIDERS)
def test_at_a_url(provider: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every case works at an endpoint with a URL, and a trace with what was sent is kept of each."""
    with serving() as server:
        code, report = smoke(server, capsys, "--strict", "--dump", str(tmp_path / "d"), provider=provider)
    assert verdicts(report) == dict.fromkeys(CASES, "works")
    assert code == 0
    assert all(found["usage"]["input_tokens"] > 0 for found in report["cases"])
    for case in CASES:
        data = (tmp_path / "d" / f"{case}.jsonl").read_bytes()
        kept = trace.load(data)
        assert kept.find("turn")
        assert [entry.kind for entry in kept.raw][:1] == ["request"]
        assert KEY.encode() not in data


def test_cli_smoke_completions(capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is no conversation, words, leaving and usage work, and the rest is lacking."""
    with serving() as server:
        code, report = smoke(server, capsys, provider="openai-completions")
    found = verdicts(report)
    assert [case for case in CASES if found[case] == "works"] == ["text", "cancel", "usage"]
    assert [case for case in CASES if found[case] == "lacking"] == [
        "thinking",
        "tools",
        "structured",
        "replay",
    ]
    assert code == 0


def refusing(member: str, status: int = 400) -> Script:
    """An endpoint that refuses requests with that member."""

    def answer(request: WireRequest) -> Answer:
        if request.json.get(member):
            return Status(status, message=f"{member}: not \x1b]52;c;cm0=\x07supported")
        return _stand_in.answer(request)

    return answer


@pytest.mark.parametrize(
    ("provider", "member", "case"),
    [
        ("claude", "tools", "tools"),
        ("openai", "tools", "tools"),
        ("openai-chat", "tools", "tools"),
        ("gemini", "tools", "tools"),
        ("claude", "output_config", "structured"),
        ("openai", "text", "structured"),
        ("openai-chat", "response_format", "structured"),
        ("claude", "thinking", "thinking"),
        ("openai-chat", "reasoning_effort", "thinking"),
    ],
)
def test_lacking(provider: str, member: str, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What an endpoint refuses is lacking, in its words; the other cases work, and so does the endpoint."""
    with serving(refusing(member)) as server:
        code, report = smoke(server, capsys, provider=provider)
        strict, _ = smoke(server, capsys, "--only", case, "--strict", provider=provider)
    assert verdicts(report) == dict.fromkeys(CASES, "works") | {case: "lacking"}
    assert "supported" in next(found["said"] for found in report["cases"] if found["case"] == case)
    assert (code, strict) == (0, 1)


def test_a_server_that_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """A 500 to what a server does not know is lacking when it comes again, and nothing when it does not."""
    with serving(refusing("tools", 500)) as server:
        _, every_time = smoke(server, capsys, "--only", "tools")
        assert len(server.requests) == 2
    failures = [Status(500)]

    def once(request: WireRequest) -> Answer:
        return failures.pop() if failures else _stand_in.answer(request)

    with serving(once) as server:
        _, at_first = smoke(server, capsys, "--only", "tools")
    assert (verdicts(every_time), verdicts(at_first)) == ({"tools": "lacking"}, {"tools": "works"})


@pytest.mark.parametrize("provider", ["claude", "openai", "openai-chat"])
def test_takes_no_notice(provider: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An endpoint that answers everything in words lacks thinking, tools and values."""
    with serving(lambda request: Reply(Say("Well, well."))) as server:
        code, report = smoke(server, capsys, provider=provider)
    lacking = {"thinking": "lacking", "tools": "lacking", "structured": "lacking"}
    assert verdicts(report) == dict.fromkeys(CASES, "works") | lacking
    assert code == 0


def test_calls_that_cannot_be_run(capsys: pytest.CaptureFixture[str]) -> None:
    """A call with arguments that are none is lacking; one that is made again and again has worked."""
    with serving(lambda request: Reply(Call("weather", "[1"))) as server:
        _, bad = smoke(server, capsys, "--only", "tools")
    with serving(lambda request: Reply(Call("weather", {"city": "Oslo"}))) as server:
        _, again = smoke(server, capsys, "--only", "tools")
    assert (verdicts(bad), verdicts(again)) == ({"tools": "lacking"}, {"tools": "works"})
    assert "malformed_arguments" in bad["cases"][0]["said"]


def test_broken(capsys: pytest.CaptureFixture[str]) -> None:
    """Answers that are cut, and stored turns that are refused, are broken: exit code 1."""

    def answer(request: WireRequest) -> Answer:
        body = request.body.decode()
        if "Name a river" in body and "And another" in body:
            return Status(400, message="I do not know this signature.")
        return Reply(Say("Well", Cut())) if request.json.get("tools") else _stand_in.answer(request)

    with serving(answer) as server:
        code, report = smoke(server, capsys)
    assert verdicts(report) == dict.fromkeys(CASES, "works") | {"tools": "broken", "replay": "broken"}
    assert code == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Status(401, message="invalid key"), "invalid key"),
        (Status(429, message="Slow down."), "Slow down."),
        (Refuse(), ""),
        (Reply(Say("Well", Cut())), "Interrupted"),
    ],
)
def test_nothing_else_is_tried(answer: Answer, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Where not even words come, the other cases are not sent."""
    with serving(lambda request: answer) as server:
        code, report = smoke(server, capsys)
        assert len(server.requests) == 1
    assert said in report["cases"][0]["said"]
    assert set(verdicts(report).values()) <= {"broken", "not run"}
    assert [found["said"] for found in report["cases"][1:]] == ["skipped, because text did not work"] * 6
    assert code == 1


def test_no_key_in_cli_smoke(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key nothing is sent: three lines."""
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    assert main(["smoke", "--provider", "claude"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "set ANTHROPIC_API_KEY" in err
    assert err.count("\n") == 3


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "--provider"),
        (["--provider", "openai", "--base-url", "http://x"], "--base-url needs --model"),
        (["--provider", "wire", "--model", "x"], "is a test server without --model"),
        (["--provider", "openai-completions"], "needs --model"),
        (["--provider", "wire", "--only", "poetry"], "structured"),
    ],
)
def test_wrong_arguments(args: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be meant is refused with what could be."""
    with pytest.raises(SystemExit) as ended:
        main(["smoke", *args])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
