"""What KubeRay 1.6 takes, as strict models: its own schemas are in no package.

The fields are those of its API reference. A pod's template is Kubernetes' own, and is checked by its schema.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

Count = Annotated[int, Field(ge=0)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


class Metadata(Strict):
    name: str | None = None
    generate_name: str | None = None
    namespace: str
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}

    @model_validator(mode="after")
    def is_named(self) -> "Metadata":
        assert (self.name is None) != (self.generate_name is None), "name or generateName"
        return self


class AuthOptions(Strict):
    mode: Literal["disabled", "token"]
    secret_name: str | None = None
    enable_k8s_token_auth: bool | None = None


class AutoscalerOptions(Strict):
    version: Literal["v1", "v2"] | None = None
    resources: dict[str, Any] | None = None
    image: str | None = None
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    env: list[dict[str, Any]] | None = None
    env_from: list[dict[str, Any]] | None = None
    volume_mounts: list[dict[str, Any]] | None = None
    security_context: dict[str, Any] | None = None
    idle_timeout_seconds: Count | None = None
    upscaling_mode: Literal["Default", "Aggressive", "Conservative"] | None = None


class Group(Strict):
    ray_start_params: dict[str, str]
    template: dict[str, Any]
    resources: dict[str, str] = {}
    labels: dict[str, str] = {}


class HeadGroup(Group):
    service_type: Literal["ClusterIP", "NodePort", "LoadBalancer"] | None = None
    head_service: dict[str, Any] | None = None
    enable_ingress: bool | None = None


class WorkerGroup(Group):
    group_name: str
    replicas: Count
    min_replicas: Count
    max_replicas: Count
    num_of_hosts: Count | None = None
    idle_timeout_seconds: Count | None = None
    suspend: bool | None = None

    @model_validator(mode="after")
    def is_in_range(self) -> "WorkerGroup":
        assert self.min_replicas <= self.replicas <= self.max_replicas, "minReplicas <= replicas <= maxReplicas"
        return self


class RayClusterSpec(Strict):
    ray_version: str
    enable_in_tree_autoscaling: bool | None = None
    autoscaler_options: AutoscalerOptions | None = None
    auth_options: AuthOptions | None = None
    head_service_annotations: dict[str, str] | None = None
    suspend: bool | None = None
    head_group_spec: HeadGroup
    worker_group_specs: list[WorkerGroup]


class RayCluster(Strict):
    api_version: Literal["ray.io/v1"]
    kind: Literal["RayCluster"]
    metadata: Metadata
    spec: RayClusterSpec


class RayJobSpec(Strict):
    entrypoint: str
    cluster_selector: dict[str, str] | None = None
    ray_cluster_spec: RayClusterSpec | None = None
    submission_mode: Literal["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"] = "K8sJobMode"
    active_deadline_seconds: Annotated[int, Field(gt=0)] | None = None
    backoff_limit: Count | None = None
    shutdown_after_job_finishes: bool | None = None
    ttl_seconds_after_finished: Count | None = None
    entrypoint_num_cpus: float | None = None
    suspend: bool | None = None

    @model_validator(mode="after")
    def has_one_cluster(self) -> "RayJobSpec":
        assert (self.cluster_selector is None) != (self.ray_cluster_spec is None), "a cluster, or which one"
        assert not (self.cluster_selector and self.shutdown_after_job_finishes), (
            "somebody else's cluster is not shut down"
        )
        return self


class RayJob(Strict):
    api_version: Literal["ray.io/v1"]
    kind: Literal["RayJob"]
    metadata: Metadata
    spec: RayJobSpec
