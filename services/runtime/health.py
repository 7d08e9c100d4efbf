"""gRPC's health checks, for a process that may be loading, serving or draining."""

import asyncio

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.runtime.calls import Context

_Response = health_pb2.HealthCheckResponse


class HealthServicer(health_pb2_grpc.HealthServicer):
    """Tells the state of each service.

    Unlike gRPC's own, its watches end when the process drains: each would delay the end.
    """

    def __init__(self) -> None:
        self._states: dict[str, int] = {}
        self._draining = False
        self._changed = asyncio.Condition()

    async def set_serving(self, service: str, serving: bool) -> None:
        """Tells watchers and later checks; has no effect once the process drains."""
        if not self._draining:
            self._states[service] = _Response.SERVING if serving else _Response.NOT_SERVING
            await self._tell()

    async def drain(self) -> None:
        """Says NOT_SERVING from now on, and ends the watches."""
        self._draining = True
        self._states = dict.fromkeys(self._states, _Response.NOT_SERVING)
        await self._tell()

    async def Check(  # noqa: N802 - gRPC names it
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        """Tells the state of a service, or of the process for an empty name."""
        if request.service not in self._states:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return _Response(status=self._states[request.service])

    async def Watch(  # noqa: N802 - gRPC names it
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> None:
        """Tells the state of a service and each change of it, until the process drains."""
        told: int | None = None

        def is_news() -> bool:
            return self._state(request.service) != told

        while is_news() or not self._draining:
            async with self._changed:
                await self._changed.wait_for(lambda: is_news() or self._draining)
            if is_news():
                told = self._state(request.service)
                await context.write(_Response(status=told))

    def _state(self, service: str) -> int:
        return self._states.get(service, _Response.SERVICE_UNKNOWN)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()
