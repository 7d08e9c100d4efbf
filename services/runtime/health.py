"""gRPC's health checks, for a process that may be loading, serving or draining."""

import asyncio
from contextlib import suppress

from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio

from services.runtime.calls import Context

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class HealthServicer(aio.HealthServicer):
    """Answers `Check` and `Watch`. Watches end when the process drains, so that none delays it."""

    def __init__(self) -> None:
        super().__init__()
        self._watches: set[asyncio.Timeout] = set()

    async def set_serving(self, service: str, serving: bool) -> None:
        """Tells watchers and later checks; has no effect once the process drains."""
        await self.set(service, _SERVING if serving else _NOT_SERVING)

    async def drain(self) -> None:
        """Says NOT_SERVING from now on."""
        await self.enter_graceful_shutdown()
        for watch in self._watches:
            watch.reschedule(0)

    async def Watch(  # noqa: N802 - gRPC names it
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> None:
        """Tells each state of a service, until the process drains."""
        with suppress(TimeoutError):
            async with asyncio.timeout(None) as watch:
                self._watches.add(watch)
                try:
                    await super().Watch(request, context)
                finally:
                    self._watches.discard(watch)
        await context.write(health_pb2.HealthCheckResponse(status=_NOT_SERVING))
