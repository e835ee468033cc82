"""Processes, signals and commands."""
