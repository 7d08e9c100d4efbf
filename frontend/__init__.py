"""The pages people use. Imports no service; `gateway.py` is its only door to the wire."""
