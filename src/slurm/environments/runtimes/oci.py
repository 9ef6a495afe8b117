"""Slurm's own containers: `srun --container` runs an OCI bundle with the runtime in the site's oci.conf."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from slurm.environments.runtimes.base import AS_STEP, BUNDLE, Runtime, path, with_control_pipe, words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slurm.environments.runtimes.base import Image, Run

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_OWN_MOUNTS = (
    ("/proc", "proc", "proc", ()),
    ("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    ("/dev/pts", "devpts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620")),
    ("/tmp", "tmpfs", "tmpfs", ("nosuid", "nodev", "mode=1777")),  # noqa: S108 - the container's own
)


class SlurmOCI(Runtime):
    """An image is a bundle: a directory with the files of the image and a config.json."""

    name: ClassVar[str] = "slurm"
    program: ClassVar[str] = "srun"
    takes: ClassVar[str] = BUNDLE
    is_step: ClassVar[bool] = True

    def run(self, image: Image, run: Run) -> Sequence[str]:
        """Run the container with srun, which keeps the variables of the job.

        Signals pass through the control pipe, as with the engines: those that srun forwards end Slurm's own process
        beside the container (22.05). The input of srun goes to all tasks of the step.
        """
        return (
            *AS_STEP,
            "unset PYTHONHOME PYTHONPATH VIRTUAL_ENV",
            "step[0]=$(command -v ${step[0]})",
            f"export PATH={_PATH}",
            # srun (24.11) resolves a bare name with the PATH outside the container.
            """case $1 in /*) absolute=() ;; *) absolute=(/bin/sh -c 'exec "$0" "$@"') ;; esac""",
            *(["absolute=()"] if run.shell else ()),
            *with_control_pipe(
                f'"${{step[@]}}" --container={path(image.name)}{words(run.options)} "${{absolute[@]}}"', run
            ),
            '[ "$status ${stopped-}" != "0 TERM" ] || status=143',  # srun returns 0 if it was ended before the command
            "exit $status",
        )

    def single(self, srun: str) -> str | None:
        """Return a reason before Slurm 23.02.

        There, slurmstepd refuses several tasks on a node, and sets no SLURM_PROCID on other nodes.
        """
        found = re.search(r"(\d+)\.(\d+)", srun)
        if found is None or (int(found[1]), int(found[2])) >= (23, 2):
            return None
        return (
            "`srun --container` of this Slurm runs a single process only: choose another runtime "
            "(Container(…, runtime='podman'), or apptainer, docker, pyxis)"
        )


def bundle(rootfs: str, run: Run, *, uid: int, gid: int) -> dict[str, Any]:
    """Return the config.json of a bundle. Slurm fills in the command and its variables.

    The format is that of the runtime specification of the Open Container Initiative.
    """
    shared = [("/dev/shm", "/dev/shm", ("rbind", "rw")), ("/sys", "/sys", ("rbind", "ro"))]  # noqa: S108
    binds = [(run.root, run.root, False), *run.mounts]
    shared += [(target, source, ("rbind", "ro" if readonly else "rw")) for source, target, readonly in binds]
    namespaces = ["pid", "mount", "user", *([] if run.network else ["network"])]
    return {
        "ociVersion": "1.0.0",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": ["true"],
            "env": [f"PATH={_PATH}"],
            "cwd": run.workdir or "/tmp",  # noqa: S108 - the container's own
            "noNewPrivileges": True,
        },
        "root": {"path": rootfs, "readonly": True},
        "mounts": [
            *({"destination": d, "type": t, "source": s, "options": [*o]} for d, t, s, o in _OWN_MOUNTS),
            *({"destination": d, "type": "none", "source": s, "options": [*o]} for d, s, o in shared),
        ],
        "linux": {
            "uidMappings": [
                {"containerID": 0, "hostID": uid, "size": 1}
            ],  # without root, runc needs a mapping for root
            "gidMappings": [{"containerID": 0, "hostID": gid, "size": 1}],
            "namespaces": [{"type": kind} for kind in namespaces],
        },
    }
