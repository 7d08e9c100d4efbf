"""The front door: conversations, one chat turn across the services, and forwarded calls."""
