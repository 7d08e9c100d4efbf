"""What any service process needs, and no service's own business.

A service's `server.py` builds its parts and hands them to `server.running`; every call then
passes through `calls.CallScope`, which gives it a request id, a trace, a deadline, telemetry, one
log line and typed errors.
"""
