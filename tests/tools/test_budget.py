"""The budgets: what is over is named, what is kept is silent."""

import pytest

from tools.budget import WING, breaches


@pytest.fixture
def house(tmp_path):
    for name in ("hpsvid/__init__.py", "hpsvid/wing/__init__.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    return tmp_path


def test_a_house_within_its_budgets_has_no_breaches(house):
    (house / "hpsvid/wing/small.py").write_text("def f(a, b):\n    return a\n")
    assert list(breaches(house)) == []


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("wing/long.py", "x = 1\n" * 451, "hpsvid/wing/long.py: 451 lines, at most 450"),
        ("wing/f.py", "def f():\n" + "    x = 1\n" * 81, "f: a body of 81 lines, at most 80"),
        ("wing/g.py", "def g(a, b, c, d, e, *, f, g):\n    pass\n", "g: 7 arguments, at most 6"),
    ],
)
def test_what_is_over_is_named(house, name, text, said):
    (house / "hpsvid" / name).write_text(text)
    (breach,) = breaches(house)
    assert breach.endswith(said)


def test_wings_and_the_top_level_are_counted(house):
    for i in range(7):
        (house / f"hpsvid/wing/part{i}.py").write_text("x = 1\n" * 449)
        (house / f"hpsvid/top{i}.py").write_text("")
    said = list(breaches(house))
    assert f"hpsvid/wing: 3143 lines, at most {WING}" in said
    assert "hpsvid: 7 modules at the top, at most 6" in said
