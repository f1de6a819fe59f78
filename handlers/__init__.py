"""What runs inside an archive, in TorchServe's worker: photographs in, the graph's outputs out.

`amulet_handler` is one self-contained file, because it travels in every archive and its
SHA-256 is on the allow-list: it imports onnxruntime, numpy, Pillow, protobuf and the stub
of `graph.proto` that travels with it, and never anything else of ours.
"""
