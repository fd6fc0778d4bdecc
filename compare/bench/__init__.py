"""How fast the twins are: measured side by side, in one process, on results that were found equal first."""
