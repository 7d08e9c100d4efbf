"""Prometheus series that every service has, and the port that serves them."""

from collections.abc import Callable

from prometheus_client import Counter, Gauge, Histogram, start_http_server

RPC_HANDLED = Counter(
    "damso_rpc_handled_total", "Calls that ended, by status.", ["service", "method", "code"]
)
RPC_DURATION = Histogram(
    "damso_rpc_duration_seconds",
    "Time from a call's arrival to its end; of a stream, to its last message.",
    ["service", "method"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
RPC_RUNNING = Gauge("damso_rpc_running", "Calls being answered.", ["service", "method"])


def serve(host: str, port: int) -> Callable[[], None]:
    """Serves `/metrics` in a thread: ours and, where vLLM runs, its own `vllm:*` series.

    Returns:
        Stops it.

    Raises:
        OSError: The port is taken.
    """
    server, thread = start_http_server(port, addr=host)

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop
