"""The history of schema `gateway`. Forward only."""
