"""How many examples a property is tried on where one of them takes long."""

from hypothesis import settings


def examples(fixed: int, *, random: int) -> int:
    """The default tests try `fixed` ones, the same each time; `make test-slow` draws `random` ones of its own."""
    return random if settings.get_current_profile_name() == "random" else fixed
