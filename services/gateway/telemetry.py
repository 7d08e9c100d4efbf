"""Prometheus series of the gateway."""

from prometheus_client import Counter, Gauge, Histogram

TURNS = Counter("damso_chat_turns_total", "Turns that ended, by how.", ["state"])
TIME_TO_FIRST_TOKEN = Histogram(
    "damso_chat_time_to_first_token_seconds",
    "Time from a turn's call to its first text.",
    buckets=(0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 30),
)
RUNNING_TURNS = Gauge("damso_chat_running_turns", "Turns being made by this process.")
