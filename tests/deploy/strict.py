"""Prefect's own models, made strict: they pass over a key that they do not know, and so a misspelt one does nothing."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

HOUSE = Path(__file__).parents[2]
DEPLOY = HOUSE / "deploy"
STEPS = {"build", "push", "pull"}  # free words of Prefect's own
POOLS = {"valle-process": "process", "valle-docker": "docker", "valle-kubernetes": "kubernetes"}


def mistakes(said: dict[str, Any]) -> list[str]:
    """Everything in a `prefect.yaml` that Prefect would pass over or refuse; each says where it stands."""
    from prefect.cli.deploy._models import DeploymentConfig, PrefectYamlModel

    DeploymentConfig.model_rebuild(force=True)  # else some of its fields are names yet
    found = [*_unknown(PrefectYamlModel, said, "prefect.yaml"), *_refused(PrefectYamlModel, said, "prefect.yaml")]
    for deployment in said.get("deployments", []):
        where = f"{deployment.get('entrypoint')}/{deployment.get('name')}"
        found += [f"{where}: {words}" for words in _of_deployment(deployment)]
    return found


def _of_deployment(said: dict[str, Any]) -> Iterator[str]:
    from prefect.client.schemas.objects import ConcurrencyLimitConfig
    from prefect.client.schemas.schedules import CronSchedule
    from prefect.events.schemas.deployment_triggers import DeploymentEventTrigger

    for schedule in said.get("schedules", []):
        if "timezone" not in schedule:
            yield "a schedule without a time zone"
        cron = {"cron": schedule.get("cron"), "timezone": schedule.get("timezone")}
        yield from _refused(CronSchedule, cron, "schedule")
    yield from _refused(ConcurrencyLimitConfig, said.get("concurrency_limit", {}), "concurrency_limit")
    for trigger in said.get("triggers", []):
        yield from _unknown(DeploymentEventTrigger, trigger, "trigger")
        yield from _refused(DeploymentEventTrigger, trigger, "trigger")
    pool = said.get("work_pool", {})
    if pool.get("name") not in POOLS:
        yield f"there is no pool {pool.get('name')!r}"
        return
    variables = job_template(pool["name"])["variables"]["properties"]
    for name, value in pool.get("job_variables", {}).items():
        if name not in variables:
            yield f"a pool of type {POOLS[pool['name']]} has no job variable {name!r}"
        elif (choice := variables[name].get("enum")) and value not in choice:
            yield f"job variable {name} cannot be {value!r}"


def job_template(pool: str) -> dict[str, Any]:
    """The base job template of a pool: ours, or the one that its type has in Prefect."""
    import prefect

    if (own := DEPLOY / f"{POOLS[pool]}-job-template.json").exists():
        template: dict[str, Any] = json.loads(own.read_text())
        return template
    known = Path(prefect.__file__).parent / "server/api/collections_data/views/aggregate-worker-metadata.json"
    types = {name: told for package in json.loads(known.read_text()).values() for name, told in package.items()}
    default: dict[str, Any] = types[POOLS[pool]]["default_base_job_configuration"]
    return default


def _unknown(model: type[BaseModel], said: Any, where: str, free: set[str] = STEPS) -> Iterator[str]:
    """Keys that a model does not know, and its models' models."""
    if not isinstance(said, dict):
        return
    fields = {name: field.annotation for name, field in model.model_fields.items()}
    fields |= {str(field.alias): field.annotation for field in model.model_fields.values() if field.alias}
    for key, value in said.items():
        if key not in fields:
            yield f"{where} has no key {key!r}"
        elif key not in free and (inner := next(_models(fields[key]), None)):
            for one in value if isinstance(value, list) else [value]:
                yield from _unknown(inner, one, f"{where}: {key}", free)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a field may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if "root" not in annotation.model_fields:  # a bare mapping with a class of its own
            yield annotation
        return
    for part in get_args(annotation):
        yield from _models(part)


def _refused(model: type[BaseModel], said: Any, where: str) -> Iterator[str]:
    try:
        model.model_validate(said)
    except ValidationError as error:
        for one in error.errors():
            yield f"{where}: {'.'.join(map(str, one['loc']))}: {one['msg']}"
