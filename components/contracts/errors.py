"""The errors that people are told in one line, as a tree, and what each means to a shell and over HTTP.

::

    SkeletonAgentError        told in one line; any other exception is a defect of ours and keeps its traceback
    ├── InputError            the user's input is wrong: trying again changes nothing
    │   └── DamagedError      an artifact or a stored document is not what was written
    ├── UnavailableError      a store or an endpoint fails: try again later
    └── ResourceError         this machine lacks something: disk, memory, an engine, a package
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self


class SkeletonAgentError(Exception):
    """Something that a person is told in one line: what was found, and what was expected.

    Args:
        what: the message.
        at: the file, URI or field that it is about; the line begins with it.
    """

    exit_status = 1
    http_status = 500

    def __init__(self, what: str, *, at: object = "") -> None:
        self.what, self.at = what, str(at)
        super().__init__(f"{self.at}: {what}" if self.at else what)

    def renamed(self, names: Mapping[str, str]) -> Self:
        """Return the error with its place called as people know it: local path → URI or role.

        A stage works on local copies of what its user named by a URI; the error should name what the user did.
        """
        for local, name in names.items():
            if self.at == local or self.at.startswith((f"{local}/", f"{local}:")):
                return type(self)(self.what, at=name + self.at[len(local) :])
        return self


class InputError(SkeletonAgentError):
    """The user's input is wrong: a file, a setting, an argument."""

    exit_status = 2
    http_status = 422


class DamagedError(InputError):
    """An artifact or a stored document is not what was written: unfinished, cut, or changed."""


class UnavailableError(SkeletonAgentError):
    """A store or an endpoint does not serve now; the same may succeed later."""

    exit_status = 75  # EX_TEMPFAIL of sysexits.h
    http_status = 503


class ResourceError(SkeletonAgentError):
    """This machine lacks something: disk space, memory, a container engine, a package."""

    exit_status = 69  # EX_UNAVAILABLE of sysexits.h
    http_status = 507
