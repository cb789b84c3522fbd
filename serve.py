"""Serve the network to browsers and programs: upload a video, watch what is found in it, fetch the results.

python serve.py                                            # the network of run.sh demo, else the example network
python serve.py --config=configs/nonlocal.yaml --weights=NONLOCAL.pdparams --folder=videos/
python serve.py --two_stream output/rgb/NONLOCAL.pdparams output/flow/NONLOCAL.pdparams      (and their fusion)
curl -H "Content-Type: application/octet-stream" --data-binary @clip.mp4 http://127.0.0.1:8866/api/v1/score
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import signal
import socket
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from configs import config_from_args
from inference import BackendSpec, add_backend_flags
from inference.backends import PRECISIONS
from inference.example import choose_network
from models import FAMILIES
from utils.cli import (
    add_hidden_alias,
    build_parser,
    gigabytes,
    positive_hours,
    positive_int,
    positive_minutes,
    positive_seconds,
    run,
)
from utils.errors import UserError

if TYPE_CHECKING:
    from inference.two_streams import TwoStreams

PORT = 8866  # PaddleHub's
PORTS_TRIED = 21
DEMO = Path("output/demo/train")
DEMO_VIDEOS = Path("data/dataset/demo/videos/test")
LOCAL = ("127.0.0.1", "localhost", "::1")
MAX_CONNECTIONS = 64
KEEP_ALIVE_SECONDS = 5
DRAIN_SECONDS = 5  # for answers under way when the server ends


def parse_args() -> argparse.Namespace:
    parser = build_parser(
        __doc__, save_dir=os.path.join("data", "serve"), log_interval=1, without_effect=("--log_interval",),
        model_names=FAMILIES,
    )  # fmt: skip
    parser.add_argument(
        "--weights",
        help="file of weights (default: the one in INFER.checkpoint_dir, else the published one; with no --config "
        "either, the network of `run.sh demo`, else the example network)",
    )
    parser.add_argument(
        "--two_stream", nargs=2, metavar=("RGB", "FLOW"),
        help="the weights of an RGB and of a flow network, each beside its config.yaml, whose scores are fused; in "
        "place of --weights and --config",
    )  # fmt: skip
    parser.add_argument("--folder", default="", help="offer the videos of this folder")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; others than this machine need --token (%(default)s)"
    )
    parser.add_argument("--port", type=int, default=PORT, help="the next free one from here; 0: any (%(default)s)")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    parser.add_argument(
        "--token",
        nargs="?",
        const="make",
        default="",
        help="ask every client for this token; without a value, make one",
    )
    parser.add_argument(
        "--allow_host", action="append", default=[], metavar="NAME", help="a name the server is reached by; repeatable"
    )
    parser.add_argument(
        "--allow_origin", action="append", default=[], metavar="URL", help="pages of this origin may use it; repeatable"
    )
    parser.add_argument(
        "--max_upload", type=gigabytes, default=2 << 30, metavar="GB", help="of a video (default: 2.147)"
    )
    parser.add_argument("--max_minutes", type=positive_minutes, default=240.0, help="of a video (default: %(default)g)")
    parser.add_argument("--max_jobs", type=positive_int, default=16, help="that may wait (default: %(default)s)")
    parser.add_argument(
        "--active_jobs", type=positive_int, default=4,
        help="worked on in turns, with a reading process each (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--disk", type=gigabytes, default=10 << 30, metavar="GB", help="for uploads and results (default: 10.737)"
    )
    parser.add_argument(
        "--keep_hours", type=positive_hours, default=24.0, help="uploads and results (default: %(default)g)"
    )
    parser.add_argument("--views", help="of jobs that name none, as predict.py's")
    parser.add_argument("--stride_seconds", type=positive_seconds, help="from one sliding window to the next")
    add_hidden_alias(parser, "--hop", "--stride_seconds")
    parser.add_argument("--infer_topk", type=positive_int, default=20, help="classes listed (default: %(default)s)")
    add_backend_flags(parser, precisions=PRECISIONS)
    args = parser.parse_args()
    if args.host not in LOCAL and not args.token:
        parser.error(f"--host={args.host} makes the server reachable from the network without a token; add --token")
    if args.folder and not os.path.isdir(args.folder):
        parser.error(f"--folder={args.folder}: no such folder")
    if not 0 <= args.port < 65536:
        parser.error(f"--port={args.port}: write a number from 0 to 65535")
    if not args.two_stream:
        _choose_network(args)
    elif args.weights or args.config:
        parser.error("--two_stream names both networks; leave --weights and --config out")
    elif args.stride_seconds:
        parser.error("--stride_seconds goes with segments, and --two_stream finds classes; leave it out")
    return args


def _choose_network(args: argparse.Namespace) -> None:
    """Without --config and --weights: the network of the demo and its test videos, else the example network."""
    is_bare = not (args.config or args.weights or args.override or args.model_name)
    if is_bare and (DEMO / "NONLOCAL.pdparams").is_file():
        args.config, args.weights = str(DEMO / "config.yaml"), str(DEMO / "NONLOCAL.pdparams")
        args.folder = args.folder or (str(DEMO_VIDEOS) if DEMO_VIDEOS.is_dir() else "")
        print(f"no --config and no --weights given: taking the network of `run.sh demo` in {DEMO}")
        return
    args.video_path = args.filelist = ""
    choose_network(args)
    if args.video_path and not args.folder:
        args.folder = str(Path(args.video_path).parent)


def networks_of(args: argparse.Namespace) -> BackendSpec | TwoStreams:
    """What the flags name. Raises UserError."""
    if args.two_stream:
        from inference.two_streams import two_streams

        return two_streams(args, "INFER")
    config = config_from_args(args, ("INFER",))
    return BackendSpec(config, args.weights, config.INFER.checkpoint_dir, args.backend, args.precision)


def listen(host: str, port: int) -> socket.socket:
    """A socket on `port`, or on the next free one. Raises UserError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in range(port, min(65536, port + PORTS_TRIED)) if port else (0,):
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, candidate))
            listener.listen(MAX_CONNECTIONS)
        except (OSError, OverflowError) as error:
            listener.close()
            last = error
            continue
        if port and candidate != port:
            print(f"port {port} is taken; using {candidate}")
        return listener
    raise UserError(f"--host={host} --port={port}: cannot listen there ({last})")


def main() -> None:
    # while the networks are built, too: no child is left; in a container the first process has no handler by default
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    args = parse_args()
    networks = networks_of(args)
    missing = [name for name in ("fastapi", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f'serve.py needs {" and ".join(missing)}: pip install ".[serve]"')
    log = logging.getLogger("serving")  # packages give the root logger handlers that print nothing
    log.addHandler(logging.StreamHandler())
    log.propagate = False
    import uvicorn

    from serving.app import build_app
    from serving.connections import HttpProtocol
    from serving.server import Server, Settings, new_token

    token = new_token() if args.token == "make" else args.token
    settings = Settings(
        save_dir=Path(args.save_dir), folder=Path(args.folder) if args.folder else None, host=args.host,
        allow_hosts=tuple(args.allow_host), allow_origins=tuple(args.allow_origin), token=token,
        max_upload=args.max_upload, max_minutes=args.max_minutes, max_jobs=args.max_jobs,
        active_jobs=args.active_jobs, disk=args.disk, keep_hours=args.keep_hours, views=args.views,
        stride_seconds=args.stride_seconds, topk=args.infer_topk,
    )  # fmt: skip
    listener = listen(args.host, args.port)
    server = Server(networks, settings, args.use_gpu)
    server.examples.start()

    class HttpServer(uvicorn.Server):
        """Ends the streams of events when it is to end; they would last as long as their jobs."""

        def handle_exit(self, number, frame) -> None:
            server.scheduler.stopping.set()
            super().handle_exit(number, frame)

    http = HttpServer(
        uvicorn.Config(
            build_app(server), log_level="warning", access_log=False, limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE_SECONDS, timeout_graceful_shutdown=DRAIN_SECONDS, proxy_headers=False,
            server_header=False, ws="none", loop="asyncio", http=HttpProtocol,
        )
    )  # fmt: skip
    signal.signal(signal.SIGINT, lambda number, frame: sys.exit(128 + number))  # uvicorn raises both again at its end
    name = f"[{args.host}]" if ":" in args.host else args.host
    address = f"http://{name}:{listener.getsockname()[1]}/" + (f"?token={token}" if token else "")
    print(f"open {address}", flush=True)
    if args.open:
        webbrowser.open(address)
    http.run(sockets=[listener])


if __name__ == "__main__":
    run(main)
