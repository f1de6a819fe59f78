"""Every address of rollout's part of the REST interface."""

from __future__ import annotations

from django.urls import path

from console.rollout.experiment_api import ExperimentDetail, ExperimentList, VersionExperiment
from console.rollout.route_api import GuardrailList, GuardrailSeen, RouteDetail, RouteEnd, RouteList
from console.rollout.then_api import RoutesThen
from console.rollout.version_api import (
    ModelRollback,
    VersionApproval,
    VersionCompare,
    VersionDetail,
    VersionGolden,
    VersionList,
    VersionRanking,
    VersionRetirement,
    VersionRetry,
    VersionRollout,
)

urlpatterns = [
    path("versions/", VersionList.as_view()),
    path("versions/compare/", VersionCompare.as_view()),
    path("versions/best/", VersionRanking.as_view()),
    path("versions/<int:pk>/", VersionDetail.as_view()),
    path("versions/<int:pk>/golden/<int:number>/", VersionGolden.as_view(), name="versions_golden"),
    path("versions/<int:pk>/approve/", VersionApproval.as_view()),
    path("versions/<int:pk>/rollout/", VersionRollout.as_view()),
    path("versions/<int:pk>/retry/", VersionRetry.as_view()),
    path("versions/<int:pk>/retire/", VersionRetirement.as_view()),
    path("versions/<int:pk>/experiment/", VersionExperiment.as_view()),
    path("experiments/", ExperimentList.as_view()),
    path("experiments/<int:pk>/", ExperimentDetail.as_view()),
    path("models/<str:model>/rollback/", ModelRollback.as_view()),
    path("routes/", RouteList.as_view()),
    path("routes/then/", RoutesThen.as_view()),
    path("routes/<int:pk>/", RouteDetail.as_view()),
    path("routes/<int:pk>/end/", RouteEnd.as_view()),
    path("guardrails/", GuardrailList.as_view()),
    path("guardrails/<int:pk>/seen/", GuardrailSeen.as_view()),
]
