"""What goes over the wire: the bodies of requests and answers, from which the OpenAPI document is made."""

from __future__ import annotations

from typing import Literal, Optional

from pydantic import BaseModel, ConfigDict, Field

State = Literal["queued", "decoding", "scoring", "done", "failed", "cancelled"]
Task = Literal["segments", "classes", "features"]


class ProblemDetail(BaseModel):
    """RFC 9457. detail: one line that says what is wrong and how to mend it; detail_zh: the same in Chinese, where the
    program has it."""

    type: str
    title: str
    status: int
    detail: str
    detail_zh: Optional[str] = None


class Health(BaseModel):
    version: str
    backend: str
    precision: str
    device: str
    queue: int = Field(description="jobs that wait")
    active: int = Field(description="jobs that are worked on")
    disk_used: int = Field(description="bytes")
    disk_free: int = Field(description="bytes that uploads may still take")


class Classes(BaseModel):
    en: list[str]
    cn: Optional[list[str]] = None


class Network(BaseModel):
    """weights_bytes: of the file of weights."""

    arch: str
    family: str
    num_frames: int
    frame_stride: int
    crop_px: int
    backend: str
    precision: str
    weights_sha256: str
    weights_bytes: int


class TwoStreams(BaseModel):
    """The networks whose scores are fused. of: what is added up, logits or probabilities, with these weights."""

    rgb: Network
    flow: Network
    of: Literal["logits", "probabilities"]
    weights: list[float]


class Model(Network):
    """What the server runs; of two streams the RGB network. views: of a window, the default first."""

    title: str
    dataset: str
    classes: Classes
    views: list[str]
    stages: list[str]
    blocks: list[str]
    tasks: list[Task]
    device: str
    two_streams: Optional[TwoStreams] = None
    max_upload: int
    max_minutes: float


class Video(BaseModel):
    id: str
    name: str
    bytes: int


class VideoList(BaseModel):
    videos: list[Video]
    total: int


class Score(BaseModel):
    """class: its number."""

    model_config = ConfigDict(populate_by_name=True)
    index: int = Field(alias="class")
    score: float


class ShownSegment(Score):
    start: float
    end: float


class Example(BaseModel):
    """A video of the folder with what is known of it so far. is_final: nothing will be added. duration: seconds."""

    video: Video
    is_final: bool
    duration: Optional[float]
    segments: list[ShownSegment]
    top5: list[Score]


class ExampleList(BaseModel):
    examples: list[Example]


class NewUpload(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=1000, description="shown to people, no path")
    bytes: int = Field(ge=1)


class UploadState(BaseModel):
    video_id: str
    offset: int
    bytes: Optional[int]
    complete: bool


class UploadedVideo(BaseModel):
    video_id: str
    name: str
    bytes: int
    sha256: str


class NewJob(BaseModel):
    """stride_seconds (or hop): from one window to the next. stage, pooling: of features, as predict.py's flags."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)
    video_id: str
    task: Task = "segments"
    views: Optional[str] = Field(None, max_length=100)
    stride_seconds: Optional[float] = Field(None, gt=0, le=3600)
    hop: Optional[float] = Field(None, gt=0, le=3600)
    topk: Optional[int] = Field(None, ge=1, le=10_000)
    stage: str = Field("", max_length=100)
    pooling: Literal["video", "clip", "window"] = "video"


class Info(BaseModel):
    duration: float = Field(description="seconds")
    frames: int
    rate: float = Field(description="frames a second")
    num_windows: int


class JobState(BaseModel):
    """How far a job is. top5: the mean over the windows or views so far. progress: from 0 to 1. warning_zh, detail_zh:
    in Chinese, where the program has it."""

    id: str
    video_id: str
    name: str
    task: Task
    state: State
    position: int
    progress: Optional[float]
    info: Optional[Info]
    num_windows: int
    segments: list[ShownSegment]
    top5: list[Score]
    warning: str
    warning_zh: Optional[str]
    detail: str
    detail_zh: Optional[str]
    created: float
    finished: Optional[float]


class JobList(BaseModel):
    jobs: list[JobState]


class TopClass(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    name: str = Field(alias="class")
    index: int
    probability: float


class ScoreRecord(BaseModel):
    """A record of predict.py's predictions.json."""

    model_config = ConfigDict(extra="allow")
    path: str
    num_frames: int
    top: list[TopClass]
