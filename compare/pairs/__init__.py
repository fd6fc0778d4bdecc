"""A pair: a layer, loss, optimizer or model and its twin, driven and judged."""
