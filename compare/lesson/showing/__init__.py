"""How the page shows formulas, code, numbers and curves."""
