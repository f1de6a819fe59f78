from pathlib import Path
from shutil import copytree, ignore_patterns

from protos.generate import ROOT, stale


def test_the_stubs_are_what_their_protos_give() -> None:
    assert stale() == []


def test_a_changed_proto_makes_its_stubs_stale(tmp_path: Path) -> None:
    root = tmp_path / "protos"
    copytree(ROOT, root, ignore=ignore_patterns("__pycache__"))
    source = root / "amulet" / "graph" / "v1" / "graph.proto"
    source.write_text(source.read_text().replace("bool embedding = 3;", "bool embedding = 3;\n  bool later = 99;"))

    assert Path("amulet/graph/v1/graph_pb2.py") in stale(root)


def test_a_stub_without_its_proto_is_stale(tmp_path: Path) -> None:
    root = tmp_path / "protos"
    copytree(ROOT, root, ignore=ignore_patterns("__pycache__"))
    (root / "amulet" / "v1" / "forgotten_pb2.py").write_text("")

    assert stale(root) == [Path("amulet/v1/forgotten_pb2.py")]
