"""The lesson: formula, NumPy code, torch call and live numbers side by side, as one HTML page."""
