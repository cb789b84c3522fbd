"""The HTTP side: routes, error bodies, the OpenAPI document."""

from __future__ import annotations

import asyncio
import contextlib
import mimetypes
import os
import time
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Optional

from anyio.to_thread import current_default_thread_limiter
from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, PlainTextResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from datareader.video import VideoError
from serving import schema
from serving.attention import attention_router
from serving.events import as_score, as_segment, job_events
from serving.examples import examples_router
from serving.files import StoredFile
from serving.jobs import Job, JobOptions, new_id
from serving.metrics import metrics_text
from serving.pages import page_router
from serving.preview import preview_router
from serving.problems import PROBLEM_JSON, Problem, in_chinese
from serving.security import Guard
from serving.server import Server, parse_views
from serving.uploads import GONE, begin, receive_video, resume_upload
from tasks.fusion import fused_of
from utils.errors import RunError, UserError

VERSION = "1"
OWNER_COOKIE = "jobs"
SCORE_SECONDS = 300.0
NUM_THREADS = 128  # more than serve.py has connections: requests that wait for a video must not hold up the others
PROBLEM: dict[int | str, dict[str, Any]] = {
    "default": {"description": "a problem (RFC 9457)",
                "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/ProblemDetail"}}}},
}  # fmt: skip
BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
OCTETS = {"requestBody": {"required": True, "content": BINARY}}


def the_server(request: Request) -> Server:
    return request.app.state.server


TheServer = Annotated[Server, Depends(the_server)]
router = APIRouter(prefix="/api/v1", responses=PROBLEM)


def build_app(server: Server) -> FastAPI:
    """The application; it stops the server when it ends."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI):
        current_default_thread_limiter().total_tokens = NUM_THREADS
        yield
        await run_in_threadpool(server.stop)

    app = FastAPI(
        title="NONLOCAL", version=VERSION, openapi_url="/api/v1/openapi.json", docs_url=None, redoc_url=None,
        lifespan=lifespan, summary="Upload a video, watch its job, fetch what was found.",
    )  # fmt: skip
    app.state.server = server
    app.include_router(router)
    app.add_api_route("/metrics", metrics, response_class=PlainTextResponse, responses=PROBLEM)
    for part in (page_router(), attention_router(server), preview_router(server), examples_router(server)):
        app.include_router(part, responses=PROBLEM)
    app.add_exception_handler(Problem, lambda _, error: error.response())  # type: ignore[attr-defined]
    app.add_exception_handler(HTTPException, _http_error)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, _invalid)  # type: ignore[arg-type]
    app.add_exception_handler(UserError, lambda _, error: Problem(422, str(error)).response())
    app.add_exception_handler(VideoError, lambda _, error: Problem(422, error.reason).response())  # type: ignore[attr-defined]
    app.add_exception_handler(RunError, lambda *_: Problem(507, "the server cannot write or compute this").response())
    app.add_exception_handler(
        Exception, lambda *_: Problem(500, "a mistake of the server; its log names it").response()
    )
    app.add_middleware(Guard, server=server)  # type: ignore[arg-type]
    make = app.openapi

    def openapi() -> dict[str, Any]:
        document = make()
        document["components"]["schemas"]["ProblemDetail"] = schema.ProblemDetail.model_json_schema()
        return document

    app.openapi = openapi  # type: ignore[method-assign]
    return app


def _http_error(_: Request, error: HTTPException) -> Response:
    detail = error.detail if error.status_code != 404 else "no such address; /api/v1/openapi.json lists them"
    return Problem(error.status_code, str(detail), dict(error.headers or {})).response()


def _invalid(_: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    place = "" if first["type"] == "json_invalid" else ".".join(str(part) for part in first["loc"][1:])
    return Problem(422, f"{place}: {first['msg']}" if place else first["msg"]).response()


# ------------------------------------------------------------------------------------------- what this server is


@router.get("/health")
def health(server: TheServer) -> schema.Health:
    """200 when the network scores; 503 while its process is started again."""
    if not server.engine.is_ready():
        raise Problem(503, "the process of the network has ended and is started again", {"Retry-After": "5"})
    facts, scheduler, used = server.engine.facts[0], server.scheduler, server.disk.used()
    return schema.Health(
        version=VERSION, backend=facts.name, precision=facts.precision, device=facts.device,
        queue=len(scheduler.queue), active=len(scheduler.active()), disk_used=used,
        disk_free=server.free_bytes(used),
    )  # fmt: skip


@router.get("/model")
def model(server: TheServer) -> schema.Model:
    """The network, its classes, and what the server takes."""
    config, facts = server.spec.config.MODEL, server.engine.facts[0]
    networks = [_network(server, number) for number in range(len(server.engine.facts))]
    two_streams = None
    if len(networks) > 1:
        rgb, flow = networks
        of = fused_of(config.multi_label)
        two_streams = schema.TwoStreams(rgb=rgb, flow=flow, of=of, weights=[1.0, 1.0])  # type: ignore[arg-type]
    names = " + ".join(network.arch for network in networks)
    return schema.Model(
        **networks[0].model_dump(), title=", ".join([names, f"{len(facts.blocks)} blocks", config.dataset]),
        dataset=config.dataset, classes=schema.Classes(en=server.names, cn=server.chinese_names),
        views=server.window_views, stages=list(facts.stages), blocks=list(facts.blocks), tasks=list(server.tasks),
        device=facts.device, two_streams=two_streams,
        max_upload=server.settings.max_upload, max_minutes=server.settings.max_minutes,
    )  # fmt: skip


def _network(server: Server, number: int) -> schema.Network:
    config, facts = server.engine.specs[number].config, server.engine.facts[number]
    return schema.Network(
        arch=config.MODEL.arch, family=config.MODEL.name, num_frames=config.INFER.video_length,
        frame_stride=config.INFER.sample_rate, crop_px=config.INFER.crop_size, backend=facts.name,
        precision=facts.precision, weights_sha256=server.weights_sha256[number],
        weights_bytes=os.path.getsize(facts.weights),
    )  # fmt: skip


def metrics(server: TheServer) -> PlainTextResponse:
    """What the server has counted, in the text format of Prometheus."""
    return PlainTextResponse(metrics_text(server), media_type="text/plain; version=0.0.4")


# ------------------------------------------------------------------------------------------- videos


@router.get("/videos")
def videos(
    server: TheServer, offset: Annotated[int, Query(ge=0)] = 0, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> schema.VideoList:
    """The videos of the server's folder."""
    rows = server.videos.list_folder()
    return schema.VideoList(videos=[schema.Video(**row) for row in rows[offset : offset + limit]], total=len(rows))


@router.get("/videos/{video_id}/content", response_class=FileResponse)
def content(video_id: str, server: TheServer) -> FileResponse:
    """The file, with Range."""
    path = server.videos.path(video_id)
    name, _ = server.videos.describe(video_id)
    kind = mimetypes.guess_type(name)[0] or ""
    return StoredFile(path, media_type=kind if kind.startswith("video/") else "application/octet-stream")


@router.put("/uploads/{name}", status_code=201, openapi_extra=OCTETS)
async def put_upload(name: str, request: Request, response: Response, server: TheServer) -> schema.UploadedVideo:
    """The body is the file; its name is only shown."""
    _owner(request, response)
    return schema.UploadedVideo(**await receive_video(server, request, name))


@router.post("/uploads", status_code=201)
async def post_upload(
    body: schema.NewUpload, request: Request, response: Response, server: TheServer
) -> schema.UploadState:
    """Begin an upload that can be resumed: the file comes in one or more PATCH requests (a subset of tus 1.0)."""
    _owner(request, response)
    upload = await run_in_threadpool(begin, server, body.name, body.bytes)
    response.headers["Location"] = f"/api/v1/uploads/{upload.id}"
    return schema.UploadState(video_id=upload.id, offset=0, bytes=body.bytes, complete=False)


@router.head("/uploads/{video_id}")
def head_upload(video_id: str, server: TheServer) -> Response:
    """Upload-Offset says how much has come."""
    if (facts := server.videos.ready.get(video_id)) is not None:
        offset = size = facts["bytes"]
    else:
        upload = server.videos.find_upload(video_id)
        offset, size = upload.offset, upload.size
    return Response(headers={"Upload-Offset": str(offset), "Upload-Length": str(size or "")})


@router.patch("/uploads/{video_id}", openapi_extra=OCTETS)
async def patch_upload(
    video_id: str, request: Request, server: TheServer, upload_offset: Annotated[int, Header(ge=0)]
) -> schema.UploadState:
    """Go on at Upload-Offset; 409 names the right one."""
    upload = server.videos.find_upload(video_id)
    facts = await resume_upload(server, request, upload, upload_offset)
    return schema.UploadState(video_id=video_id, offset=upload.offset, bytes=upload.size, complete=facts is not None)


@router.delete("/uploads/{video_id}", status_code=204)
def delete_upload(video_id: str, server: TheServer) -> None:
    """Remove an upload that no job needs any more."""
    if any(job.video_id == video_id and not job.is_final for job in list(server.scheduler.jobs.values())):
        raise Problem(409, "a job needs this video; delete the job")
    if video_id not in server.videos.ready:
        server.videos.find_upload(video_id)
    server.videos.delete(video_id)


# ------------------------------------------------------------------------------------------- jobs


def _owner(request: Request, response: Response) -> str:
    """Whose browser it is; made at the first use."""
    owner = request.cookies.get(OWNER_COOKIE, "")
    if not 20 <= len(owner) <= 40:
        owner = new_id()
        response.set_cookie(OWNER_COOKIE, owner, httponly=True, samesite="strict")
    return owner


def _options(server: Server, wanted: schema.NewJob) -> JobOptions:
    """Raises Problem and UserError for what the network cannot do."""
    settings = server.settings
    slides = wanted.task == "segments" or wanted.pooling == "window"
    views = wanted.views or settings.views
    if wanted.task not in server.tasks:
        raise Problem(422, "task: a server of two streams finds classes alone; ask for the task classes")
    if wanted.stage and wanted.task != "features":
        raise Problem(422, "stage: goes with the task features")
    if wanted.task == "features" and wanted.stage not in server.engine.facts[0].stages:
        raise Problem(422, f"stage: one of {', '.join(server.engine.facts[0].stages)}")
    if (wanted.stride_seconds or wanted.hop) and not slides:
        raise Problem(422, "stride_seconds: goes with sliding windows, as of the task segments")
    if views is not None:
        adaptive, protocol = parse_views(views)
        if adaptive and wanted.task != "classes":
            raise Problem(422, "views: adaptive views go with the task classes")
        if slides and protocol.num_clips != 1:
            raise Problem(422, f"views: a window is one clip; 1x3, 1x1 or whole instead of {views}")
    return JobOptions(
        wanted.task, views, (wanted.stride_seconds or wanted.hop or settings.stride_seconds) if slides else None,
        wanted.topk or settings.topk, wanted.stage, wanted.pooling if wanted.task == "features" else "video",
    )  # fmt: skip


def _state(server: Server, job: Job) -> schema.JobState:
    return schema.JobState(
        id=job.id, video_id=job.video_id, name=job.video_name, task=job.options.task, state=job.state,
        position=server.scheduler.position(job), progress=job.progress(), num_windows=job.num_windows,
        info=schema.Info(**job.info) if job.info else None, warning=job.warning, warning_zh=in_chinese(job.warning),
        detail=job.detail, detail_zh=in_chinese(job.detail),
        segments=[schema.ShownSegment(**as_segment(row)) for row in job.segments],
        top5=[schema.Score(**as_score(row)) for row in job.top], created=job.created, finished=job.finished,
    )  # fmt: skip


@router.post("/jobs", status_code=202, responses={200: {"model": schema.JobState, "description": "finished before"}})
def post_job(wanted: schema.NewJob, request: Request, response: Response, server: TheServer) -> schema.JobState:
    """Find something in a video. 200 for what is known already."""
    options = _options(server, wanted)
    job, was_done = server.scheduler.submit(wanted.video_id, options, _owner(request, response))
    response.headers["Location"] = f"/api/v1/jobs/{job.id}"
    if was_done:
        response.status_code = 200
    return _state(server, job)


@router.get("/jobs")
def jobs(request: Request, server: TheServer) -> schema.JobList:
    """Those of this browser, the newest first; to a program with the server's token, all."""
    owner = request.cookies.get(OWNER_COOKIE)
    sees_all = owner is None and bool(server.settings.token)
    found = [job for job in list(server.scheduler.jobs.values()) if sees_all or (owner and job.owner == owner)]
    return schema.JobList(jobs=[_state(server, job) for job in sorted(found, key=lambda job: -job.created)])


@router.get("/jobs/{job_id}")
def get_job(job_id: str, server: TheServer) -> schema.JobState:
    """How far the job is, and what was found so far."""
    return _state(server, server.scheduler.find(job_id))


@router.delete("/jobs/{job_id}", status_code=204)
def delete_job(job_id: str, server: TheServer) -> None:
    """End the job at once, and forget it if it has ended; its upload goes with its last job."""
    server.scheduler.cancel(server.scheduler.find(job_id))


@router.get("/jobs/{job_id}/events", response_class=StreamingResponse)
def get_events(
    job_id: str, server: TheServer, last_event_id: Annotated[Optional[str], Header()] = None
) -> StreamingResponse:
    """Server-sent events: position, state, info, window, segments, and done, failed or cancelled at the end."""
    first = int(last_event_id) if last_event_id and last_event_id.isdecimal() and len(last_event_id) < 10 else 0
    events = job_events(server, server.scheduler.find(job_id), first)
    return StreamingResponse(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


@router.get("/jobs/{job_id}/segments.{kind}", response_class=FileResponse)
def get_segments(job_id: str, kind: Literal["json", "csv", "srt", "vtt"], server: TheServer) -> FileResponse:
    """The segments, as predict.py writes them."""
    types = {"json": "application/json", "csv": "text/csv", "srt": "application/x-subrip", "vtt": "text/vtt"}
    return _result(server.scheduler.find(job_id), f"segments.{kind}", types[kind])


@router.get("/jobs/{job_id}/features.npz", response_class=FileResponse)
def get_features(job_id: str, server: TheServer) -> FileResponse:
    """The features, as predict.py writes them."""
    return _result(server.scheduler.find(job_id), "features.npz", "application/octet-stream")


@router.get("/jobs/{job_id}/record.json", response_class=FileResponse)
def get_record(job_id: str, server: TheServer) -> FileResponse:
    """The classes: the record that predict.py writes into predictions.json."""
    return _result(server.scheduler.find(job_id), "record.json", "application/json")


def _result(job: Job, name: str, media_type: str) -> FileResponse:
    if not job.is_final:
        raise Problem(409, f"the job is {job.state}; wait until it is done")
    path = job.folder / name
    if not path.is_file():
        raise Problem(404, f"this job has no {name}")
    shown = PurePosixPath(job.video_name).stem + Path(name).suffix
    return StoredFile(path, media_type=media_type, filename=shown)


@router.post("/score", openapi_extra=OCTETS)
async def score(
    request: Request, server: TheServer, name: str = "video", views: Annotated[Optional[str], Query()] = None,
    topk: Annotated[Optional[int], Query(ge=1, le=10_000)] = None,
) -> schema.ScoreRecord:  # fmt: skip
    """The body is a video; answers with its record of predictions.json when it is scored, and keeps nothing."""
    options = _options(server, schema.NewJob(video_id="", task="classes", views=views, topk=topk))
    video = await receive_video(server, request, name)
    job = None
    try:
        job, _ = await run_in_threadpool(server.scheduler.submit, video["video_id"], options, "")
        deadline = time.monotonic() + SCORE_SECONDS
        while not job.is_final:
            if time.monotonic() > deadline:
                raise Problem(504, f"not done after {SCORE_SECONDS:g} s; make a job instead")
            if server.scheduler.stopping.is_set():
                raise Problem(503, "the server stops")
            if await request.is_disconnected():
                raise Problem(GONE, "the client has gone")
            job.last_seen = time.monotonic()
            await asyncio.sleep(0.02)
        if job.state != "done":
            raise Problem(422, job.detail)
        text = await run_in_threadpool((job.folder / "record.json").read_bytes)
        return Response(text, media_type="application/json")  # type: ignore[return-value]
    finally:
        await run_in_threadpool(_forget, server, job, video["video_id"])


def _forget(server: Server, job: Job | None, video_id: str) -> None:
    if job is not None:
        server.scheduler.cancel(job)
        if job.id in server.scheduler.jobs:
            server.scheduler.cancel(job)
    server.videos.delete(video_id)
