"""`deploy/prefect.yaml` and the automations: every word is one that Prefect knows, and names what there is."""

import copy
import re
from typing import Any

import pytest
import yaml

from tests.deploy.strict import DEPLOY, POOLS, job_template, mistakes

FLOWS = ("download", "evaluate", "pipeline", "prepare", "train")
SAID: dict[str, Any] = yaml.safe_load((DEPLOY / "prefect.yaml").read_text())


def deployments(name: str) -> dict[str, dict[str, Any]]:
    """The deployments of a name, by flow."""
    return {one["entrypoint"].rpartition(".")[2]: one for one in SAID["deployments"] if one["name"] == name}


def test_every_key_and_value_is_one_that_prefect_knows() -> None:
    assert mistakes(SAID) == []


@pytest.mark.parametrize(
    ("path", "key", "value", "says"),
    [
        ([], "deploymnts", [], "prefect.yaml has no key 'deploymnts'"),
        (["deployments", 0], "scheduels", [], "has no key 'scheduels'"),
        (["deployments", 0, "schedules", 0], "timezon", "UTC", "timezon"),
        (["deployments", 0, "schedules", 0], "timezone", "Mars/Olympus", "Invalid timezone"),
        (["deployments", 0, "schedules", 0], "cron", "61 3 * * *", "Invalid cron string"),
        (["deployments", 0, "work_pool"], "job_varibles", {}, "work_pool has no key 'job_varibles'"),
        (["deployments", 0, "work_pool", "job_variables"], "imgae", "x", "has no job variable 'imgae'"),
        (["deployments", 0, "work_pool"], "name", "valle-proces", "there is no pool 'valle-proces'"),
        (["deployments", 0, "concurrency_limit"], "collision_strategy", "ENQUE", "collision_strategy"),
        (["deployments", 0, "concurrency_limit"], "limits", 1, "concurrency_limit has no key 'limits'"),
        (["deployments", 2, "triggers", 0], "expects", ["x"], "trigger has no key 'expects'"),
        (["deployments", 10, "work_pool", "job_variables"], "image_pull_policy", "Sometimes", "cannot be 'Sometimes'"),
    ],
)
def test_a_misspelt_word_is_found(path: list[Any], key: str, value: Any, says: str) -> None:
    wrong = copy.deepcopy(SAID)
    place: Any = wrong
    for step in path:
        place = place[step]
    place[key] = value
    assert any(says in words for words in mistakes(wrong)), mistakes(wrong)


@pytest.mark.parametrize("name", ["process", "docker", "kubernetes"])
def test_the_five_flows_are_deployed_with_parameters_that_they_have(name: str) -> None:
    from flows import pipeline as flows

    there = deployments(name)
    assert tuple(sorted(there)) == FLOWS
    for flow, told in there.items():
        assert told["work_pool"]["name"] == f"valle-{name}"
        assert told["description"]
        assert told["enforce_parameter_schema"] is True
        assert told["concurrency_limit"]["limit"] == 1
        assert told["parameters"]["site"] == "/etc/valle/site.toml"
        getattr(flows, flow).validate_parameters(told["parameters"])


def test_one_schedule_of_each_pool_is_active() -> None:
    for name in POOLS.values():
        active = [
            flow for flow, told in deployments(name).items() for one in told.get("schedules", []) if one["active"]
        ]
        assert active == ["pipeline"]


def test_training_follows_preparation_and_evaluation_follows_training_in_the_same_pool() -> None:
    for name in POOLS.values():
        for flow, after in (("train", "prepare"), ("evaluate", "train")):
            [trigger] = deployments(name)[flow]["triggers"]
            related = {one["prefect.resource.role"]: one["prefect.resource.name"] for one in trigger["match_related"]}
            assert related == {"flow": after, "deployment": name}
            assert trigger["name"] == f"valle {name} {flow} after {after}"


def test_every_value_that_the_job_template_of_kubernetes_asks_for_is_a_variable() -> None:
    template = job_template("valle-kubernetes")
    asked = set(re.findall(r"\{\{ (\w+) \}\}", str(template["job_configuration"])))
    assert asked == set(template["variables"]["properties"])


def test_silence_is_more_than_three_heartbeats() -> None:
    from prefect.settings.models.flows import FlowsSettings

    from flows.machine.zombies import SILENCE

    assert SILENCE.total_seconds() >= 3 * FlowsSettings.model_fields["heartbeat_frequency"].default
