"""A run that builds on another: whose products it finds, and what it refuses."""

from dataclasses import replace
from pathlib import Path

import pytest

from dojobench.cli import main
from dojobench.protocol.errors import BadInputError
from dojobench.reference_model.training.dojo_episodes import DojoDataConfig, DojoGroup
from dojobench.reference_model.training.episodes import EpisodeStore
from dojobench.reference_model.training.products import (
    PRODUCTS,
    SHARED,
    place_of,
    product,
    read_base,
    set_base,
)
from dojobench.reference_model.training.recipes import RECIPES
from dojobench.reference_model.training.stages import run_stage
from dojobench.reference_model.training.tokenizer_stage import TokenizerStage


def made(run: Path, *stages: str) -> None:
    for stage in stages:
        (run / PRODUCTS[stage]).parent.mkdir(parents=True, exist_ok=True)
        (run / PRODUCTS[stage]).touch()


def test_shared_products_come_from_the_other_run_and_the_rest_does_not(tmp_path: Path) -> None:
    base, run = tmp_path / "base", tmp_path / "run"
    made(base, *PRODUCTS)
    set_base(run, base)
    for stage in PRODUCTS:
        if stage in SHARED:
            assert product(run, stage) == base / PRODUCTS[stage]
        else:
            with pytest.raises(BadInputError, match=f"dojobench train {stage} --out {run}"):
                product(run, stage)


def test_a_product_of_its_own_comes_first(tmp_path: Path) -> None:
    made(tmp_path / "base", "tokenizer")
    set_base(tmp_path / "run", tmp_path / "base")
    made(tmp_path / "run", "tokenizer")
    assert product(tmp_path / "run", "tokenizer").is_relative_to(tmp_path / "run")


def test_a_run_may_build_on_one_that_builds_on_another(tmp_path: Path) -> None:
    made(tmp_path / "first", "data")
    set_base(tmp_path / "second", tmp_path / "first")
    set_base(tmp_path / "third", tmp_path / "second")
    assert place_of(tmp_path / "third", "data") == tmp_path / "first" / "data"


def test_what_is_missing_there_is_to_be_made_there(tmp_path: Path) -> None:
    set_base(tmp_path / "run", tmp_path / "base", ("pretrain",))
    with pytest.raises(BadInputError, match=f"train pretrain --out {tmp_path / 'base'}`"):
        product(tmp_path / "run", "pretrain")


def test_a_run_builds_on_one_other_and_never_on_itself(tmp_path: Path) -> None:
    set_base(tmp_path / "run", tmp_path / "base")
    set_base(tmp_path / "run", tmp_path / "base")
    assert read_base(tmp_path / "base") is None
    with pytest.raises(BadInputError, match=r"builds on .*base .* already"):
        set_base(tmp_path / "run", tmp_path / "other")
    with pytest.raises(BadInputError, match="on itself"):
        set_base(tmp_path / "base", tmp_path / "run" / ".." / "base")
    with pytest.raises(BadInputError, match="no stage 'tokeniser'"):
        set_base(tmp_path / "new", tmp_path / "base", ("tokeniser",))


def test_a_tokenizer_goes_on_from_that_of_the_run_it_builds_on(tmp_path: Path) -> None:
    smoke = RECIPES["smoke"]
    groups = tuple(
        DojoGroup(name=name, embodiment="arm", split="val", episodes=1) for name in ("few", "one")
    )
    tokenizer = replace(smoke.tokenizer, groups={"few": 1.0}, held_out=("one",), statistics_clips=2)
    first = replace(
        smoke, data=DojoDataConfig(groups=groups, frames=13, seed="few"), tokenizer=tokenizer
    )
    for stage in ("data", "tokenizer"):
        run_stage(stage, first, tmp_path / "base")
    own = replace(first, tokenizer=replace(tokenizer, start="base"))
    set_base(tmp_path / "run", tmp_path / "base", ("data",))
    found = run_stage("tokenizer", own, tmp_path / "run")
    assert found == tmp_path / "run" / PRODUCTS["tokenizer"]
    with pytest.raises(BadInputError, match="builds on none"):
        TokenizerStage(own.tokenizer, EpisodeStore(tmp_path / "base" / "data"))
    large = replace(own, tokenizer=replace(own.tokenizer, size="small"))
    set_base(tmp_path / "large", tmp_path / "base", ("data",))
    with pytest.raises(BadInputError, match="another size than 'small'"):
        run_stage("tokenizer", large, tmp_path / "large")


def test_a_folder_named_by_a_variable_that_is_not_set_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DOJOBENCH_DATA", raising=False)
    assert main(["train", "data", "--config", "g1", "--out", str(tmp_path / "run")]) == 2
    assert "$DOJOBENCH_DATA/g1_real, and that variable is not set" in capsys.readouterr().err
