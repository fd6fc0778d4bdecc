"""Does it compute the same? Layers, losses, optimizers and models against their twins, tensor by tensor."""
