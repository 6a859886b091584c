"""Postroom sends one message to a large group and accounts for every single recipient."""

__version__ = "0.1.0"
