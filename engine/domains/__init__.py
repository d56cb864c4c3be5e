"""The paper's five domains, and two of our own: their tasks, where the data are, and what is missing of them."""

from typing import TYPE_CHECKING

from metaspo.backends.late_exports import late_exports

if TYPE_CHECKING:
    from metaspo.engine.domains.expand import DOMAIN_KEYS as DOMAIN_KEYS
    from metaspo.engine.domains.expand import expand_domains as expand_domains
    from metaspo.engine.domains.given import given_user_prompts as given_user_prompts
    from metaspo.engine.domains.records import Domain as Domain
    from metaspo.engine.domains.records import DomainTask as DomainTask
    from metaspo.engine.domains.records import HubData as HubData
    from metaspo.engine.domains.records import domains as domains
    from metaspo.engine.domains.records import own_domains as own_domains
    from metaspo.engine.domains.specs import ALL as ALL
    from metaspo.engine.domains.specs import DATA_VARIABLE as DATA_VARIABLE
    from metaspo.engine.domains.specs import HUB as HUB
    from metaspo.engine.domains.specs import UnknownDomain as UnknownDomain
    from metaspo.engine.domains.specs import data_folder as data_folder
    from metaspo.engine.domains.specs import domain_tasks as domain_tasks
    from metaspo.engine.domains.specs import find_domains as find_domains
    from metaspo.engine.domains.specs import find_task as find_task
    from metaspo.engine.domains.specs import task_spec as task_spec
    from metaspo.engine.domains.survey import TaskState as TaskState
else:
    __getattr__, __dir__ = late_exports(__name__)
