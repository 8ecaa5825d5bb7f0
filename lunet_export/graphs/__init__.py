"""The two ONNX graphs, built from plain arrays; nothing here knows torch."""
