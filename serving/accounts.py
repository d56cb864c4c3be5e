"""Who asks: keys and the accounts behind them, and what those have spent, however often the server was started."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import orjson

from metaspo.backends.secrets import hold_secret
from metaspo.cache import StoreError
from metaspo.engine.errors import ConfigError
from metaspo.scheduling import NOTHING, Account, CallFailed, Cost
from metaspo.serving.config import ServeConfig

EVERYBODY = "local"  # where no key is wanted
_FILE = "spent.json"


class Accounts:
    """The accounts of a server, by key. What an account may take is written down before it is taken."""

    def __init__(self, config: ServeConfig, *, environment: Mapping[str, str], folder: Path) -> None:
        """Raises `ConfigError` for a key that is not set, or a file that cannot be read."""
        self._file = folder / Path(config.spent).expanduser() / _FILE
        self._spent = _read(self._file)
        self._by_key: dict[bytes, Account] = {}
        self._capped: list[Account] = []
        for key in config.keys:
            secret = environment.get(key.key_env, "").strip()
            if not secret:
                raise ConfigError(f"{key.key_env} is not set: the key of {key.name} is read from it")
            if _digest(secret) in self._by_key:
                raise ConfigError(f"{key.key_env} holds the key of another account: give {key.name} one of its own")
            budget = key.budget.caps
            capped = any(cap is not None for cap in (budget.calls, budget.tokens, budget.dollars))
            spent = self._spent.get(key.name, NOTHING)
            account = Account(key.name, budget, spent=spent, announce=self._announce if capped else None)
            self._by_key[_digest(secret)] = account
            hold_secret(secret)
            if capped:
                self._capped.append(account)
        self._before = dict(self._spent)
        self._open_to_all = Account(EVERYBODY) if not config.keys else None

    @property
    def all(self) -> list[Account]:
        """Every account."""
        return [self._open_to_all] if self._open_to_all is not None else list(self._by_key.values())

    def of(self, authorization: str) -> Account:
        """Whose the `Authorization` header is. Raises `CallFailed`."""
        if self._open_to_all is not None:
            return self._open_to_all
        scheme, _, key = authorization.partition(" ")
        account = self._by_key.get(_digest(key.strip())) if scheme.lower() == "bearer" else None
        if account is None:
            raise CallFailed(
                "No account has this key: send `Authorization: Bearer KEY` with one that the server was told.",
                kind="key",
            )
        return account

    def close(self) -> None:
        """Write down what was taken in the end, which gives back what was only set aside. Raises `StoreError` where it
        cannot be written down."""
        for account in self._capped:
            self._spent[account.name] = self._before.get(account.name, NOTHING).plus(account.taken())
        self._write()

    def _announce(self, account: Account) -> None:
        """Raises `StoreError` where it cannot be written down."""
        self._spent[account.name] = self._before.get(account.name, NOTHING).plus(account.announced())
        self._write()

    def _write(self) -> None:
        if not self._capped:
            return
        draft = self._file.with_suffix(f".{os.getpid()}")
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft.write_bytes(orjson.dumps({name: cost._asdict() for name, cost in self._spent.items()}))
            draft.replace(self._file)
        except OSError as error:
            raise StoreError(
                f"{self._file}, with what the accounts have spent, cannot be written ({error.strerror}): see to its "
                "disk."
            ) from None


def _digest(key: str) -> bytes:
    """By which a key is found, so that the time it takes tells nothing of other keys."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _read(file: Path) -> dict[str, Cost]:
    try:
        said = orjson.loads(file.read_bytes())
        return {
            name: Cost(int(cost["calls"]), int(cost["tokens"]), float(cost["dollars"])) for name, cost in said.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{file}: what the accounts have spent cannot be read ({error}): restore it, or remove it to start from 0"
        ) from None
