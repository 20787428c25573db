"""Connectors: one module a provider, each with a `CONNECTOR`."""
