"""EnvironmentManager: the environments of scripts from git. Each has the project of a commit installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from slurm.clusters import environment_cache, environment_cleanup
from slurm.environments.sources import is_project
from slurm.procedures.errors import ScriptError
from slurm.procedures.git import checked_url, files_of, find_commit
from slurm.procedures.preparing import environment_of
from slurm.protocol.procedures import ScriptRecord

if TYPE_CHECKING:
    from slurm.clusters.environment_cleanup import StoredEnvironment
    from slurm.procedures.commands import GitArgs
    from slurm.procedures.service import ScriptExecutionService


class ScriptEnvironment(NamedTuple):
    """An environment that has the project of a commit installed."""

    env_id: str
    """The key of the environment, as `slurm envs` lists it."""
    commit: str
    python: str
    """The path of the environment's Python, on the cluster."""


class EnvironmentManager:
    """Builds, lists and removes the environments of scripts from git, where a service runs its procedures."""

    def __init__(self, service: ScriptExecutionService) -> None:
        self._cluster = service.cluster

    def create_env(self, git_args: GitArgs) -> ScriptEnvironment:
        """Build the environment of a commit, unless it exists. Raises ScriptError, BuildFailed."""
        url = checked_url(git_args.git_repo)
        branch = None if git_args.git_commit else git_args.git_branch
        commit = find_commit(url, branch=branch, tag=None, commit=git_args.git_commit)
        if not is_project(str(files_of(url, commit))):
            raise ScriptError(f"commit {commit} of {url} has no project to install: no pyproject.toml at its top")
        script = ScriptRecord(kind="git", path="", digest=commit, text="", repository=url, project=True)
        found = environment_cache.prepare(self._cluster.place, (environment_of(script),), self._cluster.options)
        return ScriptEnvironment(found.key, commit, found.python)

    def list_envs(self) -> list[StoredEnvironment]:
        """Return all environments under the root, with the jobs that use them. Queries the scheduler."""
        return environment_cleanup.list_environments(self._cluster)

    def delete_env(self, env_id: str) -> None:
        """Remove an environment. Raises EnvironmentInUse, and ConfigurationError for an unknown one."""
        environment_cleanup.remove(self._cluster, [env_id])
