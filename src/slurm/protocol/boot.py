"""Boot: the programs that `python -c` is given wherever a process of ours starts.

`python -c` and `python -m` search the working directory before the standard library, where a user may have an
operator.py. `-I` would ignore PYTHONPATH and the user's own packages as well, and `-P` came with Python 3.11. So each
program takes the working directory off the search path before it imports anything.
"""

from __future__ import annotations

_FIRST = """\
import sys
sys.path = [path for path in sys.path if path]
def leave():
    import os
    try:
        here = os.getcwd()
    except OSError:
        return ""
    named = (os.environ.get("PYTHONPATH") or here).split(":")
    if {"", "."} & set(named) and here not in named and here in sys.path:
        sys.path.remove(here)
    return here
here = leave()
"""

BOOT = f"""\
{_FIRST}
def boot(runner, module, *arguments):
    import os
    def alone(gid):
        import grp, pwd
        try:
            group, me = grp.getgrgid(gid), pwd.getpwuid(os.geteuid()).pw_name
        except KeyError:
            return False
        members = set(group.gr_mem) | {{user.pw_name for user in pwd.getpwall() if user.pw_gid == gid}}
        return (members or {{group.gr_name}}) == {{me}}
    for path in os.path.dirname(runner), runner:
        status = os.stat(path)
        loose = status.st_mode & 0o002 or status.st_mode & 0o020 and not alone(status.st_gid)
        if loose or status.st_uid != os.geteuid():
            found = f"{{path}} belongs to user {{status.st_uid}} and has mode {{status.st_mode & 0o7777:04o}}"
            sys.exit(f"{{found}}: to be run it must be yours and writable by nobody else (chmod go-w; or root=…)")
    sys.path = [runner, *sys.path, *filter(None, [here])]
    return __import__(module, fromlist=["main"]).main(arguments)
sys.exit(boot(*sys.argv[1:]))
"""
"""Starts `main` of a module of the runner's zip: `python -c BOOT zip module argument…`.

The zip and its directory must be the user's and writable by nobody else, as `slurm.protocol.ownership` has it: two
stats. The working directory is searched last, for what a task may import from it, also where an empty item in
PYTHONPATH names it. `python runner.zip` would go through `runpy`, half as slow again to start.
"""

RUN_MODULE = f"{_FIRST}import runpy; del sys.argv[0]; runpy.run_module(sys.argv[0], None, '__main__', True)"
"""As `python -m` does: `python -c RUN_MODULE pip argument…`."""

RUN_SOURCE = f"{_FIRST}exec(sys.argv.pop(1))"
"""Runs a program that is sent as text: `python -c RUN_SOURCE text argument…`."""
