"""What `deploy/` holds is taken by the tools that read it, and agrees with the code and with itself."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from pydantic import ValidationError

from flows.cli import valle
from flows.engine.site import load_site
from flows.recipes import RECIPES
from tests.deploy.kuberay_schema import RayCluster, RayJob
from tests.deploy.strict import DEPLOY, HOUSE, job_template

KUBERNETES = "1.33"
IMAGES = {"valle:0.1.0", "valle:0.1.0-cuda"}
USER = 10001


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "kuberay" / name).read_text()))


COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
[CLUSTER] = documents("ray-cluster.yaml")
[JOB] = documents("ray-job.yaml")
SHARED = {one["kind"]: one for one in documents("storage.yaml")}
GROUPS = [CLUSTER["spec"]["headGroupSpec"], *CLUSTER["spec"]["workerGroupSpecs"]]
LOCK = dict(line.split("==") for line in (HOUSE / "requirements.lock").read_text().split())
PREFECT: dict[str, Any] = yaml.safe_load((DEPLOY / "prefect.yaml").read_text())
POOLS = {one["name"]: one["work_pool"] for one in PREFECT["deployments"]}


def pod(spec: dict[str, Any]) -> dict[str, Any]:
    """A pod's spec as a pod, for Kubernetes' own schema."""
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a-pod"}, "spec": spec}


def hadolint(file: Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).parent / "hadolint", "--failure-threshold", "style", file]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_hadolint_has_nothing_to_say_of_the_dockerfile(tmp_path: Path) -> None:
    said = hadolint(DEPLOY / "Dockerfile")
    assert said.returncode == 0, said.stdout
    wrong = tmp_path / "Dockerfile"
    wrong.write_text((DEPLOY / "Dockerfile").read_text().replace("WORKDIR /data", "WORKDIR data"))
    assert hadolint(wrong).returncode != 0


def test_the_image_is_of_the_lock_and_runs_as_nobody_special() -> None:
    said = (DEPLOY / "Dockerfile").read_text()
    assert re.search(rf"^USER {USER}:{USER}$", said, re.MULTILINE)
    assert said.index("USER ") < said.index("CMD ")
    assert all("--constraint requirements.lock" in line for line in said.splitlines() if "pip install" in line)
    copied = re.findall(r"^COPY (?:--\S+ )?(.+) \S+$", said, re.MULTILINE)
    taken = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    for path in " ".join(copied).split():
        assert (HOUSE / path).exists(), path
        assert any(Path(path).is_relative_to(line[1:]) for line in taken if line.startswith("!")), path
    order = [said.index(f"COPY {path}") for path in ("requirements.lock", "pyproject.toml", "warehouse", "flows")]
    assert order == sorted(order), "what changes least comes first"


def test_the_shell_can_read_what_the_image_runs() -> None:
    subprocess.run(["sh", "-n", DEPLOY / "join-ray"], check=True)
    assert (DEPLOY / "join-ray").stat().st_mode & 0o111


def test_compose_is_of_the_specification() -> None:
    from compose_spec import PyCompose  # which takes half a second

    text = re.sub(r"\$\{(\w+)(:[?-][^}]*)?\}", "x", yaml.safe_dump(COMPOSE))  # as `docker compose` puts values in
    assert set(PyCompose.from_yaml(text).service_names()) == set(SERVICES)
    with pytest.raises(Exception, match="comand"):
        PyCompose.from_yaml(text.replace("command:", "comand:", 1))


def test_compose_names_what_there_is() -> None:
    for name, said in SERVICES.items():
        for other, how in said.get("depends_on", {}).items():
            assert other in SERVICES, f"{name} waits for {other}"
            waits = how["condition"]
            assert waits == "service_completed_successfully" or "healthcheck" in SERVICES[other], (name, other)
        assert said["image"] in IMAGES | {"postgres:16-alpine"}
        assert set(said["networks"]) <= set(COMPOSE["networks"])
        for volume in said.get("volumes", []):
            source = volume.split(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], volume


def test_whoever_works_and_whoever_asks_see_the_same_folder() -> None:
    site = load_site(str(DEPLOY / "sites" / "cluster.toml"))
    for name in ("prefect-worker", "ray-worker", "ray-gpu-worker"):
        assert "data:/data" in SERVICES[name]["volumes"]
    for group in GROUPS:
        [container] = group["template"]["spec"]["containers"]
        assert {"name": "data", "mountPath": "/data"} in container["volumeMounts"]
    assert site.root.is_relative_to("/data")
    assert site.corpus.is_relative_to("/data")
    assert site.ray_address == "auto", "whoever runs a flow is on a node"


def test_ports_are_the_same_wherever_they_stand() -> None:
    head = SERVICES["ray-head"]["command"]
    assert "--port=6379" in head
    for name in ("prefect-worker", "ray-head", "ray-worker"):
        assert "ray-head:6379" in SERVICES[name]["healthcheck"]["test"]
    assert SERVICES["prefect-worker"]["environment"]["RAY_HEAD"] == "ray-head:6379"
    assert SERVICES["prefect-worker"]["environment"]["PREFECT_API_URL"] == "http://prefect-server:4200/api"
    assert SERVICES["prefect-server"]["command"][-1] == "4200"
    [container] = CLUSTER["spec"]["headGroupSpec"]["template"]["spec"]["containers"]
    assert {one["name"]: one["containerPort"] for one in container["ports"]} == {"gcs-server": 6379, "dashboard": 8265}
    head_service = f"{CLUSTER['metadata']['name']}-head-svc:6379"  # as KubeRay calls it
    assert POOLS["kubernetes"]["job_variables"]["env"]["RAY_HEAD"] == head_service


def test_the_worker_takes_from_the_pool_that_is_deployed() -> None:
    pool = POOLS["process"]["name"]
    assert pool in SERVICES["prefect-worker"]["command"]
    making = SERVICES["deploy"]["command"][-1]
    assert f"prefect work-pool create {pool} --type process" in making
    assert "--prefect-file deploy/prefect.yaml --name process" in making
    assert "python -m flows.machine.zombies" in making


def test_what_is_shared_in_kubernetes_is_of_its_schema() -> None:
    for one in SHARED.values():
        kubernetes_validate.validate(one, KUBERNETES, strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(SHARED["Namespace"] | {"metadta": {}}, KUBERNETES, strict=True)


def test_the_cluster_and_the_job_are_such_as_kuberay_takes() -> None:
    RayCluster.model_validate(CLUSTER)
    RayJob.model_validate(JOB)
    for group in GROUPS:
        kubernetes_validate.validate(pod(group["template"]["spec"]), KUBERNETES, strict=True)
    for wrong in ({"enableInTreeAutoscalling": True}, {"workerGroupSpecs": [{"groupName": "x"}]}):
        with pytest.raises(ValidationError):
            RayCluster.model_validate(CLUSTER | {"spec": CLUSTER["spec"] | wrong})


def test_the_job_of_a_flow_run_is_of_kubernetes_schema_with_the_variables_put_in() -> None:
    template = job_template("valle-kubernetes")
    values = {name: told.get("default") for name, told in template["variables"]["properties"].items()}
    values |= POOLS["kubernetes"]["job_variables"] | {"name": "a-run", "labels": {"a": "b"}}
    values |= {"env": [{"name": "A", "value": "b"}], "command": values["command"].split()}  # as Prefect's worker does

    def filled(said: Any) -> Any:
        if isinstance(said, dict):
            return {key: filled(value) for key, value in said.items()}
        if isinstance(said, list):
            return [filled(value) for value in said]
        if isinstance(said, str) and (whole := re.fullmatch(r"\{\{ (\w+) \}\}", said)):
            return values[whole[1]]
        return re.sub(r"\{\{ (\w+) \}\}", lambda found: str(values[found[1]]), said) if isinstance(said, str) else said

    manifest = filled(template["job_configuration"]["job_manifest"])
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    shared = {one["name"]: one for one in manifest["spec"]["template"]["spec"]["volumes"]}
    assert shared["data"]["persistentVolumeClaim"]["claimName"] == SHARED["PersistentVolumeClaim"]["metadata"]["name"]
    assert shared["site"]["configMap"]["name"] == SHARED["ConfigMap"]["metadata"]["name"]
    assert shared["ray-token"]["secret"]["secretName"] == CLUSTER["spec"]["authOptions"]["secretName"]
    assert manifest["metadata"]["namespace"] == SHARED["Namespace"]["metadata"]["name"]
    assert manifest["spec"]["template"]["spec"]["serviceAccountName"] == SHARED["ServiceAccount"]["metadata"]["name"]


def test_images_versions_and_users_agree() -> None:
    version = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]["version"]
    assert {f"valle:{version}", f"valle:{version}-cuda"} == IMAGES
    assert CLUSTER["spec"]["rayVersion"] == LOCK["ray"]
    assert PREFECT["prefect-version"] == LOCK["prefect"]
    for group in GROUPS:
        spec = group["template"]["spec"]
        assert {one["image"] for one in spec["containers"]} <= IMAGES
        assert spec["securityContext"]["runAsUser"] == USER
    for name in ("docker", "kubernetes"):
        assert POOLS[name]["job_variables"]["image"] in IMAGES


def test_the_head_takes_no_work_and_a_gpu_worker_has_room_for_every_stage() -> None:
    site = load_site(str(DEPLOY / "sites" / "cluster.toml"))
    assert CLUSTER["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert "--num-cpus=0" in SERVICES["ray-head"]["command"]
    [gpu] = [group for group in GROUPS if group.get("groupName") == "gpu"]
    [container] = gpu["template"]["spec"]["containers"]
    there = container["resources"]["limits"]["nvidia.com/gpu"]
    assert container["resources"]["requests"]["nvidia.com/gpu"] == there, "a GPU is asked for whole"
    assert max(site.gpus.values()) <= int(there)
    assert site.train_workers <= int(there) * gpu["maxReplicas"]
    recipe = RECIPES["librilight"]()
    asked = {stage.makes.name: stage.needs for stage in recipe.stages}
    assert set(site.gpus) <= set(asked)
    for table, needs in asked.items():
        assert needs.cpus <= int(container["resources"]["requests"]["cpu"]), table


def test_the_cluster_may_grow_to_what_the_site_asks_for() -> None:
    site = load_site(str(DEPLOY / "sites" / "cluster.toml"))
    [gpu] = [group for group in GROUPS if group.get("groupName") == "gpu"]
    [container] = gpu["template"]["spec"]["containers"]
    gpus = int(container["resources"]["limits"]["nvidia.com/gpu"]) * gpu["maxReplicas"]
    assert CLUSTER["spec"]["enableInTreeAutoscaling"] is True
    assert site.grows_to == gpus / max(site.gpus.values())


@pytest.mark.parametrize("name", ["laptop", "gpu-box", "cluster"])
def test_a_site_is_one_that_valle_takes(name: str) -> None:
    site = load_site(str(DEPLOY / "sites" / f"{name}.toml"))
    assert set(site.gpus) <= {stage.makes.name for stage in RECIPES["librilight"]().stages}
    assert (site.device == "cpu") == (name == "laptop")


def test_kubernetes_is_given_the_site_of_the_cluster() -> None:
    assert SHARED["ConfigMap"]["data"] == {"site.toml": (DEPLOY / "sites" / "cluster.toml").read_text()}


def test_kustomize_takes_files_that_are_there() -> None:
    [said] = documents("kustomization.yaml")
    assert set(said) == {"apiVersion", "kind", "namespace", "resources"}
    assert (said["apiVersion"], said["kind"]) == ("kustomize.config.k8s.io/v1beta1", "Kustomization")
    for name in said["resources"]:
        assert all(one.get("metadata", {}).get("name") for one in documents(name))
    assert {one.name for one in (DEPLOY / "kuberay").iterdir()} == {
        *said["resources"],
        "kustomization.yaml",
        "ray-job.yaml",
    }


def test_the_job_says_a_command_that_there_is() -> None:
    _, command, *words = JOB["spec"]["entrypoint"].split()
    known = {name for option in valle.commands[command].params for name in option.opts}
    assert {word for word in words if word.startswith("--")} <= known
    assert words[words.index("--recipe") + 1] in RECIPES
    assert JOB["spec"]["clusterSelector"] == {"ray.io/cluster": CLUSTER["metadata"]["name"]}


def test_the_page_says_commands_files_and_pools_that_there_are() -> None:
    page = (HOUSE / "docs" / "cluster.md").read_text()
    said = re.findall(r"valle (serve|run|download|rerun)((?: [^`|\n]*)?)", page)
    assert {command for command, _ in said} >= {"serve", "download"}
    for command, words in said:
        known = {name for option in valle.commands[command].params for name in option.opts}
        assert set(re.findall(r"--[a-z-]+", words)) <= known, words
    for path in re.findall(r"(?<!tests/)deploy/[\w/.-]+\w", page):
        assert (HOUSE / path).exists(), path
    assert {*re.findall(r"valle-(?:process|docker|kubernetes)", page)} == {pool["name"] for pool in POOLS.values()}
