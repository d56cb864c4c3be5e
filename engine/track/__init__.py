"""A run in the tools that people watch their experiments with: MLflow, Weights & Biases, TensorBoard."""
