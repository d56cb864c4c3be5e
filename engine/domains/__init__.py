"""The paper's five domains, and two of our own: their tasks, where the data are, and what is missing of them."""

from typing import TYPE_CHECKING

from metaspo.backends.late_exports import late_exports

if TYPE_CHECKING:
    from metaspo.engine.domains.expand import DOMAIN_KEYS, expand_domains
    from metaspo.engine.domains.given import given_user_prompts
    from metaspo.engine.domains.records import Domain, DomainTask, domains, own_domains
    from metaspo.engine.domains.specs import (
        ALL,
        DATA_VARIABLE,
        HUB,
        UnknownDomain,
        data_folder,
        domain_tasks,
        find_domains,
        find_task,
        task_spec,
    )
    from metaspo.engine.domains.survey import TaskState
else:
    __getattr__, __dir__ = late_exports(__name__)

__all__ = [
    "ALL",
    "DATA_VARIABLE",
    "DOMAIN_KEYS",
    "HUB",
    "Domain",
    "DomainTask",
    "TaskState",
    "UnknownDomain",
    "data_folder",
    "domain_tasks",
    "domains",
    "expand_domains",
    "find_domains",
    "find_task",
    "given_user_prompts",
    "own_domains",
    "task_spec",
]
