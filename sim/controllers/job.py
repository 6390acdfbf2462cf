"""Job controller: keep up to `parallelism` pods going until `completions` have succeeded.

Follows pkg/controller/job/job_controller.go (v1.34.1) for plain Jobs: a failed pod is replaced
after 10 s, 20 s, 40 s ... up to 10 minutes since the last success, and after more than backoffLimit
failures the Job has failed: what still runs is deleted. Restarts in place (OnFailure) do not count;
indexes, failure policies and clean-up of finished Jobs are not modelled yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.actions import Action, CreatePods, DeletePods, LookAgain
from sim.tables import NEVER, Phase

if TYPE_CHECKING:
    from sim.cluster import Cluster

Key = tuple[str, str]
BACKOFF_MS = 10_000  # DefaultJobPodFailureBackOff
MAX_BACKOFF_MS = 600_000  # MaxJobPodFailureBackOff


def reconcile(key: Key, view: Cluster, now_ms: int) -> list[Action]:
    """Create the pods that are missing, once the back-off after a failure is over."""
    job = view.jobs.get(key)
    if job is None:
        return []
    owner = view.owner("Job", *key)
    running = view.active_pods(owner)
    if failures(owner, view) > job.backoff_limit:
        return [DeletePods(tuple(running))] if running else []
    phases = [int(view.pods.phase[pod]) for pod in view.owners[owner].pods]
    active = len(running)
    wanted = min(job.parallelism, job.completions - phases.count(Phase.SUCCEEDED))
    if active >= wanted:
        return []
    if now_ms < (due_ms := retry_ms(key, view)):
        return [LookAgain(due_ms)]
    return [CreatePods(owner, job.template, wanted - active)]


def failures(owner: int, view: Cluster) -> int:
    """How many pods have failed: those that ended so, and all that were deleted unfinished."""
    pods, maker = view.pods, view.owners[owner]
    gone = maker.made - len(maker.pods)
    return gone + sum(
        bool(pods.phase[pod] == Phase.FAILED)
        or bool(pods.deleting_ms[pod] != NEVER and pods.phase[pod] != Phase.SUCCEEDED)
        for pod in maker.pods
    )


def retry_ms(key: Key, view: Cluster) -> int:
    """When the next pod may be created: 10 s * 2^(n-1) after the last of n failures."""
    pods = view.pods
    mine = view.owners[view.owner("Job", *key)].pods
    succeeded = [int(pods.ended_ms[p]) for p in mine if pods.phase[p] == Phase.SUCCEEDED]
    since_ms = max(succeeded, default=-1)
    failed_ms = [
        int(pods.ended_ms[p])
        for p in mine
        if pods.phase[p] == Phase.FAILED and pods.ended_ms[p] > since_ms
    ]
    if not failed_ms:
        return 0
    return max(failed_ms) + min(BACKOFF_MS << min(len(failed_ms) - 1, 10), MAX_BACKOFF_MS)
