"""Zip archives that lie in a store: what is in them, and one member at a time, by ranged reads."""
