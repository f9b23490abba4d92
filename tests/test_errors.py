"""What is told of the mistakes that other libraries found."""

import pytest

from evolving_attention.errors import wrong_value

UNION = """Parser key "training.patience": Does not validate against any of the Union subtypes
Subtypes: [<class 'int'>, <class 'NoneType'>]
Given value type: <class '{type}'>
Given value: {value}"""


@pytest.mark.parametrize(
    ("type_name", "value"),
    [("str", "x"), ("dict", "{'a': 1}"), ("datetime.date", "2024-01-01")],
)
def test_a_value_of_any_type_is_told_with_what_would_do(type_name, value):
    told = wrong_value(UNION.format(type=type_name, value=value))
    assert told == f"training.patience must be a whole number or null, got {value}"
