"""From what was fitted to what is served: one self-contained ONNX graph, checked against its origin."""
