"""Uploads taken over from a backend: permission, transfer into a store, the signed report."""
