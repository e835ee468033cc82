"""Requests that wait: for their turn, or for something to change."""
