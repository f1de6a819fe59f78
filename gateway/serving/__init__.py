"""The backend: what runs the graph, and whether it still tells the truth.

    torchserve   one request to one version, typed in and typed out
    batches      calls that come together share a request
    tokens       the token that TorchServe asks for, renewed before it expires
    readiness    golden photographs through the real worker, again and again

Never decides what an answer means, and never manages models: that is the console's.
"""
