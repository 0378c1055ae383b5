"""Where an artifact is written to."""

from pathlib import Path

from agent.cli.job.download import target


def test_a_link_in_an_artifacts_place_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("before")
    root = tmp_path / "root"
    root.mkdir()
    (root / "metrics.json").symlink_to(tmp_path / "elsewhere")
    place = target(root, "metrics.json")
    (root / "part").write_text("after")
    (root / "part").replace(place)
    assert (tmp_path / "elsewhere").read_text() == "before"
