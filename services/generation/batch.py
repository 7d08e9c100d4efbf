"""Many completions over one stream: one message per engine step for all of them.

There is no task per completion while it is decoded: vLLM's outputs are drained at each step.
"""

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.generation.engine import CompletionRequest, Step
from services.generation.host import EngineHost
from services.runtime.errors import InvalidArgument, ServiceError

if TYPE_CHECKING:
    from services.generation.vllm_completion import VllmCompletion

_MOST_OPEN = 4096
"""Requests of one stream that are not over; more are read when others are."""


@dataclass(frozen=True, slots=True)
class Start:
    """Starts a completion."""

    request: CompletionRequest


@dataclass(frozen=True, slots=True)
class Refused:
    """Stands for a request that could not be read."""

    request_id: str
    error: ServiceError


@dataclass(frozen=True, slots=True)
class Abort:
    """Ends a completion."""

    request_id: str


Command = Start | Refused | Abort


@dataclass(frozen=True, slots=True)
class Item:
    """What one step brought to one request: a step, or the error that ended it."""

    request_id: str
    result: Step | ServiceError


class Batch:
    """The completions of one stream.

    Args:
        host: Runs them.
        send: Takes one step's items. While it waits, the completions' steps merge.
    """

    def __init__(self, host: EngineHost, send: Callable[[list[Item]], Awaitable[None]]) -> None:
        self._host = host
        self._send = send
        self._steps = host.engine.steps
        self._woken = self._steps.listen()
        self._open: dict[str, VllmCompletion | ServiceError | None] = {}
        """By request id; None: being started."""
        self._aborted: set[str] = set()
        """Those of them that shall end as soon as they have started."""
        self._places = asyncio.Semaphore(_MOST_OPEN)
        self._fault: ServiceError | None = None

    async def run(self, commands: AsyncIterable[Command]) -> None:
        """Runs commands until there are no more and the last completion is over.

        Raises:
            ServiceError: A command breaks the stream's rules; its completions end.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                reader = tasks.create_task(self._read(commands, tasks))
                while not self._fault and not (reader.done() and not self._open):
                    await self._woken.wait()
                    self._woken.clear()
                    if items := await self._drain():
                        await self._send(items)
        finally:
            self._steps.forget(self._woken)
            for completion in self._open.values():
                if completion is not None and not isinstance(completion, ServiceError):
                    await completion.aclose()
        if self._fault:
            raise self._fault

    async def _read(self, commands: AsyncIterable[Command], tasks: asyncio.TaskGroup) -> None:
        try:
            async for command in commands:
                match command:
                    case Start(request):
                        await self._take_place(request.request_id)
                        tasks.create_task(self._start(request))
                    case Refused(request_id, error):
                        await self._take_place(request_id)
                        self._enter(request_id, error)
                    case Abort(request_id):
                        await self._abort(request_id)
        except ServiceError as error:
            self._fault = error
        finally:
            self._woken.set()

    async def _take_place(self, request_id: str) -> None:
        if request_id in self._open:
            raise InvalidArgument(
                "start.request_id is running on this stream already; choose another",
                field="start.request_id",
            )
        await self._places.acquire()
        self._open[request_id] = None

    async def _start(self, request: CompletionRequest) -> None:
        try:
            completion = await self._host.start(request)
        except ServiceError as error:
            self._enter(request.request_id, error)
            return
        self._enter(request.request_id, completion)
        if request.request_id in self._aborted:
            await self._abort(request.request_id)

    def _enter(self, request_id: str, started: "VllmCompletion | ServiceError") -> None:
        self._open[request_id] = started
        self._woken.set()  # its first step may have come before it was listed

    async def _abort(self, request_id: str) -> None:
        match self._open.get(request_id):
            case ServiceError():
                pass  # over, and about to be reported
            case None:
                if request_id in self._open:
                    self._aborted.add(request_id)
            case completion:
                await completion.abort()
                self._woken.set()

    async def _drain(self) -> list[Item]:
        """What has come since the last time."""
        items = []
        for request_id, started in list(self._open.items()):
            result = started if isinstance(started, ServiceError) else _taken(started)
            if result is None:
                continue
            items.append(Item(request_id, result))
            if isinstance(result, ServiceError) or result.usage is not None:
                del self._open[request_id]
                self._aborted.discard(request_id)
                self._places.release()
                if started is not None and not isinstance(started, ServiceError):
                    await started.aclose()
        return items


def _taken(completion: "VllmCompletion | None") -> Step | ServiceError | None:
    try:
        return completion.take() if completion is not None else None
    except ServiceError as error:
        return error
