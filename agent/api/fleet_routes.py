"""The tables of the calls that only the programs of a fleet make."""

from ..model.fleet import (
    GivenJob,
    HeldSecret,
    HeldSecrets,
    RemovedSecret,
    Reseal,
    Resealed,
    Room,
    SealedSecret,
    SecretNews,
    ToldJobs,
)
from ..model.job import Job, JobRequest
from ..model.member import (
    MemberBack,
    MemberClaimed,
    MemberClaims,
    MemberConfirmation,
    MemberEpoch,
    MemberHold,
    MemberJoined,
    MemberOffer,
    MemberProjection,
    MemberRelease,
    MemberReport,
    MemberSecret,
    MemberSecretOf,
    MemberSecrets,
    MemberShared,
    MemberStep,
)
from .calls import (
    fleet,
    members,
)
from .route import Empty, Route

# For programs of the fleet alone, and no part of the OpenAPI document: clients see no difference.
FLEET_ROUTES = (
    Route("POST", "/fleet/jobs", fleet.take_job, Job, status=202, body=GivenJob),
    Route("POST", "/fleet/check", fleet.check_job, Job, body=JobRequest),
    Route("POST", "/fleet/jobs/{job_id}/withdraw", fleet.withdraw_job, Job, body=Empty),
    Route("POST", "/fleet/told", fleet.tell_jobs, ToldJobs, body=ToldJobs),
    Route("GET", "/fleet/room", fleet.get_room, Room),
    Route("PUT", "/fleet/drain", fleet.drain_host, Room, body=Empty),
    Route("DELETE", "/fleet/drain", fleet.undrain_host, Room, body=Empty),
    Route("GET", "/fleet/secrets", fleet.get_held_secrets, HeldSecrets),
    Route("PUT", "/fleet/secrets/{name}", fleet.take_secret, HeldSecret, body=SealedSecret),
    Route("DELETE", "/fleet/secrets/{name}", fleet.drop_secret, RemovedSecret, body=RemovedSecret),
    Route("POST", "/fleet/reseal", fleet.reseal_secrets, Resealed, body=Reseal),
)

# What members ask of a front, likewise.
MEMBER_ROUTES = (
    Route("POST", "/fleet/member/join", members.join_fleet, MemberJoined, body=MemberReport),
    Route("POST", "/fleet/member/back", members.begin_as_new, MemberBack, body=MemberEpoch),
    Route("POST", "/fleet/member/claim", members.claim_job, MemberClaimed, body=MemberOffer),
    Route("GET", "/fleet/member/claims", members.list_claims, MemberClaims, query=members.After),
    Route("POST", "/fleet/member/confirm", members.confirm_claim, MemberStep, body=MemberConfirmation),
    Route(
        "POST",
        "/fleet/member/acknowledge",
        members.acknowledge_claim,
        MemberStep,
        body=MemberHold,
    ),
    Route("POST", "/fleet/member/release", members.release_claim, MemberStep, body=MemberRelease),
    Route("POST", "/fleet/member/project", members.project_job, MemberStep, body=MemberProjection),
    Route("GET", "/fleet/member/secrets", members.list_secret_news, SecretNews, query=members.AfterNumber),
    Route("POST", "/fleet/member/secret", members.fetch_secret, MemberSecret, body=MemberSecretOf),
    Route("POST", "/fleet/member/share", members.share_keys, MemberShared, body=Reseal),
    Route("POST", "/fleet/member/held", members.tell_secrets, Empty, body=MemberSecrets),
)
