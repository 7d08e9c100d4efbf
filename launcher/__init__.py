"""The local platform: databases, services and pages of one machine under one supervisor.

Knows processes, ports and environment variables; imports no service. `plan.py` says what runs,
`up.py` and the files beside it run it, supervisord keeps it running.
"""
