"""What a user of tritonclient would write; runs where only tritonclient is installed.

    python triton.py TARGET KEY PHOTO...

Prints one JSON object: what the server says of itself, and its answers to the encoded
photographs in one batch and to the first of them as pixels.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as triton

MODEL = "tiny"


def main(target: str, key: str, photos: list[str]) -> None:
    client = triton.InferenceServerClient(target)
    headers = {"x-api-key": key, "accept-language": "th"}
    metadata = client.get_model_metadata(MODEL, headers=headers)
    server = client.get_server_metadata()
    said = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": client.is_model_ready(MODEL, metadata.versions[0]),
        "unknown_ready": client.is_model_ready("nobody"),
        "server": server.name,
        "extensions": list(server.extensions),
        "versions": list(metadata.versions),
        "outputs": {tensor.name: [tensor.datatype, list(tensor.shape)] for tensor in metadata.outputs},
        "batch": answer(client, encoded([Path(photo).read_bytes() for photo in photos]), headers),
        "pixels": answer(client, pixels(np.load(photos[0] + ".npy")), headers),
        "refusal": refusal(client, encoded([b"no photograph"]), headers),
        "stranger": refusal(client, encoded([b"no photograph"]), {}),
        "shared": refusal(client, shared(), headers),
        "classes": refusal(
            client,
            encoded([Path(photos[0]).read_bytes()]),
            headers,
            outputs=[triton.InferRequestedOutput("probabilities", class_count=2)],
        ),
    }
    print(json.dumps(said))


def encoded(photos: list[bytes]) -> triton.InferInput:
    tensor = triton.InferInput("photo", [len(photos)], "BYTES")
    tensor.set_data_from_numpy(np.array(photos, dtype=np.object_))
    return tensor


def shared() -> triton.InferInput:
    tensor = triton.InferInput("photo", [1], "BYTES")
    tensor.set_shared_memory("region", 100)
    return tensor


def pixels(image: np.ndarray) -> triton.InferInput:
    tensor = triton.InferInput("pixels", [1, *image.shape], "UINT8")
    tensor.set_data_from_numpy(image[np.newaxis])
    return tensor


def answer(client: triton.InferenceServerClient, tensor: triton.InferInput, headers: dict[str, str]) -> dict:
    result = client.infer(MODEL, [tensor], headers=headers, request_id="one")
    response = result.get_response()
    found = {}
    for output in response.outputs:
        values = result.as_numpy(output.name).tolist()
        found[output.name] = [value.decode() if isinstance(value, bytes) else value for value in values]
    columns = result.get_output("probabilities").parameters
    return {
        "id": response.id,
        "version": response.model_version,
        "classes": json.loads(columns["classes"].string_param),
        "display_names": json.loads(columns["display_names"].string_param),
        "disclaimer": response.parameters["disclaimer"].string_param,
        "outputs": found,
    }


def refusal(
    client: triton.InferenceServerClient, tensor: triton.InferInput, headers: dict[str, str], **options: Any
) -> list[str]:
    try:
        client.infer(MODEL, [tensor], headers=headers, **options)
    except triton.InferenceServerException as error:
        return [error.status(), error.message()]
    raise SystemExit("answered")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
