"""Record docs/terminal.svg, the picture in the README: `python docs/record_terminal.py`.

The commands run in a terminal, on the scheduler `local`. The picture shows what they print, colours included. The
path of the temporary directory is replaced.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

PROGRAM = Path(__file__).parents[1] / "examples" / "invert.py"
PICTURE = Path(__file__).with_name("terminal.svg")
WIDTH = 98
HOME = "/home/ann"
COMMANDS = ("python invert.py", "slurm jobs", "slurm show invert", "slurm logs 'invert[2]'")


def main() -> None:
    """Run the commands, and write the picture."""
    source = PROGRAM.read_text()
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    _prompt(console, "cat invert.py")
    console.print(Syntax(source.rstrip(), "python", theme="monokai", background_color="default"))
    with tempfile.TemporaryDirectory() as home:
        Path(home, "invert.py").write_text(source)
        for command in COMMANDS:
            _prompt(console, command)
            console.print(Text.from_ansi(_printed(command, home).replace(os.path.realpath(home), HOME)), soft_wrap=True)
    svg = console.export_svg(title="slurm", unique_id="terminal")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # nothing is loaded from other hosts
    PICTURE.write_text(re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE))


def _prompt(console: Console, command: str) -> None:
    console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))


def _printed(command: str, home: str) -> str:
    """What a command prints in a terminal of this width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, WIDTH, 0, 0))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "NO_COLOR"))}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = kept | {"HOME": home, "SCRATCH": home, "PATH": path, "TERM": "xterm-256color", "COLUMNS": str(WIDTH)}
    argv = shlex.split(command)
    with subprocess.Popen(argv, cwd=home, env=env, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        printed = b""
        while read := _read(ours):
            printed += read
    os.close(ours)
    if process.returncode > 1:  # 1: a call has failed
        raise SystemExit(f"{command}: {printed.decode()}")
    return printed.decode().replace("\r\n", "\n").rstrip("\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux: no process has the other end any more
        return b""


if __name__ == "__main__":
    main()
