"""`slurm mcp`: agents read jobs, and submit with a confirmation only. The client is that of the package `mcp`."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters, stdio_client

from slurm import Cluster

MODULE = """\
from slurm import task

print("a module that prints when it is imported")

@task(mem="50M", time="5")
def halve(x: int, by: int = 2) -> float:
    "Divide a number."
    print("halving", x)
    return x / by

def other() -> None: ...
"""


class Agent:
    """A client of a server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def tools(self) -> dict[str, bool | None]:
        """The names of the tools, and whether they are marked as read-only."""
        listed = (await self._client.list_tools()).tools
        return {tool.name: tool.annotations.read_only_hint if tool.annotations else None for tool in listed}

    async def call(self, name: str, **arguments: Any) -> Any:
        """What a tool answers."""
        answer = await self._client.call_tool(name, arguments)
        assert not answer.is_error, answer.content
        assert answer.structured_content is not None
        return answer.structured_content.get("result", answer.structured_content)

    async def refused(self, name: str, **arguments: Any) -> str:
        """The error of a tool."""
        answer = await self._client.call_tool(name, arguments)
        assert answer.is_error
        return str(answer.content)


def with_agent(directory: Path, story: Any, *words: str) -> None:
    """Start a server, and have an agent use it."""
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "slurm", "mcp", *words], cwd=directory, env=dict(os.environ)
    )

    async def run() -> None:
        async with Client(stdio_client(server)) as client:
            await story(Agent(client))

    asyncio.run(run())


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a module of tasks."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "numbers_of_mine.py").write_text(MODULE)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "project"


def test_an_agent_submits_with_a_confirmation_only(cluster: Cluster, project: Path) -> None:
    async def story(agent: Agent) -> None:
        marks = await agent.tools()
        assert [name for name, read_only in marks.items() if not read_only] == ["confirm"]
        (found,) = await agent.call("tasks")
        assert found == {
            "task": "numbers_of_mine:halve",
            "signature": "(x: int, by: int = 2) -> float",
            "description": "Divide a number.",
            "options": {"mem": "50M", "time": "5"},
        }
        planned = await agent.call("submit", task=found["task"], arguments={"x": 3}, options={"time": "10"})
        assert "--time=10\n" in planned["plan"]
        assert Cluster(cluster.url).jobs() == []
        assert "no submission waits" in await agent.refused("confirm", confirmation="0" * 16)
        submitted = await agent.call("confirm", confirmation=planned["confirmation"])
        assert "no submission waits" in await agent.refused("confirm", confirmation=planned["confirmation"])
        job = Cluster(cluster.url).job(submitted["key"])
        assert (await asyncio.to_thread(job.exception, 90)) is None  # type: ignore[union-attr]
        (log,) = await agent.call("logs", key=submitted["key"], lines=1)
        assert (log["of"], log["text"]) == ([submitted["key"]], "halving 3")
        (listed,) = await agent.call("jobs", task="hal*", state="COMPLETED", since="1h")
        assert (listed["key"], listed["count"]) == (submitted["key"], 1)
        shown = await agent.call("show", key="last")
        assert shown["states"] == {"COMPLETED": 1}

    with_agent(project, story, "--on", cluster.url, "--module", "numbers_of_mine")


def test_failed_calls_are_explained_and_submitted_again(local: Cluster, project: Path) -> None:
    async def story(agent: Agent) -> None:
        planned = await agent.call("submit", task="numbers_of_mine:halve", items=[{"x": 1}, {"x": 1, "by": 0}])
        key = (await agent.call("confirm", confirmation=planned["confirmation"]))["key"]
        await asyncio.to_thread(Cluster(local.url).job(key).exceptions, 60)  # type: ignore[union-attr]
        assert "ZeroDivisionError" in str(await agent.call("explain", key=key))
        planned = await agent.call("retry", key=key, options={"mem": "60M"})
        assert planned["plan"] == f"submit 1 of 2 calls of {key} again, on {local.url}, with {{'mem': '60M'}}"
        again = (await agent.call("confirm", confirmation=planned["confirmation"]))["key"]
        assert Cluster(local.url).job(again).part.state.count == 1
        assert len(await agent.call("jobs")) == 2

    with_agent(project, story, "--on", local.url, "--module", "numbers_of_mine")


def test_wrong_arguments_are_errors_that_say_what_to_write(local: Cluster, project: Path) -> None:
    async def story(agent: Agent) -> None:
        assert "started without --module" in await agent.refused("submit", task="os:system", arguments={})
        assert "there is no job 'nothing'" in await agent.refused("show", key="nothing")
        assert "is not a state" in await agent.refused("jobs", state="broken")
        assert await agent.call("jobs") == []

    with_agent(project, story, "--on", local.url)

    async def of_a_task(agent: Agent) -> None:
        name = "numbers_of_mine:halve"
        assert "either arguments" in await agent.refused("submit", task=name)
        assert "did you mean mem" in await agent.refused(
            "submit", task=name, arguments={"x": 1}, options={"meme": "1G"}
        )
        assert "missing" in await agent.refused("submit", task=name, arguments={})

    with_agent(project, of_a_task, "--on", local.url, "--module", "numbers_of_mine")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--module", "no_such_module"], "cannot import no_such_module"),
        (["--module", "json"], "the module json has no task"),
        (["--on", "nowhere"], "nowhere"),
    ],
)
def test_a_server_that_cannot_be_of_use_does_not_start(project: Path, words: list[str], message: str) -> None:
    argv = [sys.executable, "-m", "slurm", "mcp", *words]
    done = subprocess.run(argv, cwd=project, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode != 0
    assert message in done.stderr
    assert done.stdout == ""


def test_without_the_package_the_command_says_what_to_install(project: Path) -> None:
    (project / "mcp.py").write_text("raise ImportError('not here')")
    code = "import sys; sys.argv = ['slurm', 'mcp']; from slurm.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'slurm-tasks[mcp]'" in done.stderr
