"""Errors of tools. ToolError is the base of all."""

from __future__ import annotations

from slurm.errors import SlurmError


class ToolError(SlurmError):
    """Base class of the errors of tools."""


class RunDirectoryError(ToolError):
    """A run directory has an invalid name, is missing, or contains other files."""


class RunNotWritten(RunDirectoryError):
    """A run directory, or a record in it, could not be written, such as on a full disk."""


class NotPrepared(RunDirectoryError):
    """There is no such run directory, or it has no manifest."""


class AlreadySubmitted(ToolError):
    """A stage was submitted before, and `again` was not given."""


class ManifestError(ToolError):
    """A manifest is missing or invalid. The message names the file, the field, and the version that wrote it."""


class TemplateError(ToolError):
    """A template is missing, or an override does not fit it."""
