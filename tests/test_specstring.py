from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featx.errors import SpecError
from featx.specstring import bind_params, format_spec, parse_spec, split_specs

names = st.from_regex(r"[a-z_][a-z0-9_]{0,10}", fullmatch=True)
literals = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.tuples(inner, inner),
    max_leaves=4,
)


@given(names, st.dictionaries(names, literals, max_size=3))
def test_format_and_parse_are_inverse(name: str, params: dict[str, object]) -> None:
    import keyword

    if keyword.iskeyword(name) or any(keyword.iskeyword(k) for k in params):
        return
    assert parse_spec(format_spec(name, params)) == (name, params)


def test_positional_values_keep_their_place() -> None:
    name, params = parse_spec("sgd(1e-4, momentum=0.9)")
    assert bind_params(name, params, {"rate": 0.01, "momentum": 0.0}) == {
        "rate": 1e-4,
        "momentum": 0.9,
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a b",
        "f(",
        "f(x)",
        "f(a=open('x'))",
        "f(**{'a': 1})",
        "__import__('os').system('true')",
        "f(a=1)(b=2)",
        "f(a=1, a=2)",
        "1 + 1",
        "(" * 500,
    ],
)
def test_what_is_no_spec_is_refused_readably(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(text)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=30))
def test_no_text_gets_anything_but_a_spec_or_a_spec_error(text: str) -> None:
    try:
        name, params = parse_spec(text)
    except SpecError:
        return
    assert name.isidentifier()
    assert isinstance(params, dict)


def test_unknown_parameter_names_the_near_miss() -> None:
    with pytest.raises(SpecError, match="Did you mean 'alpha'"):
        bind_params("mobilenet", {"alhpa": 0.5}, {"alpha": 1.0})
    with pytest.raises(SpecError, match="takes none"):
        bind_params("vgg16", {"alpha": 0.5}, {})
    with pytest.raises(SpecError, match="given twice"):
        bind_params("mobilenet", {"0": 0.5, "alpha": 1.0}, {"alpha": 1.0})


def test_commas_inside_brackets_do_not_split() -> None:
    assert split_specs("a,b(c=(1, 2)), d ,") == ["a", "b(c=(1, 2))", "d"]
