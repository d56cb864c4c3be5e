"""Regular expressions that are compiled when somebody first looks with one."""

import copy
import re

from metaspo.backends.late_patterns import late_pattern


def test_a_late_pattern_is_the_pattern_and_asked_for_each_thing_once() -> None:
    late = late_pattern("A(?P<rest>.)", re.IGNORECASE)
    assert not {"match", "groupindex"} & vars(late).keys()
    found = late.match("ab")
    assert found is not None
    assert (found["rest"], late.groupindex, late.pattern) == ("b", {"rest": 1}, "A(?P<rest>.)")
    assert vars(late)["match"] == late.match


def test_a_copy_of_a_late_pattern_looks_for_the_same() -> None:
    late = late_pattern("a", re.IGNORECASE)
    assert copy.deepcopy(late).search("BA")
