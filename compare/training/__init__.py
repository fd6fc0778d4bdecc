"""Both models on the same batches, step by step, with what they did in TensorBoard."""
