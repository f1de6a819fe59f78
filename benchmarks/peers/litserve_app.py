"""The graph behind LitServe: `python litserve_app.py PORT WORKERS`."""

import sys

import litserve
from graph import Graph


class Classifier(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.graph = Graph()

    def decode_request(self, request):
        return request["request"].file.read()

    def predict(self, photo: bytes):
        return self.graph.answer(photo)

    def encode_response(self, output):
        return output


if __name__ == "__main__":
    server = litserve.LitServer(Classifier(), accelerator="cpu", workers_per_device=int(sys.argv[2]))
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
