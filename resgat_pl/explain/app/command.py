"""``resgat app``: judge files in a browser."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from resgat_pl.core.errors import ConfigError
from resgat_pl.data.faces.detection import FaceDetector
from resgat_pl.data.media.frames import FrameCount
from resgat_pl.evaluation.detector import Detector
from resgat_pl.explain.app.desk import Desk, Limits
from resgat_pl.explain.report.examine import Examiner
from resgat_pl.explain.report.media import FaceFinder, cutting_of
from resgat_pl.explain.report.run_methods import choose_methods, default_methods, require_explainable

LOOPBACK: Final = "127.0.0.1"
POLICY: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; frame-src 'self'; object-src 'none'; "
    "base-uri 'self'; form-action 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy of the app: a browser loads and sends nothing but from and to it."""
_QUEUE: Final = 20
"""Requests that wait; further ones are refused with a message."""
_Asgi = Callable[..., Awaitable[None]]


def app(
    ckpt_path: Path,
    host: str = LOOPBACK,
    port: int = 7860,
    methods: str | None = None,
    frames: FrameCount = 32,
    every: int | None = None,
    faces: int = 4,
    detector: FaceDetector | None = None,
    batch_size: int = 32,
    seed: int = 0,
    max_mb: float = 200.0,
    max_seconds: float = 600.0,
    max_files: int = 50,
    video_timeout: float = 300.0,
) -> str:
    """Judge files in a browser: drop a picture or video, and see the report of ``resgat explain``.

    The page is served on this machine alone unless --host says otherwise, loads nothing from elsewhere, sends nothing
    elsewhere, and stores nothing: an upload is removed as soon as it is judged, the rest when the command ends
    (Ctrl-C). One file is judged at a time; up to 20 requests wait. Needs Gradio: pip install "resgat-pl[app]".
    Its API has the endpoints /judge, /report (report.json) and /batch.

    Args:
        ckpt_path: Checkpoint of ``resgat fit``; read once.
        host: Address to listen on. Others than 127.0.0.1 let everybody who reaches this machine use the page: there
            are neither accounts nor encryption.
        port: Port to listen on.
        methods: Explainers as of ``resgat explain``.
        frames: Frames to take of each video, spread evenly, or "all".
        every: Take every k-th frame instead.
        faces: Faces to judge in each file at most, the largest.
        detector: Face detector; null means that of the training crops.
        batch_size: Faces that go through the network at once.
        seed: Of the intervals.
        max_mb: Size of an upload in MB (10^6 bytes) at most.
        max_seconds: Length of a video in seconds at most.
        max_files: Files at once in the table at most.
        video_timeout: Seconds that decoding one file and finding its faces may take.
    """
    limits: dict[str, float] = {"max_mb": max_mb, "max_seconds": max_seconds, "video_timeout": video_timeout}
    counts = {"faces": faces, "batch_size": batch_size, "max_files": max_files, "port": port}
    for name, value in limits.items():
        if not value > 0:
            raise ConfigError(f"--{name} is {value:g}; it must be more than 0.")
    for name, count in [*counts.items(), *((n, v) for n, v in (("frames", frames), ("every", every)))]:
        if isinstance(count, int) and count < 1:
            raise ConfigError(f"--{name} is {count}; it must be at least 1.")
    if find_spec("gradio") is None:
        raise ConfigError('resgat app needs Gradio, which is not installed: pip install "resgat-pl[app]"')
    weights = Detector.load(ckpt_path)
    chosen = choose_methods(default_methods(weights.net) if methods is None else methods)
    require_explainable(weights.net, chosen)
    cutting, assumed = cutting_of(weights.provenance)
    if detector is not None:
        cutting, assumed = replace(cutting, detector=detector), []
    cutting = replace(cutting, frames=frames, every=every)
    examiner = Examiner(weights, cutting, assumed, chosen, batch_size, seed)
    with serving(
        examiner, FaceFinder(cutting, faces, video_timeout), host, port, Limits(max_mb, max_seconds, max_files)
    ) as address:
        is_open = host not in {LOOPBACK, "localhost", "::1"}
        open_to_all = "\nEverybody who reaches this machine can use it." if is_open else ""
        print(f"{address}  (Ctrl-C ends it){open_to_all}", flush=True)  # noqa: T201 - needed while the command runs
        threading.Event().wait()
    return ""


@contextmanager
def serving(
    examiner: Examiner, finder: FaceFinder, host: str, port: int, limits: Limits, quiet: bool = True
) -> Iterator[str]:
    """Serve the page until the context ends; the value is its address. Then nothing of it is left on the disk.

    Raises:
        ConfigError: The port is in use, or the address is none of this machine's.
    """
    with tempfile.TemporaryDirectory(prefix="resgat_app_") as folder:
        # Read by Gradio when it is imported and when it stores an upload.
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False"}
        import gradio as gr
        from starlette.middleware import Middleware

        from resgat_pl.explain.app.page import STYLE, build_page

        desk = Desk(examiner, finder, Path(folder), limits)
        page = build_page(desk)
        try:
            page.queue(max_size=_QUEUE).launch(
                server_name=host,
                server_port=port,
                share=False,
                inbrowser=False,
                prevent_thread_lock=True,
                quiet=quiet,
                show_error=True,
                max_file_size=int(limits.megabytes * 1_000_000),
                allowed_paths=[],
                enable_monitoring=False,
                ssr_mode=False,
                mcp_server=False,
                pwa=False,
                footer_links=[],
                run_history=False,
                css=STYLE,
                # Its own default fonts are fetched from elsewhere.
                theme=gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
                app_kwargs={"middleware": [Middleware(Secluded)]},
            )
        except OSError as error:
            raise ConfigError(
                f"--host {host} --port {port} cannot be listened on ({error}). Another program may use it: give "
                "another --port."
            ) from None
        try:
            yield f"http://{host}:{port}"
        finally:
            page.close(verbose=False)
            desk.close()


class Secluded:
    """ASGI middleware that adds ``POLICY`` to every answer.

    Args:
        app: The application.
    """

    def __init__(self, app: _Asgi) -> None:
        self.app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: _Asgi, send: _Asgi) -> None:
        """Pass a request on, and its answer back with the headers."""

        async def answer(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                extra = {"content-security-policy": POLICY, "referrer-policy": "no-referrer"}
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in extra.items())]
            await send(message)

        await self.app(scope, receive, answer)
