"""Zombies: flow runs whose process or machine is gone, which Prefect would show as running for ever.

A run says every three minutes that it lives. An automation of Prefect's server takes ten minutes without a word for a
crash; a retry then makes what is missing. `valle serve` sees to it, and so does `python -m flows.machine.zombies`.
"""

from datetime import timedelta
from typing import Any

NAME = "valle runs without a heartbeat have crashed"
SILENCE = timedelta(minutes=10)  # more than three times what Prefect's heartbeat takes


def automation() -> Any:
    """The automation, as Prefect's server takes it."""
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
    from prefect.events.schemas.events import ResourceSpecification

    return AutomationCore(
        name=NAME,
        description=(
            "A flow run whose process or machine is gone says nothing more, and would stand as Running for ever. "
            "Heartbeats come every three minutes; after ten without one the run counts as crashed, and a retry makes "
            "what is missing."
        ),
        enabled=True,
        trigger=EventTrigger(
            posture=Posture.Proactive,
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.*"},
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            for_each={"prefect.resource.id"},
            threshold=1,
            within=SILENCE,
        ),
        actions=[
            ChangeFlowRunState(
                name=None,
                state=StateType.CRASHED,
                message="no heartbeat for ten minutes; its process or its machine is gone",
                force=False,
            )
        ],
    )


def end_zombies() -> None:
    """See to it that Prefect's server has the automation once, and as it is here."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        if there := client.read_automations_by_name(NAME):
            client.update_automation(there[0].id, automation())
        else:
            client.create_automation(automation())


if __name__ == "__main__":
    end_zombies()
