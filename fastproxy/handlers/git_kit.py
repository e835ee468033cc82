"""What the git routes of a worker share, and what the requests of one of them do."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fastproxy.asking import Asker, strict
from fastproxy.claims import Signer
from fastproxy.config.schema import Git, GitRoute
from fastproxy.exchange import Exchange
from fastproxy.git.command import Settings
from fastproxy.git.permission import AnyGitPermission, GitlabPermission, GitPermission, judged
from fastproxy.git.processes import Processes
from fastproxy.handlers.coroutine import Tasks
from fastproxy.handlers.proxy_pass import PlainProxy, Target
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
        self.processes = Processes(git.program, git.processes, git.queue, git.queue_timeout)
        self.metrics = GitMetrics(metrics)
        metrics.samplers.append(self._sample)

    def _sample(self) -> None:
        self.metrics.processes["running"].set(self.processes.running)
        self.metrics.processes["waiting"].set(self.processes.waiting)

    @property
    def settings(self) -> Settings:
        """Those of the configuration, for every program."""
        hooks = {"": os.devnull, "repository": ""}.get(self.git.hooks, self.git.hooks)
        return (*((("core.hooksPath", hooks),) if hooks else ()), *self.git.config.items())


@dataclass(frozen=True, slots=True)
class GitKit:
    """`elsewhere`: for requests that are not git's."""

    room: GitRoom
    route: GitRoute
    asker: Asker[AnyGitPermission]
    elsewhere: Callable[[Exchange], None]


def git_kit(
    room: GitRoom, route: GitRoute, target: Target, signer: Signer, max_body: int
) -> GitKit:
    """For a route; `max_body` of what is proxied, in bytes."""
    read = _READERS[target.dialect]
    suffix = route.authorize_suffix
    asker = Asker(target.pool, signer, suffix, target.header_timeout_s, read, max_answer=64 * 1024)
    return GitKit(room, route, asker, PlainProxy(target, max_body, websocket=False))
