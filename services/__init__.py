"""Damso's gRPC services. Each is a package of its own; they meet only through `proto/`."""
