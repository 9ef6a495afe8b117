"""Boot: the programs that start this library's Python processes, as arguments of `python -c`.

`python -c` and `python -m` search the working directory before the standard library, and the user may have an
operator.py there. `-I` would also ignore PYTHONPATH and the user's own packages, and `-P` requires Python 3.11. So each
program removes the working directory from the search path before it imports anything.
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
            sys.exit(f"{{found}}: it must belong to you and be writable only by you (chmod go-w, or another root=…)")
    sys.path = [runner, *sys.path, *filter(None, [here])]
    import gc
    gc.disable()
    main = __import__(module, fromlist=["main"]).main
    gc.freeze()
    gc.enable()
    return main(arguments)
sys.exit(boot(*sys.argv[1:]))
"""
"""Runs `main` of a module in the runner's zip: `python -c BOOT zip module argument…`.

The zip and its directory must belong to the user and be writable by nobody else, by the rule of
`slurm.protocol.ownership`; this costs two stats. The working directory is searched last, so that a task can import from
it, even if an empty item in PYTHONPATH names it. `python runner.zip` uses `runpy` and takes 1.5 times as long. The
garbage collector would examine the modules many times while they are loaded, although they are never freed.
"""

RUN_MODULE = f"{_FIRST}import runpy; del sys.argv[0]; runpy.run_module(sys.argv[0], None, '__main__', True)"
"""Runs a module like `python -m`: `python -c RUN_MODULE pip argument…`."""

RUN_SOURCE = f"{_FIRST}exec(sys.argv.pop(1))"
"""Runs source text: `python -c RUN_SOURCE text argument…`."""
