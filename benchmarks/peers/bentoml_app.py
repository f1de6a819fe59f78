"""The graph behind BentoML: `bentoml serve bentoml_app:Classifier`."""

import os
from typing import Annotated, Any

import bentoml
from bentoml.validators import ContentType
from graph import Graph


@bentoml.service(workers=int(os.environ["BENCH_WORKERS"]), threads=1, traffic={"timeout": 30})
class Classifier:
    def __init__(self) -> None:
        self.graph = Graph()

    @bentoml.api(route="/predict")
    def predict(self, photo: Annotated[bytes, ContentType("image/jpeg")], /) -> dict[str, Any]:
        return self.graph.answer(photo)
