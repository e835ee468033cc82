"""What the git routes of a worker share, and what the requests of one of them do."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from msgspec import Struct

from fastproxy.asking import Asker, strict
from fastproxy.claims import Signer
from fastproxy.config.schema import Git, GitRoute
from fastproxy.errors import GitTimeout
from fastproxy.exchange import Exchange
from fastproxy.git.command import Command, Settings
from fastproxy.git.held import Disk
from fastproxy.git.permission import AnyGitPermission, GitlabPermission, GitPermission, judged
from fastproxy.git.process import GitProcess
from fastproxy.git.processes import Processes
from fastproxy.git.repository import opened
from fastproxy.handlers.coroutine import Tasks
from fastproxy.handlers.proxy.proxy_pass import PlainProxy, Target
from fastproxy.observe.git_metrics import GitMetrics
from fastproxy.observe.metrics import WorkerMetrics
from fastproxy.protocol import GITLAB, NATIVE, Dialect

_read_native = strict(GitPermission)
_read_gitlab = strict(GitlabPermission)
_READERS: Final[dict[Dialect, Callable[[bytes], AnyGitPermission]]] = {
    NATIVE: lambda body: judged(_read_native(body)),
    GITLAB: lambda body: judged(_read_gitlab(body)),
}


class GitRoom:
    """git's programs of one worker."""

    def __init__(self, git: Git, metrics: WorkerMetrics, tasks: Tasks, spill_dir: str) -> None:
        self.git = git
        self.tasks = tasks
        self.spill_dir = spill_dir
        self.disk = Disk()
        self.processes = Processes(git.program, git.processes, git.queue, git.queue_timeout)
        self.metrics = GitMetrics(metrics)
        metrics.samplers.append(self._sample)

    def _sample(self) -> None:
        self.metrics.processes["running"].set(self.processes.running)
        self.metrics.processes["waiting"].set(self.processes.waiting)

    @asynccontextmanager
    async def operation(self, name: str) -> AsyncIterator[None]:
        """Counted under `name`, and over within `git.timeout`. Raises GitTimeout."""
        with self.metrics.counted(name):
            try:
                async with asyncio.timeout(self.git.timeout):
                    yield
            except TimeoutError:
                raise GitTimeout(f"{name}: took over {self.git.timeout:g} s") from None

    async def start(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        settings: Settings = (),
        variables: Mapping[str, str] | None = None,
        is_writing: bool = False,
        program: str = "",
    ) -> GitProcess:
        """A program in the repository `name`, in its turn; see Command.

        Raises NoRepository, GitBusy, GitFailed.
        """
        with opened(self.git.root, name) as repository:
            command = Command(
                tuple(arguments),
                repository.descriptor,
                repository.path,
                (*self._settings, *settings),
                is_writing=is_writing,
                program=program,
                variables=variables or {},
            )
            return await self.processes.start(command)

    @property
    def _settings(self) -> Settings:
        """Those of the configuration, for every program."""
        hooks = {"": os.devnull, "repository": ""}.get(self.git.hooks, self.git.hooks)
        return (*((("core.hooksPath", hooks),) if hooks else ()), *self.git.config.items())


class GitKit(Struct, frozen=True):
    """`elsewhere`: for requests that are not git's."""

    room: GitRoom
    route: GitRoute
    asker: Asker[AnyGitPermission]
    elsewhere: Callable[[Exchange], None]


def git_kit(
    room: GitRoom, route: GitRoute, target: Target, signer: Signer, elsewhere: PlainProxy
) -> GitKit:
    """For a route."""
    read = _READERS[target.dialect]
    suffix = route.authorize_suffix
    asker = Asker(target.pool, signer, suffix, target.header_timeout_s, read, max_answer=64 * 1024)
    return GitKit(room, route, asker, elsewhere)
