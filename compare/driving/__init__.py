"""Somebody's own code, made and driven as it is. This is what runs beside that code: NumPy and the standard library.

Nothing here knows what is right: torch, `scratch` and the pairs stay in the process that judges (`contained/`).
"""
