"""A card for people: what stands on it is what the card says, and nothing of it is read as markup."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from click.testing import CliRunner

from model_store.card import Card, ClassCard, GraphCard, LookAlikesCard
from tests.unit.training.conftest import SmallRun
from training.commands.export import card as command
from training.export import card_page


def card_of(run: SmallRun) -> Card:
    return Card.parse((run.run / "model.json").read_bytes())


def test_a_run_comes_with_its_card_for_people(small_run: SmallRun) -> None:
    card = card_of(small_run)
    page = (small_run.run / "card.html").read_text("utf-8")
    assert page == card_page.page(card)
    assert all(figure.name in page and figure.data in page for figure in card.metrics)
    for said in (card.version, "เชอร์รี", "Stone fruit", card.data.fingerprint, card.graph.sha256, "Apache-2.0"):
        assert said in page
    assert "ผลประเมินเป็นเบื้องต้น ควรให้ผู้เชี่ยวชาญยืนยัน" in page
    assert "amulet train data --ood other --from-card model.json --out again" in page


def test_what_looks_alike_and_what_is_called_what_stand_on_it(small_run: SmallRun) -> None:
    pair = LookAlikesCard(("apple", "cherry"), "back", 8, 3, 0.55, ("front",))
    page = card_page.page(replace(card_of(small_run), look_alikes=(pair,)))
    assert "apple and cherry look alike on the back: 3 of 8 photographs were called the other" in page
    assert "the front tells them apart" in page


def test_names_are_text_and_not_markup(small_run: SmallRun) -> None:
    card = card_of(small_run)
    spiteful = ClassCard("apple", {"en": "<script>alert(1)</script>"})
    page = card_page.page(replace(card, classes=(spiteful, *card.classes[1:])))
    assert "<script" not in page


def test_a_recipe_stands_on_it_as_it_is_written(small_run: SmallRun) -> None:
    card = card_of(small_run)
    config = {"views": 12, "tuning": None, "strength": {"robust_ratio": 0.5}, "levels": ["blocks.4"], "head": "lda"}
    page = card_page.page(replace(card, training=replace(card.training, config=config)))
    for name, value in (
        ("views", "12"),
        ("tuning", "null"),
        ("strength.robust_ratio", "0.5"),
        ("levels", "[&#34;blocks.4&#34;]"),
        ("head", "lda"),
    ):
        assert f'<td>{name}</td><td class="n"><code>{value}</code></td>' in page


def test_an_8_bit_form_is_not_said_to_be_trained_again(small_run: SmallRun) -> None:
    card = card_of(small_run)
    graph: GraphCard = replace(card.graph, form="int8")
    assert "--from-card" not in card_page.page(replace(card, graph=graph))


def test_the_command_writes_the_page_of_a_run_and_of_a_card(small_run: SmallRun, tmp_path: Path) -> None:
    for number, model in enumerate((small_run.run, small_run.run / "model.json")):
        html = tmp_path / f"{number}.html"
        result = CliRunner().invoke(command, [str(model), "--html", str(html), "--json"])
        assert result.exit_code == 0, result.output
        assert Card.parse(result.stdout) == card_of(small_run)
        assert html.read_text("utf-8") == card_page.page(card_of(small_run))


def test_what_is_no_card_ends_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    for model, said in (("x.json", "model.json at"), ("y.json", "cannot be read"), ("z", "there is no model")):
        result = CliRunner().invoke(command, [str(tmp_path / model), "--html", str(tmp_path / "page.html")])
        assert result.exit_code == 1
        assert said in result.stderr
        assert result.stderr.count("\n") == 1
