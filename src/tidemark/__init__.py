"""Tidemark: an AWS-native trading system for index futures. The tree of rooms is described in README.md."""

__version__ = "0.1.0"
