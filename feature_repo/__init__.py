"""The flights example, features that do not notice a move: `python -m feature_repo.example` tells it, README.md shows it."""
