"""Drawings made by code, a module a notebook."""
