"""For authors of connectors and formats: suites that hold an implementation to its contract, and stores that fail on purpose."""
