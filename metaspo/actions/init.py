"""A starter, written."""

import shlex
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from metaspo.actions.tasks import domain_starter
from metaspo.backends.paths import write_whole
from metaspo.console import exit_on_user_error, out
from metaspo.engine import ConfigError
from metaspo.engine.domains import own_domains
from metaspo.engine.project import named_after
from metaspo.engine.suggest import there_is_no

STARTER = Path(__file__).resolve().parents[1] / "starter"
TEMPLATES = {"classify": STARTER} | {
    name: STARTER.parent / "templates" / name for name in ("extract", "rag", "tools", "judge", "safety")
}

LOCAL = ("xllamacpp", "local")  # a package, and the extra that has it
NEEDS = {"rag": (LOCAL, ("optuna", "mipro"))}  # but for what is installed, a template wants these


def write_starter(directory: str, *, domain: str, template: str) -> None:
    """Write a domain's or a template's, and say what to do next."""
    folder = Path(directory)
    target = folder / "metaspo.toml"
    with exit_on_user_error():
        if not directory.strip():  # as a variable of the shell that is not set
            raise ConfigError("DIR is empty: name a folder to write into, or . for the one that you are in")
        files = _files(folder, domain=domain, template=template)
        files[target] = named_after(folder, files[target].decode()).encode()
        _write(files, folder, target)
    config, labelled = shlex.quote(str(target)), folder / "labelled.jsonl"
    wrote = f"{target}" if domain else f"{target} and {folder / 'tasks'}"
    steps = [f"tasks --domain {domain}"] if domain and domain not in own_domains() else []
    steps += [f"check {config}", f"plan {config}"]
    steps += [f"judge {config} {shlex.quote(str(labelled))}"] if labelled in files else []
    told = [*_installs(template, domain), *(f"metaspo {step}" for step in (*steps, f"optimize {config}"))]
    out.print("\n  ".join((f"Wrote {wrote}. Next:", *told)), soft_wrap=True)


def _files(folder: Path, *, domain: str, template: str) -> dict[Path, bytes]:
    """What a starter is made of. Raises `ConfigError`."""
    if template and domain:
        raise ConfigError("--template and --domain are two ways to begin: give one of them")
    if template and template not in TEMPLATES:
        raise ConfigError(there_is_no("template", template, TEMPLATES))
    if domain:
        return {folder / "metaspo.toml": domain_starter(domain).encode()}
    written = TEMPLATES[template] if template else STARTER
    return {folder / path.relative_to(written): path.read_bytes() for path in written.glob("**/*.*")}


def _write(files: Mapping[Path, bytes], folder: Path, config: Path) -> None:
    """Raises `ConfigError` where another file is in the way of one, or any is of the config."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: is a file; name a folder, which is made if there is none")
    for path, content in files.items():
        if path.exists() and (path == config or path.read_bytes() != content):
            raise ConfigError(f"{path}: is there already; choose another folder, or move it away")
    for path, content in sorted(files.items()):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)


def _installs(template: str, domain: str) -> list[str]:
    """How to install what the starter's config wants and is not there, if anything."""
    wanted = () if domain else NEEDS.get(template, (LOCAL,))
    extras = [extra for package, extra in wanted if find_spec(package) is None]
    return [f"pip install 'metaspo[{','.join(extras)}]'"] if extras else []
